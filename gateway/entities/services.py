"""Services: the upstream APIs that routes lead to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from gateway.entities import texts
from gateway.entities.fields import Array, Boolean, Errors, Field, Foreign, Integer, Reference, Text
from gateway.entities.record import CreatedAt, Entity, RecordCheck, UpdatedAt
from gateway.entities.record_checks import Conditional
from gateway.entities.value_checks import host_problem, name_problem, path_problem

PROTOCOLS = ("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp")
LONGEST_TIMEOUT = 2**31 - 2
LONGEST_NUMBER = 15
"""digits of a port up to which it is told to be too large; a longer one is no number"""

# The parts of a URL (RFC 3986 appendix B): scheme, authority, path; query and fragment mean nothing here.
URL = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)")
PORT = re.compile(r":([^:\]]*)\Z")
TLS = ("https", "tls")


class Service(Entity, frozen=True, kw_only=True):
    """An upstream API or microservice."""

    type_name: ClassVar[str] = "services"
    singular: ClassVar[str] = "service"
    endpoint_key: ClassVar[str | None] = "name"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (
        Conditional(
            "protocol", if_one_of=("tcp", "tls", "udp", "grpc", "grpcs"), then_field="path", then_null=True
        ),
        Conditional("protocol", if_not_one_of=TLS, then_field="client_certificate", then_null=True),
        Conditional("protocol", if_not_one_of=TLS, then_field="tls_verify", then_null=True),
        Conditional("protocol", if_not_one_of=TLS, then_field="tls_verify_depth", then_null=True),
        Conditional("protocol", if_not_one_of=TLS, then_field="ca_certificates", then_null=True),
    )
    shorthands: ClassVar[Mapping[str, Field]] = {
        "url": Text(
            "Stands for `protocol`, `host`, `port` and `path`, all of them.",
            stands_for=("protocol", "host", "port", "path"),
        )
    }

    created_at: CreatedAt
    updated_at: UpdatedAt
    name: Annotated[str | None, Text("The name of the service.", unique=True, rule=name_problem)] = None
    retries: Annotated[
        int | None, Integer("How often a request that failed is tried again.", between=(0, 32767))
    ] = 5
    protocol: Annotated[
        str, Text("How the upstream server is spoken to.", required=True, one_of=PROTOCOLS)
    ] = "http"
    host: Annotated[
        str,
        Text(
            "The host of the upstream server, or the name of an upstream.", required=True, rule=host_problem
        ),
    ]
    port: Annotated[int, Integer("The port of the upstream server.", required=True, between=(0, 65535))] = 80
    path: Annotated[
        str | None,
        Text(
            "What comes before the path of each request to the upstream server.",
            starts_with="/",
            match_none=(("//", texts.EMPTY_SEGMENTS),),
            rule=path_problem,
        ),
    ] = None
    connect_timeout: Annotated[
        int | None, Integer("Milliseconds to wait for a connection.", between=(1, LONGEST_TIMEOUT))
    ] = 60000
    write_timeout: Annotated[
        int | None,
        Integer("Milliseconds between two writes to the upstream server.", between=(1, LONGEST_TIMEOUT)),
    ] = 60000
    read_timeout: Annotated[
        int | None,
        Integer("Milliseconds between two reads from the upstream server.", between=(1, LONGEST_TIMEOUT)),
    ] = 60000
    client_certificate: Annotated[
        Reference | None,
        Foreign("The certificate shown to the upstream server.", reference="certificates"),
    ] = None
    tls_verify: Annotated[
        bool | None,
        Boolean("Whether the upstream server's certificate is verified; null: as configured globally."),
    ] = None
    tls_verify_depth: Annotated[
        int | None,
        Integer("The longest chain of certificates accepted.", between=(0, 64), null_default=True),
    ] = None
    ca_certificates: Annotated[
        list[str] | None,
        Array(
            "The ids of the CA certificates that are trusted.",
            elements=Text("An id.", uuid=True, reference="ca_certificates"),
        ),
    ] = None
    enabled: Annotated[bool, Boolean("Whether the service and its routes are in use.", required=True)] = True

    @classmethod
    def prepare(cls, values: dict[str, Any]) -> dict[Any, Errors]:
        url = values.pop("url", None)
        if url is None:
            return {}
        _, problem = cls.shorthands["url"].check(url)
        if problem is not None:
            return {"url": problem}
        values.update(fields_of_url(url))
        # In an update, a URL without a host does not leave the host as it was.
        values.setdefault("host", None)
        return {}


def fields_of_url(url: str) -> dict[str, Any]:
    """The fields that the write-only shorthand `url` stands for: protocol, host, port and path, all of them;
    not yet checked. No exception: what is no URL gives fields with something wrong.

    As in Kong, a URL without `//` has no host; a missing port is 443 for https and 80 otherwise.
    """
    parts = URL.match(url)
    assert parts is not None, "every part of the expression may be empty"
    scheme, authority, path = parts.groups()
    host, port = _host_and_port(authority or "")
    if scheme is None:
        scheme = "https" if port == 443 else "http"
    scheme = scheme.lower()
    fields: dict[str, Any] = {
        "protocol": scheme,
        "port": port if port is not None else 443 if scheme == "https" else 80,
        "path": path or None,
    }
    if host:
        fields["host"] = host
    return fields


def _host_and_port(authority: str) -> tuple[str, int | str | None]:
    """Host and port as they are written; a port that is no number is left to the check of the field."""
    host = authority.partition("@")[2] if "@" in authority else authority
    port: int | str | None = None
    if found := PORT.search(host):
        host, port = host[: found.start()], found[1]
        if port.isascii() and port.isdigit() and len(port) <= LONGEST_NUMBER:
            port = int(port)
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host, port
