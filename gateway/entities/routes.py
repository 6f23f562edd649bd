"""Routes: which requests go to which service."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, ClassVar

import msgspec

from gateway.entities import texts
from gateway.entities.fields import Array, Boolean, Errors, Field, Foreign, Integer, Map, Reference, Set, Text
from gateway.entities.paths import route_path_problem
from gateway.entities.patterns import pattern_problem, unbounded_pattern_problem
from gateway.entities.record import CreatedAt, Entity, Group, Record, RecordCheck, UpdatedAt
from gateway.entities.record_checks import AtLeastOneOf, add_entity_error, is_set
from gateway.entities.services import PROTOCOLS
from gateway.entities.value_checks import (
    address_range_problem,
    header_name_problem,
    name_problem,
    route_host_problem,
    wildcard_server_name_problem,
)

FAMILIES = (("http", "https"), ("tcp", "tls", "udp"), ("tls_passthrough",), ("grpc", "grpcs"))
WITH_SERVER_NAMES = ("grpcs", "https", "tls", "tls_passthrough")

HOST_IS_NO_HEADER = "cannot contain 'host' header, which must be specified in the 'hosts' attribute"

# protocols -> (fields that may not be set, how the text about them names the protocols)
NOT_FOR_STREAMS = ("methods", "hosts", "paths", "headers", "query_params")
STREAMS = "'tcp', 'tls', 'tls_passthrough' or 'udp'"


def value_to_match_problem(value: str) -> str | None:
    """A value to match, or `~*` and a regular expression."""
    return pattern_problem(value[2:]) if value.startswith("~*") else None


class SubschemaCheck:
    """The rules that depend on the family of a route's protocols (Kong's route subschemas)."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        protocols = values.get("protocols")
        if not isinstance(protocols, list):
            return
        kind = next((protocol for protocol in protocols if protocol in PROTOCOLS), None)
        if kind is None:
            return  # what is wrong with the protocols is known already
        _check_server_names(protocols, values, errors)
        if kind in ("http", "https"):
            _forbid(("sources", "destinations"), "'http' or 'https'", values, errors)
            _need(
                "https" if "https" in protocols else "http",
                ("methods", "hosts", "headers", "paths"),
                values,
                errors,
            )
        elif kind in ("grpc", "grpcs"):
            _forbid(("methods", "sources", "destinations"), "'grpc' or 'grpcs'", values, errors)
            if values.get("strip_path") is True:
                errors["strip_path"] = "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"
            _need("grpcs" if "grpcs" in protocols else "grpc", ("hosts", "headers", "paths"), values, errors)
        else:
            _forbid(NOT_FOR_STREAMS, STREAMS, values, errors)
            if kind == "tls_passthrough":
                if not is_set(values.get("snis")):
                    add_entity_error(errors, "must set snis when 'protocols' is 'tls_passthrough'")
            elif not any(is_set(values.get(name)) for name in ("sources", "destinations", "snis")):
                fields = texts.quoted(("sources", "destinations", "snis"))
                add_entity_error(
                    errors, f"must set one of {fields} when 'protocols' is 'tcp', 'tls' or 'udp'"
                )
        problems = filter(None, map(unbounded_pattern_problem, _patterns(values, errors)))
        if problem := next(problems, None):
            add_entity_error(errors, problem)


def _patterns(values: Mapping[str, Any], errors: Mapping[Any, Errors]) -> Iterator[str]:
    """The regular expressions of a route, of those fields in which nothing is wrong."""
    if "paths" not in errors:
        yield from (path[1:] for path in values.get("paths") or () if path.startswith("~"))
    for name in ("headers", "query_params"):
        if name not in errors:
            alternatives = chain.from_iterable((values.get(name) or {}).values())
            yield from (text[2:] for text in alternatives if text.startswith("~*"))


def _check_server_names(protocols: list[Any], values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
    if is_set(values.get("snis")) and not any(protocol in WITH_SERVER_NAMES for protocol in protocols):
        errors["snis"] = texts.length_exactly(0)
        add_entity_error(
            errors, "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"
        )


def _forbid(
    fields: tuple[str, ...], protocols: str, values: Mapping[str, Any], errors: dict[Any, Errors]
) -> None:
    for name in fields:
        if values.get(name) is not None:
            errors[name] = f"cannot set '{name}' when 'protocols' is {protocols}"


def _need(
    protocol: str, fields: tuple[str, ...], values: Mapping[str, Any], errors: dict[Any, Errors]
) -> None:
    if protocol in WITH_SERVER_NAMES:
        fields = (*fields, "snis")
    if not any(is_set(values.get(name)) for name in (*fields, "query_params")):
        add_entity_error(errors, f"must set one of {texts.quoted(fields)} when 'protocols' is '{protocol}'")


class Endpoint(Record, frozen=True, kw_only=True):
    """One end of a stream connection."""

    record_checks: ClassVar[tuple[RecordCheck, ...]] = (AtLeastOneOf(("ip", "port")),)

    ip: Annotated[str | None, Text("An address, or a range of them.", rule=address_range_problem)] = None
    port: Annotated[int | None, Integer("A port.", between=(0, 65535))] = None


def _values_to_match(doc: str) -> Field:
    return Array(
        doc, elements=Text("A value, or `~*` and a regular expression.", rule=value_to_match_problem)
    )


class Route(Entity, frozen=True, kw_only=True):
    """A rule that matches requests."""

    type_name: ClassVar[str] = "routes"
    singular: ClassVar[str] = "route"
    endpoint_key: ClassVar[str | None] = "name"
    kind_field: ClassVar[str] = "protocols"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (SubschemaCheck(),)

    created_at: CreatedAt
    updated_at: UpdatedAt
    name: Annotated[str | None, Text("The name of the route.", unique=True, rule=name_problem)] = None
    protocols: Annotated[
        list[str],
        Set(
            "The protocols the route serves.",
            required=True,
            elements=Text("A protocol.", one_of=PROTOCOLS),
            len_min=1,
            mutually_exclusive_subsets=FAMILIES,
        ),
    ] = msgspec.field(default_factory=lambda: ["http", "https"])
    methods: Annotated[
        list[str] | None,
        Set("The methods that match.", elements=Text("A method.", match="^%u+$")),
    ] = None
    hosts: Annotated[
        list[str] | None,
        Array(
            "The hosts that match; `*` may stand for labels.",
            elements=Text("A host.", rule=route_host_problem),
        ),
    ] = None
    paths: Annotated[
        list[str] | None,
        Array(
            "The paths that match: prefixes (`/…`) and regular expressions (`~/…`).",
            elements=Text(
                "A path.",
                match_none=(("//", texts.EMPTY_SEGMENTS),),
                match_any=("^/", "^~/"),
                match_any_text="should start with: / (fixed path) or ~/ (regex path)",
                rule=route_path_problem,
            ),
        ),
    ] = None
    headers: Annotated[
        dict[str, list[str]] | None,
        Map(
            "The headers that match: for each name its possible values.",
            keys=Text(
                "The name of a header.",
                match_none=(("^[Hh][Oo][Ss][Tt]$", HOST_IS_NO_HEADER),),
                rule=header_name_problem,
            ),
            values=_values_to_match("The values of a header."),
        ),
    ] = None
    query_params: Annotated[
        dict[str, list[str]] | None,
        Map(
            "The query parameters that match: for each name its possible values.",
            extension=True,
            keys=Text("The name of a query parameter."),
            values=_values_to_match("The values of a query parameter."),
        ),
    ] = None
    https_redirect_status_code: Annotated[
        int,
        Integer(
            "The status for a request that matches in all but the protocol.",
            required=True,
            one_of=(426, 301, 302, 307, 308),
        ),
    ] = 426
    regex_priority: Annotated[
        int | None, Integer("Decides between several matching regular expressions: the highest wins.")
    ] = 0
    strip_path: Annotated[
        bool, Boolean("Whether the prefix that matched is taken off the path sent upstream.", required=True)
    ] = True
    path_handling: Annotated[
        str | None, Text("How the paths of service, route and request are joined.", one_of=("v0", "v1"))
    ] = "v0"
    preserve_host: Annotated[
        bool, Boolean("Whether the client's Host header is sent upstream.", required=True)
    ] = False
    request_buffering: Annotated[
        bool, Boolean("Whether request bodies are read before they are sent upstream.", required=True)
    ] = True
    response_buffering: Annotated[
        bool, Boolean("Whether response bodies are read before they are sent to the client.", required=True)
    ] = True
    snis: Annotated[
        list[str] | None,
        Set("The TLS server names that match.", elements=Text("A name.", rule=wildcard_server_name_problem)),
    ] = None
    sources: Annotated[
        list[Endpoint] | None,
        Set("Where streams come from.", elements=Group("A client's end.", record=Endpoint)),
    ] = None
    destinations: Annotated[
        list[Endpoint] | None,
        Set("Where streams go to.", elements=Group("The gateway's end.", record=Endpoint)),
    ] = None
    service: Annotated[
        Reference | None, Foreign("The service that requests are sent to.", reference="services")
    ] = None

    @classmethod
    def kind_problem(cls, value: Any) -> str | None:
        if not isinstance(value, str | list) and value != {}:
            return None
        protocols = [value] if isinstance(value, str) else list(value)
        if any(protocol in PROTOCOLS for protocol in protocols):
            return None
        first = protocols[0] if protocols else None
        if first is None:
            return texts.unknown_type("nil")
        return texts.unknown_type(first if isinstance(first, str) else json.dumps(first))

    @classmethod
    def prepare(cls, values: dict[str, Any]) -> dict[Any, Errors]:
        protocols = values.get("protocols")
        if isinstance(protocols, list) and values.get("strip_path") is None:
            kind = next((protocol for protocol in protocols if protocol in PROTOCOLS), None)
            if kind in ("grpc", "grpcs"):
                values["strip_path"] = False
        return {}
