"""Targets: the servers of an upstream."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from gateway.entities import texts
from gateway.entities.fields import Errors, Foreign, Integer, Number, Reference, Text
from gateway.entities.hosts import InvalidHost, format_host, parse_host
from gateway.entities.record import AdminPaths, Entity

DEFAULT_PORT = 8000


def target_problem(target: str) -> str | None:
    """A target is a host with an optional port."""
    try:
        parse_host(target)
    except InvalidHost:
        return f"Invalid target ('{target}'); not a valid hostname or ip address"
    return None


class Target(Entity, frozen=True, kw_only=True):
    """A host and port that requests to an upstream may be sent to."""

    type_name: ClassVar[str] = "targets"
    singular: ClassVar[str] = "target"
    endpoint_key: ClassVar[str | None] = "target"
    cache_key: ClassVar[tuple[str, ...]] = ("upstream", "target")
    admin_paths: ClassVar[AdminPaths] = AdminPaths(
        disabled=("", "upstream"), newest_first=True, nested_aliases=("all",)
    )

    created_at: Annotated[
        float,
        Number("When it was made, in seconds since the epoch, with milliseconds.", timestamp=True, auto=True),
    ]
    updated_at: Annotated[
        float,
        Number(
            "When it was last changed, in seconds since the epoch, with milliseconds.",
            timestamp=True,
            auto=True,
        ),
    ]
    upstream: Annotated[
        Reference, Foreign("The upstream it belongs to.", reference="upstreams", required=True, cascade=True)
    ]
    target: Annotated[
        str,
        Text("The address or name and the port; without a port 8000.", required=True, rule=target_problem),
    ]
    weight: Annotated[
        int | None, Integer("Its share of the requests; 0 takes it out of rotation.", between=(0, 65535))
    ] = 100

    @classmethod
    def tell(cls, errors: dict[Any, Errors]) -> dict[Any, Errors]:
        problem = errors.get("target")
        if problem in (None, texts.REQUIRED, texts.EXPECTED_STRING):
            return errors
        # Kong reads the target before it looks at anything else.
        return {"target": "Invalid target; not a valid hostname or ip address"}

    @classmethod
    def transform(cls, values: dict[str, Any]) -> None:
        values["target"] = format_host(parse_host(values["target"]), DEFAULT_PORT)
