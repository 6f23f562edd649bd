"""GET and POST /explain: what the gateway would do with a request, and why."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.explain import Client, ExplainedRequest, Explainer, InvalidRequest, parse_request
from gateway.explain.explainer import MOST_OTHERS, OTHERS, NothingPublished
from gateway.explain.request import parsed_header

from .bodies import Body, read_body
from .descriptions import (
    INTEGER,
    MESSAGE,
    OBJECT,
    TEXT,
    Answer,
    Description,
    Parameter,
    Schema,
    list_of,
    object_of,
)
from .endpoints import Endpoint
from .responses import ApiError, json_response, message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

NUMBER = re.compile(r"[0-9]{1,3}")
NO_CONFIGURATION = "no configuration has been published yet"


def explain_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """Both methods do the same; what nobody should find in a log is better sent with POST."""
    explainer = Explainer(plane)

    async def from_query(request: Request) -> Response:
        query = request.query_params
        return await explained(members_of_form(query.multi_items()))

    async def from_body(request: Request) -> Response:
        body = await read_body(request, limit=plane.settings.admin_client_max_body_size)
        return await explained(members_of(body))

    async def explained(given: Mapping[str, Any]) -> Response:
        try:
            asked, client, others = question_of(given)
            await plane.fresh()
            found = await asyncio.to_thread(explainer.explain, asked, client, others)
        except InvalidRequest as error:
            raise ApiError(message_response(400, str(error))) from None
        except NothingPublished:
            raise ApiError(message_response(503, NO_CONFIGURATION)) from None
        return json_response(200, found)

    return [Endpoint("/explain", {"GET": from_query, "POST": from_body}, DESCRIPTIONS)]


def members_of(body: Body) -> Mapping[str, Any]:
    """What a body asks."""
    return members_of_form(body.pairs) if body.pairs else body.fields


def members_of_form(pairs: Iterable[tuple[str, str]]) -> Mapping[str, Any]:
    """What a form or a query asks, in which all is text; `headers` or `headers[]` may be repeated."""
    given: dict[str, Any] = {}
    headers = []
    for name, text in pairs:
        if name in ("headers", "headers[]"):
            headers.append(text)
        else:
            given[name] = int(text) if name == "others" and NUMBER.fullmatch(text) else text
    return {**given, "headers": headers}


def question_of(given: Mapping[str, Any]) -> tuple[ExplainedRequest, Client, int]:
    """The request that is meant, who sends it, and how many other routes are wanted. Raises
    InvalidRequest."""
    url = text_of(given, "url")
    if url is None:
        raise InvalidRequest("url is required")
    asked = parse_request(
        text_of(given, "method") or "GET", url, headers_of(given.get("headers")), text_of(given, "client_ip")
    )
    return (
        asked,
        Client(text_of(given, "consumer"), text_of(given, "credential")),
        others_of(given.get("others")),
    )


def text_of(given: Mapping[str, Any], name: str) -> str | None:
    """A text, or None where there is none. Raises InvalidRequest."""
    value = given.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a text")
    return value


def headers_of(value: Any) -> list[tuple[str, str]]:
    """Headers as a list of `Name: value`, or as an object of names and values. Raises InvalidRequest."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        pairs = []
        for name, values in value.items():
            for one in values if isinstance(values, list) else [values]:
                if not isinstance(one, str):
                    raise InvalidRequest(f"the value of the header {name} must be a text")
                pairs.append((str(name), one))
        return pairs
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise InvalidRequest("headers must be a list of texts 'Name: value', or an object")
    return [parsed_header(one) for one in texts]


def others_of(value: Any) -> int:
    """How many other routes are wanted. Raises InvalidRequest."""
    if value is None:
        return OTHERS
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_OTHERS:
        raise InvalidRequest(f"others must be a number between 0 and {MOST_OTHERS}")
    return value


# --- for the document of the API ------------------------------------------------------------------------

PARAMETERS = (
    Parameter("url", "The URL (http:// or https://), or its path alone. Required."),
    Parameter("method", "GET when it is left out."),
    Parameter("headers", "A header as `Name: value`; may be repeated.", list_of(TEXT)),
    Parameter("client_ip", "The address that the connection comes from; else this machine's."),
    Parameter("consumer", "The id, username or custom id of the consumer who is taken to send it."),
    Parameter("credential", "The key of a credential with which it is sent."),
    Parameter("others", "How many other routes are told.", {**INTEGER, "minimum": 0, "maximum": MOST_OTHERS}),
)
OPTIONAL: Schema = {"type": ["string", "null"]}
NULLABLE: Schema = {"type": ["object", "null"]}
EXPLANATION = object_of(
    {
        "request": OBJECT,
        "outcome": object_of({"answered_by": TEXT}, {"status": INTEGER, "message": TEXT}),
        "route": NULLABLE,
        "service": NULLABLE,
        "upstream_path": {"type": ["string", "null"]},
        "consumer": NULLABLE,
        "plugins": list_of(OBJECT),
        "target": NULLABLE,
        "other_routes": list_of(OBJECT),
        "rewritten_by": list_of(TEXT),
        "configuration_number": INTEGER,
    }
)
ANSWERS = {
    200: Answer("Route, plugins and target, and why other routes are not taken.", EXPLANATION),
    400: Answer("What is given is no request, or there is no such consumer or credential.", MESSAGE),
    503: Answer("Nothing has been published yet.", MESSAGE),
}
DESCRIPTIONS = {
    "GET": Description("Explain what the gateway would do with a request.", ANSWERS, query=PARAMETERS),
    "POST": Description(
        "Explain what the gateway would do with a request; for one with secrets in it.",
        ANSWERS,
        body={
            "type": "object",
            "properties": {
                "url": TEXT,
                "headers": {"type": ["array", "object", "string", "null"]},
                "others": {"type": ["integer", "null"], "minimum": 0, "maximum": MOST_OTHERS},
                **dict.fromkeys(("method", "client_ip", "consumer", "credential"), OPTIONAL),
            },
            "required": ["url"],
        },
    ),
}
