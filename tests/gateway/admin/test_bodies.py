"""Whatever is sent as a body gets a clean answer: a 4xx where it is wrong, never a fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, ask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_plane import Api, with_api

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
UNPARSABLE = {"message": "Cannot parse JSON body"}


def form_part(name: bytes, value: bytes) -> bytes:
    """A multipart form of one field; the boundary is "b"."""
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n--b--\r\n' % (name, value)


def post(prefix: Path, body: bytes, headers: Any, target: str = "/services") -> Answer:
    """The answer to one POST."""
    answers: list[Answer] = []

    async def test(api: Api) -> None:
        answers.append(await ask(api.app, "POST", target, body, headers))

    with_api(prefix, test)
    return answers[0]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"5",
        b'"text"',
        b"null",
        b"true",
        b"[1]",
        b'{"host": "h"} x',
        b'{"host": NaN}',
        b"{'host': 'h'}",
        b'{"host": "\xff"}',
        b'{"host": "\xed\xa0\x80"}',
        b'{"host": "\\ud800"}',
        b'{"host": "a\x00b"}',
        b"[" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_json_that_cannot_be_parsed(tmp_path: Path, body: bytes) -> None:
    answer = post(tmp_path, body, JSON)
    assert (answer.status, answer.json()) == (400, UNPARSABLE)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {"host": "required field missing"}),
        (b"{}", {"host": "required field missing"}),
        (b"[]", {"host": "required field missing"}),
        (b'{"host": "h", "retries": 1e400}', None),
        (b'{"host": "h", "retries": 123456789012345678901234567890}', None),
        (b'{"host": "h", "retries": -1e308}', None),
        (b'{"host": ["h"]}', {"host": "expected a string"}),
        (b'{"host": {"h": 1}, "port": {}}', {"host": "expected a string", "port": "expected an integer"}),
        (b'{"host": "h", "tags": [["a"]]}', {"tags": ["expected a string"]}),
    ],
)
def test_values_that_are_wrong(tmp_path: Path, body: bytes, fields: Any) -> None:
    answer = post(tmp_path, body, JSON)
    assert answer.status == 400
    assert answer.json().get("code") in ((2,) if fields is not None else (2, None))
    assert fields is None or answer.json()["fields"] == fields


def test_of_repeated_members_the_last_one_counts(tmp_path: Path) -> None:
    answer = post(tmp_path, b'{"host": "a", "host": "b"}', JSON)
    assert (answer.status, answer.json()["host"]) == (201, "b")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"host": "a\\u0000b"}', JSON),
        (b'{"host": "h", "tags": ["a\\u0000"]}', JSON),
        (b'{"host": "h", "a\\u0000": 1}', JSON),
        (b"host=a%00b", FORM),
        (b"host=h&a%00=b", FORM),
    ],
)
def test_nul_characters(tmp_path: Path, body: bytes, headers: Any) -> None:
    answer = post(tmp_path, body, headers)
    assert (answer.status, answer.json()) == (
        400,
        {"message": "The body must not contain NUL characters"},
    )


@pytest.mark.parametrize("depth", [65, 500, 1000])
def test_deep_values(tmp_path: Path, depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"host": "h", "tags": ' + opening * depth + b"1" + closing * depth + b"}"
        assert post(tmp_path, body, JSON).status == 400


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": ""}, {"Content-Type": "text/plain"}, {"Content-Type": "text/yaml"}],
)
def test_types_that_are_not_read(tmp_path: Path, headers: dict[str, str]) -> None:
    answer = post(tmp_path, b'{"host": "h"}', headers)
    assert (answer.status, answer.headers["content-type"]) == (415, "text/html; charset=utf-8")


def test_two_content_types(tmp_path: Path) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Type", "application/json")]
    answer = post(tmp_path, b'{"host": "h"}', headers)
    assert (answer.status, answer.json()) == (400, {"message": "Only one Content-Type header is allowed"})


def test_parameters_of_the_type_and_its_case_do_not_matter(tmp_path: Path) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert post(tmp_path, b'{"host": "h"}', headers).status == 201


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"host=%ff", "Cannot parse form body"),
        (b"host=\xff", "Cannot parse form body"),
        (b"&".join(b"a%d=1" % number for number in range(1001)), "Too many arguments"),
        (b"&" * 5000, "Too many arguments"),
    ],
)
def test_forms_that_cannot_be_read(tmp_path: Path, body: bytes, message: str) -> None:
    answer = post(tmp_path, body, FORM)
    assert (answer.status, answer.json()) == (400, {"message": message})


def test_a_thousand_arguments_are_read(tmp_path: Path) -> None:
    body = b"&".join([b"host=h", *(b"tags[]=t%d" % number for number in range(999))])
    answer = post(tmp_path, body, FORM)
    assert (answer.status, len(answer.json()["tags"])) == (201, 999)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "multipart/form-data"}, b"--b\r\n"),
        ({"Content-Type": "multipart/form-data; boundary="}, b"--b\r\n"),
        (MULTIPART, b"nonsense"),
        (MULTIPART, b"--b\r\n\r\nno name\r\n--b--\r\n"),
        # A half of a character, which no answer could hold; and what takes Python a time without end.
        ({"Content-Type": MULTIPART["Content-Type"] + "; charset=utf-7"}, form_part(b"host", b"+2AA-")),
        (
            {"Content-Type": "multipart/form-data; boundary=b; charset=punycode"},
            form_part(b"a", b"a-" * 9**6),
        ),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="host"\r\n\r\nh'),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\n\xff\r\n--b--\r\n'),
    ],
)
def test_multipart_that_is_broken(tmp_path: Path, headers: Any, body: bytes) -> None:
    assert post(tmp_path, body, headers).status == 400


def test_many_parts(tmp_path: Path) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="tags"\r\n\r\nx\r\n'
    answer = post(tmp_path, part * 1001 + b"--b--\r\n", MULTIPART)
    assert (answer.status, answer.json()) == (400, {"message": "Too many arguments"})


def test_a_file_is_a_text(tmp_path: Path) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="host"; filename="x"\r\n'
        b"Content-Type: text/plain\r\n\r\nh\r\n--b--\r\n"
    )
    answer = post(tmp_path, body, MULTIPART)
    assert (answer.status, answer.json()["host"]) == (201, "h")


def test_the_largest_body_is_a_setting(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        value = json.dumps({"host": "h", "tags": ["x" * 1000]}).encode()
        for body, status in ((value, 201), (value + b" " * 100_000, 413)):
            assert (await ask(api.app, "POST", "/services", body, JSON)).status == status
        assert (await ask(api.app, "PATCH", "/services/x", b" " * 100_000, JSON)).status == 413

    with_api(tmp_path, test, admin_client_max_body_size="64k")


def test_any_size(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        body = b'{"host": "h"}' + b" " * (11 << 20)
        assert (await ask(api.app, "POST", "/services", body, JSON)).status == 201

    with_api(tmp_path, test, admin_client_max_body_size="0")


def test_a_client_that_goes_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(api: Api) -> None:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            **{"type": "http", "method": "POST", "path": "/services", "raw_path": b"/services"},
            **{"headers": [(b"content-length", b"10")], "query_string": b"", "server": ("h", 1)},
        }
        await api.app(scope, receive, send)
        assert sent[0]["status"] == 400
        assert not caplog.records

    with_api(tmp_path, test)


def test_large_bodies_mean_the_same(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        tags = [f"tag-{number:06d}" for number in range(10_000)]
        made = await api.made("/services", {"host": "h", "tags": tags})
        assert made["tags"] == tags
        answer = await api.form("POST", "/services", {"host": "h", "tags": ",".join(tags)})
        assert (answer.status, answer.json()["tags"]) == (201, tags)
        broken = await ask(api.app, "POST", "/services", b'{"host": "' + b"h" * 100_000, JSON)
        assert (broken.status, broken.json()) == (400, UNPARSABLE)

    with_api(tmp_path, test)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["id", "name", "host", "paths", "service", "tags", "protocols", "config", "ttl", "created_at", "url"]
)
COLLECTIONS = st.sampled_from(
    [
        "services",
        "routes",
        "consumers",
        "plugins",
        "upstreams",
        "certificates",
        "snis",
        "vaults",
        "keys",
        "key-sets",
        "key-auths",
        "basic-auths",
        "jwts",
        "acls",
        "oauth2",
        "hmac-auths",
        "ca_certificates",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(COLLECTIONS, st.dictionaries(FIELDS | st.text(max_size=6), VALUES, max_size=5), st.booleans())
def test_no_value_makes_a_fault(
    tmp_path: Path, collection: str, values: dict[str, Any], replaces: bool
) -> None:
    async def test(api: Api) -> None:
        body = json.dumps(values).encode()
        if replaces:
            target = f"/{collection}/5f1d8b4e-6c0a-4a7e-9a51-0c9a2d4f6b11"
            answer = await ask(api.app, "PUT", target, body, JSON)
        else:
            answer = await ask(api.app, "POST", f"/{collection}", body, JSON)
        assert answer.status in (200, 201, 400), (answer.status, answer.body)

    with_api(tmp_path, test)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from([JSON, FORM, MULTIPART]))
def test_no_bytes_make_a_fault(tmp_path: Path, body: bytes, headers: dict[str, str]) -> None:
    assert post(tmp_path, body, headers).status in (201, 400)
