"""The few plain HTTP calls the bench makes itself (readiness, reload, status)."""

from __future__ import annotations

import http.client


def call(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    content_type: str = "application/json",
    timeout_seconds: float = 10.0,
) -> tuple[int, bytes]:
    """One request to 127.0.0.1:`port`; its status and body. Status 0 when nobody answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    try:
        headers = {"Content-Type": content_type} if body is not None else {}
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
