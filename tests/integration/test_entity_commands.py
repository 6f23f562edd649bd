"""gateway get, create, update, delete, and the client they use, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.client import AdminClient, AsyncAdminClient, Conflict, NotAllowed, Refused, Unreachable
from gateway.entities.services import Service
from tests.support.certificates import self_signed
from tests.support.gateway import Gateway, free_port
from tests.support.stores import admin_of, empty, gateway_on, run_here
from tests.support.upstreams import Upstream

TOKEN = "a-token-of-the-tests"  # noqa: S105


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    with gateway_on("sqlite") as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    empty(running)
    return running


def printed(gateway: Gateway, *arguments: str) -> str:
    result = run_here(gateway, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(gateway: Gateway, *arguments: str) -> str:
    result = run_here(gateway, *arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr


# --- commands -------------------------------------------------------------------------------------------


def test_an_entity_from_its_creation_to_its_end(gateway: Gateway) -> None:
    with Upstream() as upstream:
        shown = printed(gateway, "create", "services", "name=users", f"url=http://127.0.0.1:{upstream.port}")
        assert dict(line.split(maxsplit=1) for line in shown.splitlines())["name"] == "users"
        printed(
            gateway,
            "create",
            "services/users/routes",
            "name=r",
            "paths[]=/a",
            "paths[]=/b",
            "strip_path=false",
        )
        assert gateway.request("/b/x")[0] == 200
        changed = json.loads(printed(gateway, "update", "route", "r", "paths=/c", "--json"))
        assert (changed["paths"], changed["strip_path"]) == (["/c"], False)
        assert gateway.request("/c/x")[0] == 200
        table = printed(gateway, "get", "routes").splitlines()
        assert table[0].split() == ["name", "service", "paths", "strip_path", "tags", "id"]
        assert table[1].split()[:4] == ["r", "users", "/c", "false"]
        assert printed(gateway, "delete", "routes", "r") == "route r deleted\n"
        assert gateway.request("/c/x")[0] == 404


def test_json_from_standard_input(gateway: Gateway) -> None:
    values = {"username": "bob", "tags": ["a", "b"]}
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "create", "consumers", "-", "--yaml"],
        input=json.dumps(values),
        env=gateway.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert yaml.safe_load(result.stdout)["tags"] == ["a", "b"]
    assert "FIELD=VALUE" in refused(gateway, "create", "consumers", "username")
    assert "nothing to change" in refused(gateway, "update", "consumers", "bob")


def test_types_by_all_of_their_names(gateway: Gateway) -> None:
    printed(gateway, "create", "consumer", "username=bob")
    printed(gateway, "create", "consumers/bob/key-auth", "key=abc")
    for name in ("key-auths", "key-auth", "keyauth_credentials", "keyauth-credential", "KEY-AUTHS"):
        assert [one["key"] for one in json.loads(printed(gateway, "get", name, "--json"))] == ["abc"]
    assert "bob" in printed(gateway, "get", "key-auths")
    text = refused(gateway, "get", "servces")
    assert "Did you mean services?" in text
    assert "key-auths" in text
    assert "write upstreams/NAME/targets" in refused(gateway, "get", "targets")
    assert "consumers have no routes" in refused(gateway, "get", "consumers/bob/routes")
    assert "is neither a type" in refused(gateway, "get", "consumers/bob")


def test_lists_with_tags_and_pages(gateway: Gateway) -> None:
    with admin_of(gateway) as admin:
        for number in range(25):
            admin.services.create(
                {"name": f"s{number}", "host": "h", "tags": ["odd" if number % 2 else "even"]}
            )
        assert len(list(admin.services.list(size=7))) == 25
        assert len({one.name for one in admin.of(Service).list(tags=["odd"], size=5)}) == 12
    assert len(printed(gateway, "get", "services", "--tags", "odd").splitlines()) == 13
    assert len(json.loads(printed(gateway, "get", "services", "--tags", "odd/even", "--json"))) == 25


def test_what_cannot_be(gateway: Gateway) -> None:
    printed(gateway, "create", "services", "name=a", "host=h")
    assert refused(gateway, "create", "services", "name=a", "host=h") == (
        "Error: UNIQUE violation detected on '{name=\"a\"}'\n"
    )
    assert refused(gateway, "create", "services", "name=b") == (
        "Error: schema violation (host: required field missing)\n"
    )
    assert refused(gateway, "get", "services", "nothing") == "Error: there is no service nothing\n"
    assert (
        refused(gateway, "update", "services", "nothing", "port=1") == "Error: there is no service nothing\n"
    )
    text = refused(gateway, "delete", "services", "a", "nothing")
    assert text == "Error: there is no service nothing\n"
    assert "a" in printed(gateway, "get", "services")


def test_nobody_listens(gateway: Gateway) -> None:
    port = free_port()
    for arguments in (("get", "services"), ("dump",)):
        text = refused(gateway, *arguments, "--admin-url", f"http://127.0.0.1:{port}")
        assert f"the Admin API at http://127.0.0.1:{port} cannot be reached" in text
        assert "--admin-url" in text
        text = refused(gateway, *arguments, "--set", f"admin_listen=127.0.0.1:{port}")
        assert "ADMIN_LISTEN (flag)" in text
    assert "ADMIN_LISTEN is off" in refused(gateway, "get", "services", "--set", "admin_listen=off")
    assert "no address" in refused(gateway, "get", "services", "--admin-url", "ftp://x")
    # Another server: the proxy answers, too.
    text = refused(gateway, "get", "services", "--admin-url", f"http://127.0.0.1:{gateway.proxy_port}")
    assert text.startswith("Error: ")


# --- the client -----------------------------------------------------------------------------------------


def test_the_asynchronous_client(gateway: Gateway) -> None:
    async def work() -> None:
        async with AsyncAdminClient(f"http://127.0.0.1:{gateway.admin_port}") as admin:
            made = await asyncio.gather(
                *(admin.services.create({"name": f"s{number}", "host": "h"}) for number in range(20))
            )
            assert {one["id"] for one in made} == {one["id"] async for one in admin.services.list(size=6)}
            service = await admin.of(Service).update("s3", {"port": 81})
            assert service.port == 81
            with pytest.raises(Conflict):
                await admin.services.create({"name": "s3", "host": "h"})
            await admin.services.delete("s3")
            assert await admin.services.find("s3") is None
            assert (await admin.status())["database"] == {"reachable": True}
            assert (await admin.node())["tagline"] == "Welcome to kong"

    asyncio.run(work())


def test_fields_of_a_refusal(gateway: Gateway) -> None:
    with admin_of(gateway) as admin, pytest.raises(Refused) as caught:
        admin.routes.create({"paths": ["relative"]})
    assert (caught.value.code, caught.value.name) == (2, "schema violation")
    assert "paths" in caught.value.fields
    with admin_of(gateway) as admin, pytest.raises(Refused) as caught:
        admin.configuration()
    assert "only available when Kong is configured to not use a database" in str(caught.value)


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with gateway_on("sqlite", admin_listen=f"unix:{path}") as gateway:
        with AdminClient(f"unix:{path}") as admin:
            admin.services.create({"name": "a", "host": "h"})
        assert "a" in printed(gateway, "get", "services")  # found by the settings
        assert "a" in printed(gateway, "get", "services", "--admin-url", f"unix:{path}")
    with AdminClient(f"unix:{path}") as admin, pytest.raises(Unreachable):
        admin.services.get("a")


def test_tokens_and_tls(tmp_path: Path) -> None:
    cert, key = self_signed("localhost")
    (tmp_path / "cert.pem").write_text(cert)
    (tmp_path / "key.pem").write_text(key)
    port = free_port()
    secure = {
        "admin_listen": f"127.0.0.1:{port} ssl",
        "admin_ssl_cert": tmp_path / "cert.pem",
        "admin_ssl_cert_key": tmp_path / "key.pem",
        "admin_token": f"me:{TOKEN}",
    }
    with gateway_on("sqlite", **secure) as gateway:
        printed(gateway, "create", "services", "name=a", "host=h")  # token and certificate of the settings
        other = {**gateway.environment}
        del other["GATEWAY_ADMIN_TOKEN"]
        result = subprocess.run(
            [sys.executable, "-m", "gateway", "get", "services"],
            env=other,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert "Set GATEWAY_ADMIN_TOKEN" in result.stderr
        address = f"https://localhost:{port}"
        with AdminClient(address, token=TOKEN) as admin, pytest.raises(Unreachable, match="certificate"):
            admin.node()
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with AdminClient(address, token=TOKEN, verify=context) as admin:
            assert admin.services.get("a")["host"] == "h"
        with AdminClient(address, token="wrong", verify=context) as admin, pytest.raises(NotAllowed):  # noqa: S106
            admin.services.get("a")
        ca = str(tmp_path / "cert.pem")
        assert "a" in printed(gateway, "get", "services", "--admin-url", address, "--admin-ca", ca)
        assert "certificate" in refused(gateway, "get", "services", "--admin-url", address)


def test_restarts_of_the_control_process_are_survived(gateway: Gateway) -> None:
    """Reads are tried again until there is somebody to answer."""
    import signal

    from gateway.client import Retries

    state = json.loads((gateway.prefix / "state.json").read_text())
    address = f"http://127.0.0.1:{gateway.admin_port}"
    with AdminClient(address, retries=Retries(most=12, first_pause=0.05)) as admin:
        admin.services.upsert("a", {"host": "h"})
        os.kill(state["control_pid"], signal.SIGKILL)
        assert admin.services.get("a")["host"] == "h"
