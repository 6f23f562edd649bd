"""Answers as Kong's Admin API gives them: JSON bodies, header fields, error shapes."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from gateway import KONG_VERSION

JSON_TYPE = "application/json; charset=utf-8"
# Kong clients look at the product token to learn the API level.
SERVER = f"kong/{KONG_VERSION}"

_HTML = (
    "<html>\r\n<head><title>{title}</title></head>\r\n"
    "<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
)


class ApiError(Exception):
    """Raised by a handler to answer with an error at once."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def json_response(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. `content` is plain data (or msgspec structs already made plain)."""
    return json_text_response(status, orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS), headers)


def json_text_response(status: int, text: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer that has been made already."""
    return Response(text, status, headers=headers, media_type=JSON_TYPE)


def message_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """`{"message": …}`, the form of most of Kong's plain errors."""
    return json_response(status, {"message": message}, headers)


def html_error(status: int, title: str, headers: Mapping[str, str] | None = None) -> Response:
    """The small page with which the web server under Kong answers what never reaches Kong's own code."""
    return Response(_HTML.format(title=title), status, headers=headers, media_type="text/html")


def not_found() -> Response:
    """An unknown path or entity."""
    return message_response(404, "Not found")


def method_not_allowed() -> Response:
    """A path that exists, with a method that it does not have."""
    return message_response(405, "Method not allowed")


def unexpected_error() -> Response:
    """A fault of ours. What happened is in the log, never in the answer."""
    return message_response(500, "An unexpected error occurred")


def invalid_media_type() -> Response:
    """A body in a type that the endpoint does not read (corrections.md 8: the body is an HTML page)."""
    return html_error(415, "415 Unsupported Media Type")
