"""Vaults: where `{vault://…}` references are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from gateway.entities.fields import Anything, Errors, Text
from gateway.entities.record import (
    CreatedAt,
    Entity,
    Group,
    Record,
    RecordCheck,
    UpdatedAt,
    shape_of,
    to_kong,
)


class EnvironmentVault(Record, frozen=True, kw_only=True):
    """The configuration of the vault `env`, which reads environment variables."""

    prefix: Annotated[
        str | None, Text("What comes before the name of every variable.", match="^[%a_-][%a%d_-]*$")
    ] = None


BUILT_IN: dict[str, type[Record]] = {"env": EnvironmentVault}
"""The kinds of vault there are, and how each is configured."""


class FittingConfiguration:
    """The configuration is one of this kind of vault."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        name = values.get("name")
        if "name" in errors or not isinstance(name, str):
            return
        config = values.get("config")
        if config is not None and "config" not in errors:
            _, problem = Group("", record=BUILT_IN[name]).check(config)
            if problem is not None:
                errors["config"] = problem


class Vault(Entity, frozen=True, kw_only=True):
    """A source of secrets."""

    type_name: ClassVar[str] = "vaults"
    singular: ClassVar[str] = "vault"
    endpoint_key: ClassVar[str | None] = "prefix"
    cache_key: ClassVar[tuple[str, ...]] = ("prefix",)
    kind_field: ClassVar[str] = "name"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (FittingConfiguration(),)

    created_at: CreatedAt
    updated_at: UpdatedAt
    prefix: Annotated[
        str,
        Text(
            "The name of the vault in references.",
            required=True,
            unique=True,
            match="^[a-z][a-z%d-]-[a-z%d]+$",
            not_one_of=tuple(BUILT_IN),
        ),
    ]
    name: Annotated[str, Text("The kind of vault.", required=True)]
    description: Annotated[str | None, Text("What it is for.")] = None
    config: Annotated[dict[str, Any], Anything("How the vault is reached.", required=True)] = msgspec.field(
        default_factory=dict
    )

    @classmethod
    def kind_problem(cls, value: Any) -> str | None:
        unknown = isinstance(value, str) and value not in BUILT_IN
        return f"vault '{value}' is not installed" if unknown else None

    @classmethod
    def transform(cls, values: dict[str, Any]) -> None:
        record = BUILT_IN[values["name"]]
        clean, _ = shape_of(record).check(values.get("config") or {})
        values["config"] = to_kong(record(**clean))

    @classmethod
    def record_of(cls, field: str, values: Mapping[str, Any]) -> type[Record] | None:
        name = values.get("name")
        return BUILT_IN.get(name) if field == "config" and isinstance(name, str) else None
