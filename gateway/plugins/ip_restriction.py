"""ip-restriction: client addresses that may, or may not, use what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from gateway.entities.fields import Array, Field, Number, Text
from gateway.entities.record import Record
from gateway.entities.record_checks import AtLeastOneOf
from gateway.entities.value_checks import address_range_problem, status_problem
from gateway.plugins import PluginDefinition
from native.steps import ip_restriction

from ._fields import ANY_PROTOCOL

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

FORBIDDEN = 403
RANGE = Text("An address, or a range in CIDR notation.", rule=address_range_problem)


class IpRestrictionConfig(Record, frozen=True, kw_only=True):
    """At least one of the two lists; `deny` is looked at first."""

    shorthands: ClassVar[dict[str, Field]] = {
        "whitelist": Array("The old name of `allow`.", elements=RANGE, stands_for=("allow",), extension=True),
        "blacklist": Array("The old name of `deny`.", elements=RANGE, stands_for=("deny",), extension=True),
    }

    allow: Annotated[list[str] | None, Array("Who may pass; nobody else may.", elements=RANGE)] = None
    deny: Annotated[list[str] | None, Array("Who may not pass.", elements=RANGE)] = None
    status: Annotated[
        float | None, Number("The status of refusals; none: 403.", required=False, rule=status_problem)
    ] = None
    message: Annotated[str | None, Text("The message of refusals.", required=False)] = None


def pack(config: IpRestrictionConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/ip_restriction.pyx reads."""
    return ip_restriction.pack_config(
        allow=config.allow or [],
        deny=config.deny or [],
        status=int(config.status or FORBIDDEN),
        message=config.message or "",
    )


PLUGIN = PluginDefinition(
    "ip-restriction",
    IpRestrictionConfig,
    priority=990,
    protocols=("http", "https", "tcp", "tls", "grpc", "grpcs"),
    allowed_protocols=ANY_PROTOCOL,
    checks=(AtLeastOneOf(("config.allow", "config.deny")),),
    pack=pack,
)
