"""Clients made for Kong, unmodified: aio-kong with its command `kongfig` (PyPI), and plain JSON over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kong
import pytest
import yaml
from kong.client import Kong, KongResponseError

from tests.support.certificates import self_signed
from tests.support.gateway import Gateway
from tests.support.stores import WRITABLE_STORES, gateway_on
from tests.support.upstreams import Upstream

KONGFIG = Path(sys.executable).parent / "kongfig"


@pytest.fixture(scope="module", params=WRITABLE_STORES)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateway_on(request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_configured(request: pytest.FixtureRequest) -> None:
    """Each test begins with an empty gateway; emptying it is a client's work, too."""
    if "gateway" in request.fixturenames:
        running: Gateway = request.getfixturevalue("gateway")
        asyncio.run(empty(address_of(running)))


async def empty(address: str) -> None:
    async with Kong(url=address) as cli:
        await cli.delete_all()


def address_of(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.admin_port}"


def kongfig(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run(
        [KONGFIG, *arguments],
        env={**os.environ, "KONG_ADMIN_URL": address_of(gateway), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- aio-kong -------------------------------------------------------------------------------------------


def test_services_and_routes(gateway: Gateway) -> None:
    async def work(url: str) -> None:
        async with Kong(url=address_of(gateway)) as cli:
            service = await cli.services.create(name="test", url=url)
            assert (service.name, service.host, service.protocol) == ("test", "127.0.0.1", "http")
            assert await cli.services.has("test")
            assert await cli.services.has(service.id)
            assert not await cli.services.has("other")
            assert (await cli.services.get("test")).id == service.id
            route = await service.routes.create(name="r", paths=["/x"], strip_path=True)
            assert route["service"] == {"id": service.id}
            assert gateway.request("/x/hello")[0] == 200
            changed = await cli.routes.update(route.id, paths=["/y"])
            assert changed["paths"] == ["/y"]
            assert (gateway.request("/x/hello")[0], gateway.request("/y/hello")[0]) == (404, 200)
            assert [one.name for one in await service.routes.get_list()] == ["r"]
            with pytest.raises(KongResponseError) as caught:
                await cli.services.create(name="test", host="h")
            assert caught.value.status == 409
            with pytest.raises(KongResponseError) as caught:
                await cli.services.get("other")
            assert caught.value.status == 404
            assert await cli.services.delete("test")  # its routes go first, one by one
            assert await cli.services.get_list() == []
            assert await cli.routes.get_list() == []

    with Upstream() as upstream:
        asyncio.run(work(f"http://127.0.0.1:{upstream.port}"))


def test_paging_and_tags(gateway: Gateway) -> None:
    async def work() -> None:
        async with Kong(url=address_of(gateway)) as cli:
            for number in range(12):
                tags = ["all", "even" if number % 2 == 0 else "odd"]
                await cli.services.create(name=f"s{number}", host="h", tags=tags)
            assert len(await cli.services.get_list(size=5)) == 5
            full = [service.name async for service in cli.services.paginate(size=5)]
            assert sorted(full) == sorted(f"s{number}" for number in range(12))
            even = await cli.services.get_full_list(tags="even,all", size=4)
            assert {service.name for service in even} == {f"s{number}" for number in range(0, 12, 2)}
            service = await cli.services.get("s3")
            for number in range(7):
                await service.routes.create(paths=[f"/p{number}"])
            assert len(await service.routes.get_full_list(size=3)) == 7
            assert await service.routes.delete_all() == 7

    asyncio.run(work())


def test_consumers_and_credentials(gateway: Gateway) -> None:
    async def work() -> None:
        async with Kong(url=address_of(gateway)) as cli:
            bob = await cli.consumers.create(username="bob", custom_id="7")
            assert bob.username == "bob"
            assert (await cli.consumers.get("bob")).id == bob.id
            assert [one.id for one in await cli.consumers.get_list(custom_id="7")] == [bob.id]
            await bob.acls.create(group="g1")
            await bob.acls.create(group="g2")
            assert {acl["group"] for acl in await bob.acls.get_list()} == {"g1", "g2"}
            assert len(await cli.acls.get_list()) == 2
            jwt = await bob.jwts.create()
            assert len(jwt["secret"]) == len(jwt["key"]) == 32
            key = await bob.keyauths.get_or_create()
            assert (await bob.keyauths.get_or_create()).id == key.id
            # These are sent as a form.
            first = await bob.keyauths.create_or_update_credentials({"key": "abc"})
            again = await bob.keyauths.create_or_update_credentials({"key": "abc", "tags": "x"})
            assert first.id == again.id
            assert again["tags"] == ["x"]
            basic = await bob.basicauths.create_or_update_credentials({"username": "b", "password": "p"})
            assert basic["consumer"] == {"id": bob.id}
            assert await bob.jwts.delete(jwt.id)
            assert await bob.jwts.get_list() == []
            assert await cli.consumers.delete("bob")
            assert not await cli.consumers.has("bob")
            assert await cli.acls.get_list() == []

    asyncio.run(work())


def test_certificates_and_snis(gateway: Gateway) -> None:
    async def work() -> None:
        async with Kong(url=address_of(gateway)) as cli:
            cert, key = self_signed("example.com")
            made = await cli.certificates.create(cert=cert, key=key)
            sni = await made.snis.create(name="a.example.com")
            assert sni["certificate"] == {"id": made.id}
            applied = await cli.snis.apply_json(
                [{"name": "a.example.com", "tags": ["t"], "certificate": {"id": made.id}}]
            )
            assert applied[0]["tags"] == ["t"]
            applied = await cli.snis.apply_json({"name": "b.example.com", "certificate": {"id": made.id}})
            assert {one["name"] for one in await cli.snis.get_list()} == {"a.example.com", "b.example.com"}
            assert await cli.certificates.delete_all() == 1
            assert await cli.snis.get_list() == []

    asyncio.run(work())


def test_a_plugin_that_is_not_there_is_refused(gateway: Gateway) -> None:
    async def work() -> None:
        async with Kong(url=address_of(gateway)) as cli:
            with pytest.raises(KongResponseError) as caught:
                await cli.plugins.create(name="no-such-plugin")
            assert caught.value.status == 400
            assert "plugin 'no-such-plugin' not enabled" in caught.value.message["fields"]["name"]
            assert await cli.plugins.get_list() == []

    asyncio.run(work())


# --- kongfig --------------------------------------------------------------------------------------------


def document(upstream: Upstream, *paths: str) -> dict[str, Any]:
    """What `kongfig yaml` takes: its own form."""
    routes = [{"name": path.strip("/"), "paths": [path], "methods": ["GET"]} for path in paths]
    return {
        "services": [{"name": "foo", "host": "upstream.internal", "port": upstream.port, "routes": routes}],
        "consumers": [
            {
                "username": "bob",
                "groups": ["g1", "g2"],
                "auths": [
                    {"type": "key-auth", "config": {"key": "secret"}},
                    {"type": "basic-auth", "config": {"username": "bob", "password": "p"}},
                ],
            }
        ],
    }


def test_kongfig(gateway: Gateway, tmp_path: Path) -> None:
    with Upstream() as upstream:
        file = tmp_path / "kong.yml"
        file.write_text(yaml.safe_dump(document(upstream, "/foo", "/bar")))
        result = kongfig(gateway, "yaml", str(file))
        assert result.returncode == 0, result.stderr
        assert [one["name"] for one in json.loads(result.stdout)["services"]] == ["foo"]
        # Twice makes no difference; without /bar it goes.
        file.write_text(yaml.safe_dump(document(upstream, "/foo")))
        result = kongfig(gateway, "yaml", str(file), "--clear")
        assert result.returncode == 0, result.stderr
        httpx.patch(f"{address_of(gateway)}/services/foo", json={"host": "127.0.0.1"}).raise_for_status()
        assert (gateway.request("/foo")[0], gateway.request("/bar")[0]) == (200, 404)
        assert "foo" in kongfig(gateway, "services").stdout
        assert [one["paths"] for one in json.loads(kongfig(gateway, "routes", "foo", "--json").stdout)] == [
            ["/foo"]
        ]
        assert "bob" in kongfig(gateway, "consumers").stdout
        assert json.loads(kongfig(gateway, "key-auth", "bob").stdout)["key"] == "secret"
        assert kongfig(gateway, "services", "--delete", "foo").returncode == 0
        assert json.loads(kongfig(gateway, "services", "--json").stdout) == []
        result = kongfig(gateway, "routes", "foo")
        assert result.returncode == 1
        assert '"response_status": 404' in result.stderr


def test_kongfig_of_a_gateway_that_only_reads() -> None:
    with gateway_on("off") as gateway:
        gateway.configure(
            {"services": [{"name": "foo", "host": "h", "routes": [{"name": "r", "paths": ["/r"]}]}]}
        )
        assert [one["name"] for one in json.loads(kongfig(gateway, "services", "--json").stdout)] == ["foo"]
        assert [one["name"] for one in json.loads(kongfig(gateway, "routes", "foo", "--json").stdout)] == [
            "r"
        ]
        result = kongfig(gateway, "services", "--delete", "foo")
        assert result.returncode == 1
        assert "cannot remove 'routes' entities when not using a database" in result.stderr
        assert asyncio.run(read_everything(address_of(gateway))) == {"services": 1, "routes": 1}


async def read_everything(address: str) -> dict[str, int]:
    """How much a client finds of each type."""
    async with Kong(url=address) as cli:
        found = {}
        for name in ("services", "routes", "plugins", "consumers", "certificates", "acls", "snis"):
            found[name] = len(await getattr(cli, name).get_full_list())
        return {name: count for name, count in found.items() if count}


def test_the_client_is_the_one_of_the_package_index() -> None:
    assert kong.__version__
    assert "site-packages" in str(Path(kong.__file__))


# --- plain JSON -----------------------------------------------------------------------------------------


class PlainClient:
    """What people write in an afternoon: JSON there, JSON back."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address)

    def post(self, path: str, **fields: Any) -> Any:
        response = self.http.post(path, json=fields)
        assert response.status_code == 201, response.text
        return response.json()


def test_plain_json(gateway: Gateway) -> None:
    with Upstream() as upstream:
        client = PlainClient(address_of(gateway))
        client.post("/services", name="user-service", url=f"http://127.0.0.1:{upstream.port}")
        client.post("/services/user-service/routes", paths=["/api/users"], methods=["GET", "POST"])
        assert gateway.request("/api/users")[0] == 200
        assert gateway.request("/api/users", "POST")[0] == 200
        assert gateway.request("/api/users", "DELETE")[0] == 404
        client.post("/upstreams", name="user-service-upstream")
        client.post(
            "/upstreams/user-service-upstream/targets", target=f"127.0.0.1:{upstream.port}", weight=100
        )
        changed = client.http.patch(
            "/services/user-service", json={"host": "user-service-upstream", "port": 80}
        )
        assert changed.json()["host"] == "user-service-upstream"
        assert gateway.request("/api/users")[0] == 200
        client.http.delete("/upstreams/user-service-upstream")
