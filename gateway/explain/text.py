"""An explanation as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LABEL = 12
"""columns of the words at the beginning of lines"""
SHOWN_CONSUMERS = 5
"""configurations for one consumer each that are listed"""
CHOICES = {
    "round-robin": "",
    "least-connections": "; the fewest requests under way by weight",
    "latency": "; the one that is likely to answer first",
    "consistent-hashing": "; by a hash",
    "sticky-sessions": "; by the client's cookie",
}
"""how a peer is chosen"""
NAMES = {"headers": "header", "query_params": "query parameter"}


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What GET /explain has answered."""
    yield from paragraph("request", [request_line(found["request"])])
    yield from paragraph("", [f"which {name} may change first" for name in found["rewritten_by"]])
    yield from paragraph("answer", [outcome_line(found)])
    if found["route"] is not None:
        yield from paragraph("route", [route_line(found["route"])])
    if found["service"] is not None:
        service = found["service"]
        yield from paragraph(
            "service", [f"{named(service)}, {service['url']}; the path sent is {found['upstream_path']}"]
        )
    if found["consumer"] is not None:
        yield from paragraph("consumer", [consumer_line(found["consumer"])])
    yield from paragraph("plugins", plugin_lines(found["plugins"]))
    if found["target"] is not None:
        yield from paragraph("target", target_lines(found["target"]))
    yield from paragraph("not taken", [other_line(route) for route in found["other_routes"]])


def paragraph(label: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines with one label before them; nothing without lines."""
    for number, line in enumerate(lines):
        yield f"{'' if number else label:<{LABEL}}{line}"


def named(entity: Mapping[str, Any]) -> str:
    """`users (id)`, or the id alone."""
    return f"{entity['name']} ({entity['id']})" if entity["name"] else str(entity["id"])


def request_line(request: Mapping[str, Any]) -> str:
    """The request as the router sees it."""
    if "path" not in request:
        return str(request["method"])
    host = request["host"] or "(no host)"
    return (
        f"{request['method']} {request['scheme']}://{host}:{request['port']}{request['path']} "
        f"from {request['client_ip']}"
    )


def outcome_line(found: Mapping[str, Any]) -> str:
    """Who answers."""
    outcome = found["outcome"]
    if outcome["answered_by"] == "upstream":
        return "of the upstream" + (", unless a plugin answers before" if found["plugins"] else "")
    text = f"of the gateway: {outcome['status']} {outcome['message']}"
    plugins = bool(found["plugins"]) and outcome.get("plugins_see") != "response"
    return text + (", unless a plugin answers before" if plugins else "")


def route_line(route: Mapping[str, Any]) -> str:
    """The route that is taken, and by which of its paths."""
    return named(route) + (f", by its path {route['path']}" if route["path"] else "")


def consumer_line(consumer: Mapping[str, Any]) -> str:
    """Who sends the request, and what tells so."""
    step = consumer["identified_by"]
    return f"{named(consumer)}, " + (
        f"known after {step}" if step else "whom no plugin of this route identifies"
    )


def plugin_lines(plugins: Sequence[Mapping[str, Any]]) -> list[str]:
    """The plugins in the order in which they run."""
    lines = []
    for plugin in plugins:
        name = plugin["name"] + (f" {plugin['instance_name']}" if plugin["instance_name"] else "")
        if plugin["id"] is None:
            lines.append(f"{name}: for some consumers only")
        else:
            hidden = ", ".join(f"{one['scope']} {one['id']}" for one in plugin["hides"])
            lines.append(
                f"{name}: {plugin['scope']} {plugin['id']}" + (f"; hides {hidden}" if hidden else "")
            )
        for one in plugin.get("for_consumers", ())[:SHOWN_CONSUMERS]:
            consumer = one["consumer"]
            lines.append(
                f"  when the consumer is {consumer['name'] or consumer['id']}: {one['scope']} {one['id']}"
            )
        more = plugin.get("for_consumers_count", 0) - SHOWN_CONSUMERS
        if more > 0:
            lines.append(f"  and for {more} other consumers")
    return lines


def target_lines(target: Mapping[str, Any]) -> list[str]:
    """Where the request goes."""
    lines = [f"{target['kind']} {target['name']}: {target['state']}{choice_words(target)}"]
    for peer in target["peers"]:
        share = f", {peer['share']:.0%} of {target['share_of']}" if target["share_of"] else ""
        lines.append(f"  {peer['address']} ({peer['target']}), weight {peer['weight']}{share}")
    for one in target.get("left_out", ()):
        lines.append(f"  not {one['address'] or one['target']}: {one['reason']}")
    return lines


def choice_words(target: Mapping[str, Any]) -> str:
    """How one of several peers is chosen, unless they take turns."""
    if len(target["peers"]) < 2:
        return ""
    inputs = ", else ".join(target["hash_on"])
    return CHOICES[target["algorithm"]] + (f" of {inputs}" if inputs else "")


def other_line(route: Mapping[str, Any]) -> str:
    """A route that is not taken, and why."""
    reasons = [reason_text(one) for one in route["failed"]] or [route.get("comes_after_because", "")]
    return f"{named(route)}: {'; '.join(reasons)}"


def reason_text(reason: Mapping[str, Any]) -> str:
    """A condition that does not hold."""
    if "wanted" not in reason:
        return str(reason["condition"])
    kind = NAMES.get(reason["condition"], reason["condition"])
    name = f" {reason['name']}" if "name" in reason else ""
    return f"{kind}{name} is not {' or '.join(reason['wanted'])}"
