"""The endpoints of entities: every form of path, method by method."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from asgi_client import ask
from memory_plane import Api, with_api

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import shape_of
from gateway.store.errors import StoreUnavailable
from gateway.store.read_only import unsupported

NOT_FOUND = (404, {"message": "Not found"})
MISSING = "00000000-0000-4000-8000-000000000404"
FRESH = "00000000-0000-4000-8000-000000000001"


def test_life_of_an_entity(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        made = await api.made("/services", {"name": "s", "url": "http://h:81/p"})
        assert (made["host"], made["port"], made["path"]) == ("h", 81, "/p")
        for name in ("s", made["id"], made["id"].upper()):
            answer = await api.json("GET", f"/services/{name}")
            assert (answer.status, answer.json()) == (200, made)
        changed = (await api.json("PATCH", "/services/s", {"port": 82, "id": MISSING})).json()
        assert (changed["port"], changed["id"], changed["path"]) == (82, made["id"], "/p")
        answer = await api.json("PUT", "/services/s", {"host": "other", "name": "ignored"})
        replaced = answer.json()
        assert answer.status == 200
        assert (replaced["id"], replaced["name"], replaced["host"]) == (made["id"], "s", "other")
        assert (replaced["port"], replaced["path"]) == (80, None)
        assert (await api.json("GET", "/services")).json() == {"data": [replaced], "next": None}
        for _ in range(2):
            answer = await api.json("DELETE", "/services/s")
            assert (answer.status, answer.body) == (204, b"")
        answer = await api.json("GET", "/services/s")
        assert (answer.status, answer.json()) == NOT_FOUND

    with_api(tmp_path, test)


def test_put_makes_what_is_missing(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        by_id = (await api.json("PUT", f"/services/{FRESH}", {"host": "h"})).json()
        assert (by_id["id"], by_id["name"]) == (FRESH, None)
        by_name = (await api.json("PUT", "/services/n", {"host": "h"})).json()
        assert by_name["name"] == "n"
        assert (await api.json("GET", "/services/n")).json() == by_name

    with_api(tmp_path, test)


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/services/%20", 400, 10),
        ("PUT", "/services/a%20b", 400, 10),
        ("PATCH", "/services/a%2Fb", 400, 10),
        ("DELETE", "/services/%20", 400, 10),
        ("GET", "/upstreams/1.2.3.4", 400, 10),
        ("GET", "/acls/group", 400, 1),
        ("GET", "/ca_certificates/x", 400, 1),
        ("PATCH", "/services/none", 404, 6),
        ("PATCH", f"/services/{MISSING}", 404, 6),
        ("GET", "/services/none", 404, None),
        ("GET", f"/services/{MISSING}", 404, None),
        ("GET", "/services/none/routes", 404, None),
        ("GET", "/services/none/routes/none", 404, None),
        ("POST", "/services/none/routes", 404, None),
        ("DELETE", "/services/none/routes/none", 404, None),
        ("GET", "/routes/none/service", 404, None),
        ("GET", "/certificates/none.example", 404, None),
        ("GET", "/certificates/no%20name", 400, 10),
        ("PUT", "/certificates/no%20name", 400, 10),
        ("GET", "/consumers/none/acls/group", 404, None),
    ],
)
def test_what_is_not_there(tmp_path: Path, method: str, target: str, status: int, code: int | None) -> None:
    async def test(api: Api) -> None:
        answer = await api.json(method, target, None if method in ("GET", "DELETE") else {})
        assert (answer.status, answer.json().get("code")) == (status, code)
        assert answer.json().keys() <= {"message", "name", "code", "fields"}

    with_api(tmp_path, test)


def test_children_belong_to_their_parent(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        one = await api.made("/services", {"name": "one", "host": "h"})
        await api.made("/services", {"name": "two", "host": "h"})
        route = await api.made("/services/one/routes", {"name": "r", "paths": ["/x"]})
        assert route["service"] == {"id": one["id"]}
        for name in ("r", route["id"]):
            assert (await api.json("GET", f"/services/one/routes/{name}")).json() == route
            for method in ("GET", "PATCH", "PUT", "DELETE"):
                value = {"paths": ["/y"]} if method in ("PATCH", "PUT") else None
                answer = await api.json(method, f"/services/two/routes/{name}", value)
                assert (answer.status, answer.json()) == NOT_FOUND, method
        assert (await api.json("GET", "/services/one/routes")).json()["data"] == [route]
        assert (await api.json("GET", "/services/two/routes")).json()["data"] == []
        changed = await api.json("PATCH", "/services/one/routes/r", {"paths": ["/z"]})
        assert (changed.status, changed.json()["paths"]) == (200, ["/z"])
        replaced = await api.json("PUT", "/services/one/routes/r", {"hosts": ["a"]})
        assert (replaced.status, replaced.json()["paths"], replaced.json()["id"]) == (200, None, route["id"])
        # The parent of the path goes before that of the body.
        made = await api.json("PUT", "/services/two/routes/q", {"paths": ["/"], "service": {"name": "one"}})
        assert (await api.json("GET", "/services/two/routes")).json()["data"] == [made.json()]
        assert (await api.json("DELETE", "/services/one/routes/none")).status == 404
        assert (await api.json("DELETE", "/services/one/routes/r")).status == 204
        assert (await api.json("GET", "/services/one/routes")).json()["data"] == []

    with_api(tmp_path, test)


def test_the_entity_that_a_field_refers_to(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        service = await api.made("/services", {"name": "s", "host": "h"})
        await api.made("/routes", {"name": "r", "paths": ["/"], "service": {"name": "s"}})
        await api.made("/routes", {"name": "alone", "paths": ["/"]})
        assert (await api.json("GET", "/routes/r/service")).json() == service
        changed = await api.json("PATCH", "/routes/r/service", {"port": 81})
        assert (changed.status, changed.json()["port"], changed.json()["id"]) == (200, 81, service["id"])
        replaced = await api.json("PUT", "/routes/r/service", {"host": "other"})
        assert (replaced.status, replaced.json()["id"], replaced.json()["name"]) == (200, service["id"], None)
        answer = await api.json("DELETE", "/routes/r/service")
        assert (answer.status, answer.json()) == (405, {"message": "Method not allowed"})
        for method in ("GET", "DELETE", "PATCH"):
            value = {} if method == "PATCH" else None
            assert (await api.json(method, "/routes/alone/service", value)).status == 404
        made = await api.json("PUT", "/routes/alone/service", {"name": "new", "host": "h"})
        assert made.status == 200
        route = (await api.json("GET", "/routes/alone")).json()
        assert route["service"] == {"id": made.json()["id"]}
        assert (await api.json("GET", "/services/new")).json() == made.json()
        refused = await api.json("PUT", "/routes/none/service", {"name": "lost", "host": "h"})
        assert (refused.status, (await api.json("GET", "/services/lost")).status) == (404, 404)

    with_api(tmp_path, test)


def test_targets_are_named_by_their_address(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        await api.made("/upstreams", {"name": "u"})
        await api.made("/upstreams", {"name": "v"})
        addresses = ("10.0.0.1", "host:81", "::1", "[::2]:82")
        made = [await api.made("/upstreams/u/targets", {"target": address}) for address in addresses]
        for target, names in zip(
            made,
            (
                ("10.0.0.1", "10.0.0.1:8000"),
                ("host:81",),
                ("[::1]:8000", "%5B::1%5D:8000", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
                ("[::2]:82",),
            ),
            strict=True,
        ):
            for name in (*names, target["id"]):
                assert (await api.json("GET", f"/upstreams/u/targets/{name}")).json() == target
                assert (await api.json("GET", f"/upstreams/v/targets/{name}")).status == 404
        everything = (await api.json("GET", "/upstreams/u/targets")).json()["data"]
        assert everything == (await api.json("GET", "/upstreams/u/targets/all")).json()["data"]
        changed = await api.json("PATCH", "/upstreams/u/targets/host:81", {"weight": 5})
        assert (changed.status, changed.json()["weight"]) == (200, 5)
        for method in ("PATCH", "PUT"):
            refused = await api.json(method, "/upstreams/u/targets/host:81", {"target": "a b"})
            assert refused.json()["fields"] == {
                "target": "Invalid target ('a b'); not a valid hostname or ip address"
            }
        # PUT changes, too
        moved = await api.json("PUT", "/upstreams/u/targets/host:81", {"target": "host:83"})
        assert (moved.status, moved.json()["target"], moved.json()["weight"]) == (200, "host:83", 5)
        weighed = await api.json("PUT", f"/upstreams/u/targets/{made[1]['id']}", {"weight": 6})
        assert weighed.json() == {**moved.json(), "weight": 6, "updated_at": weighed.json()["updated_at"]}
        for name in (MISSING, "nope", "a b", "10.9.9.9:80"):
            for method in ("GET", "PUT", "DELETE", "PATCH"):
                value = {"target": "x"} if method in ("PUT", "PATCH") else None
                answer = await api.json(method, f"/upstreams/u/targets/{quote(name)}", value)
                assert (answer.status, answer.json()) == NOT_FOUND
        assert (await api.json("DELETE", "/upstreams/u/targets/10.0.0.1:8000")).status == 204
        for target in ("/targets", f"/targets/{made[1]['id']}", f"/targets/{made[1]['id']}/upstream"):
            for method in ("GET", "POST", "OPTIONS", "DELETE"):
                assert (await api.json(method, target)).status == 404

    with_api(tmp_path, test)


def test_acls_of_a_consumer_are_named_by_their_group(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        consumer = await api.made("/consumers", {"username": "bob"})
        await api.made("/consumers", {"username": "eve"})
        made = (await api.json("PUT", "/consumers/bob/acls/a%2Fb", {})).json()
        assert (made["group"], made["consumer"]) == ("a/b", {"id": consumer["id"]})
        tagged = (await api.json("PUT", "/consumers/bob/acls/a%2Fb", {"tags": ["t"]})).json()
        assert (tagged["id"], tagged["tags"]) == (made["id"], ["t"])
        renamed = (await api.json("PATCH", "/consumers/bob/acls/a%2Fb", {"group": "g"})).json()
        assert (renamed["id"], renamed["group"]) == (made["id"], "g")
        assert (await api.json("GET", "/consumers/bob/acls/g")).json() == renamed
        assert (await api.json("GET", "/consumers/eve/acls/g")).status == 404
        assert (await api.json("DELETE", "/consumers/eve/acls/g")).status == 404
        assert (await api.json("DELETE", "/consumers/bob/acls/g")).status == 204

    with_api(tmp_path, test)


def test_credentials_have_kongs_paths(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        await api.made("/consumers", {"username": "bob", "custom_id": "b 1"})
        for collection, nested, values in (
            ("key-auths", "key-auth", {"key": "k/1"}),
            ("basic-auths", "basic-auth", {"username": "ü", "password": "p"}),
            ("hmac-auths", "hmac-auth", {"username": "h"}),
            ("jwts", "jwt", {"key": "j"}),
            ("oauth2", "oauth2", {"name": "app", "client_id": "c"}),
        ):
            made = await api.made(f"/consumers/bob/{nested}", values)
            key = next(value for name, value in values.items() if name in ("key", "username", "client_id"))
            for target in (f"/{collection}/{quote(key, safe='')}", f"/consumers/bob/{nested}/{made['id']}"):
                assert (await api.json("GET", target)).json() == made
            found = (await api.json("GET", f"/{collection}/{made['id']}/consumer")).json()
            assert found["username"] == "bob"
        listed = (await api.json("GET", "/consumers?custom_id=b%201")).json()
        assert (len(listed["data"]), listed["next"]) == (1, None)
        assert (await api.json("GET", "/consumers?custom_id=none")).json() == {"data": [], "next": None}
        for query in ("custom_id=", "custom_id", "custom_id=b%201&custom_id=b%201"):
            refused = await api.json("GET", f"/consumers?{query}")
            message = {"message": "custom_id must be an unempty string"}
            assert (refused.status, refused.json()) == (400, message)
        for gone in ("/keyauth_credentials", "/key_sets", "/consumers/bob/keyauth_credentials"):
            assert (await api.json("GET", gone)).status == 404

    with_api(tmp_path, test)


def test_keys_of_a_credential_are_seen_until_they_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(api: Api) -> None:
        await api.made("/consumers", {"username": "bob"})
        for_ever = await api.made("/consumers/bob/key-auth", {"key": "for-ever"})
        short = await api.made("/consumers/bob/key-auth", {"key": "short", "ttl": 100})
        assert (for_ever["ttl"], short["ttl"]) == (None, 99)
        now = __import__("time").time()
        monkeypatch.setattr("time.time", lambda: now + 200)
        for target in ("/key-auths", "/consumers/bob/key-auth"):
            assert [one["key"] for one in (await api.json("GET", target)).json()["data"]] == ["for-ever"]
            for name in ("short", short["id"]):
                assert (await api.json("GET", f"{target}/{name}")).status == 404

    with_api(tmp_path, test)


def test_without_a_database_keys_have_no_time_to_live(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        await api.made("/consumers", {"username": "bob"})
        await api.made("/consumers/bob/key-auth", {"key": "k"})
        api.plane.store.kind = "off"
        assert "ttl" not in (await api.json("GET", "/key-auths/k")).json()
        assert "ttl" not in (await api.json("GET", "/key-auths")).json()["data"][0]

    with_api(tmp_path, test)


def test_names_in_paths_are_decoded_after_they_are_split(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        for username in ("a/b", "a%2Fb", "100%", "sp ace é", "?x#y", "日本", "a+b", "..", "a\\b"):
            made = await api.made("/consumers", {"username": username})
            target = f"/consumers/{quote(username, safe='')}"
            assert (await api.json("GET", target)).json() == made
            assert (await api.json("GET", f"{target}/")).json() == made
            nested = await api.made(f"{target}/key-auth", {})
            assert (await api.json("GET", f"{target}/key-auth/{nested['id']}")).status == 200

    with_api(tmp_path, test)


def test_methods(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        for target, allowed in (
            ("/services", "GET, HEAD, OPTIONS, POST"),
            ("/services/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
            ("/services/x/routes", "GET, HEAD, OPTIONS, POST"),
            ("/services/x/routes/y", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
            ("/routes/x/service", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
            ("/upstreams/x/targets/all", "GET, HEAD, OPTIONS"),
            ("/tags", "GET, HEAD, OPTIONS"),
        ):
            answer = await ask(api.app, "OPTIONS", target)
            assert (answer.status, answer.headers["allow"]) == (204, allowed)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "FOO"):
                if method not in allowed:
                    answer = await ask(api.app, method, target)
                    assert (answer.status, answer.json()) == (405, {"message": "Method not allowed"})
        for target in ("/services", "/services/none"):
            get, head = await ask(api.app, "GET", target), await ask(api.app, "HEAD", target)
            assert (head.status, head.body) == (get.status, b"")
            assert head.headers["content-length"] == get.headers["content-length"]

    with_api(tmp_path, test)


def test_every_type_has_its_endpoints(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        paths = set((await api.json("GET", "/endpoints")).json()["data"])
        assert {"/endpoints", "/tags", "/tags/{tags}", "/services", "/services/{services}"} <= paths
        assert {"/consumers/{consumers}/key-auth/{keyauth_credentials}", "/keys/{keys}/set"} <= paths
        for kind in ENTITY_TYPES.values():
            members = [path for path in paths if path.endswith(f"/{{{kind.type_name}}}")]
            assert len(members) == 1 + len(shape_of(kind).foreign), kind.type_name

    with_api(tmp_path, test)


def test_refusals_of_the_store(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        api.plane.store.fault = StoreUnavailable("password authentication failed for user kong")
        answer = await api.json("POST", "/services", {"host": "h"})
        assert (answer.status, answer.json()["code"], answer.json()["name"]) == (500, 8, "database error")
        assert b"kong" not in answer.body
        assert (await api.json("GET", "/services")).status == 200

    with_api(tmp_path, test)


@pytest.mark.parametrize(
    ("method", "target", "text"),
    [
        ("POST", "/services", "create 'services' entities"),
        ("PATCH", "/services/s", "update 'services' entities by 'name'"),
        ("PUT", "/services/s", "create or update 'services' entities by 'name'"),
        ("PUT", f"/services/{MISSING}", "create or update 'services' entities"),
        ("DELETE", "/services/s", "remove 'services' entities by 'name'"),
        ("POST", "/services/s/routes", "create 'routes' entities"),
        ("POST", "/consumers/bob/key-auth", "create 'keyauth_credentials' entities"),
        ("PUT", "/consumers/bob", "create or update 'consumers' entities by 'username'"),
        ("PUT", "/consumers/bob/acls/g", "create or update 'acls' entities"),
    ],
)
def test_what_an_operation_is_called(tmp_path: Path, method: str, target: str, text: str) -> None:
    async def test(api: Api) -> None:
        await api.made("/services", {"name": "s", "host": "h"})
        await api.made("/consumers", {"username": "bob"})
        await api.json(method, target, None if method == "DELETE" else {"host": "h", "paths": ["/"]})
        message = unsupported(api.plane.store.batches[-1][0]).message
        assert message == f"cannot {text} when not using a database"

    with_api(tmp_path, test)


def test_forms_and_multipart_make_the_same_entities(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        service = (await api.form("POST", "/services", {"name": "s", "url": "http://h:81"})).json()
        assert (service["port"], service["path"]) == (81, None)
        pairs = [("paths[]", "/a"), ("paths[]", "/b"), ("methods", "GET, POST"), ("strip_path", "false")]
        expected: dict[str, Any] = {"paths": ["/a", "/b"], "methods": ["GET", "POST"], "strip_path": False}
        made = [(await api.form("POST", "/services/s/routes", pairs)).json()]
        parts = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in pairs
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await ask(api.app, "POST", "/services/s/routes", f"{parts}--b--\r\n".encode(), headers)
        made.append(answer.json())
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = b"paths%5B%5D=/a&paths%5B%5D=%2Fb&methods%5B1%5D=GET&methods[2]=POST&strip_path=false"
        made.append((await ask(api.app, "POST", "/services/s/routes", body, headers)).json())
        for route in made:
            assert {name: route[name] for name in expected} == expected
        key = await api.form("PATCH", "/services/s", {"host": "other", "path": ""})
        assert (key.status, key.json()["host"], key.json()["path"]) == (200, "other", None)

    with_api(tmp_path, test)
