"""The command lines of ../shared/walkthroughs.md, sent as they are written; the very next request shows them.

Ports are those of the gateway under test, and what stands in <…> or ends in … is filled in; nothing else is
changed. Lines that configure plugins wait for the plugins.
"""

from __future__ import annotations

import http.server
import ipaddress
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.certificates import self_signed
from tests.support.curl_lines import Answer, CurlLine
from tests.support.gateway import Gateway
from tests.support.stores import WRITABLE_STORES, gateway_on

WALKTHROUGHS = Path(__file__).parents[3] / "shared" / "walkthroughs.md"
PROXY_PORT, ADMIN_PORT = 8000, 8001  # as the lines have them
BACKENDS = ("user-service", "user-service-1", "user-service-2")
BACKEND_PORT = 8080  # of every backend in the lines, each on a loopback address of its own

pytestmark = pytest.mark.skipif(not WALKTHROUGHS.exists(), reason=f"{WALKTHROUGHS} is not here")


class NamedBackend(http.server.BaseHTTPRequestHandler):
    """Answers with its name and with what it was asked."""

    name = ""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"{self.name} {self.command} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(name: str, stack: ExitStack) -> str:
    """Start a backend on port 8080 of some loopback address; returns the address."""
    handler = type("Handler", (NamedBackend,), {"name": name})
    for _ in range(100):
        address = str(ipaddress.IPv4Address(random.randrange(0x7F100000, 0x7FFF0000) | 1))
        try:
            server = http.server.ThreadingHTTPServer((address, BACKEND_PORT), handler)
        except OSError:  # somebody else's test has it
            continue
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        return address
    raise AssertionError("no loopback address is free")


@pytest.fixture(scope="module")
def hosts_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The backends of the lines, each under its name."""
    with ExitStack() as stack:
        path = tmp_path_factory.mktemp("walkthroughs") / "hosts"
        path.write_text("".join(f"{serve(name, stack)} {name}\n" for name in BACKENDS))
        yield path


@pytest.fixture(params=WRITABLE_STORES)
def gateway(request: pytest.FixtureRequest, hosts_file: Path) -> Iterator[Gateway]:
    """One that takes writes."""
    with gateway_on(request.param, dns_hostsfile=hosts_file) as running:
        yield running


def section(letter: str) -> list[CurlLine]:
    """The lines of one of the walk-throughs."""
    text = WALKTHROUGHS.read_text()
    found = re.search(rf"^## {letter}\. .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return [CurlLine.parse(line) for line in found[0].splitlines() if line.startswith("curl ")]


def needs_plugin(line: CurlLine) -> bool:
    return line.path.endswith("/plugins")


class Walk:
    """Sends lines and keeps what came back."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.answers: dict[str, Answer] = {}

    def send(self, line: CurlLine) -> Answer:
        ports = {PROXY_PORT: self.gateway.proxy_port, ADMIN_PORT: self.gateway.admin_port}
        answer = line.send(ports[line.port])
        self.answers[line.text] = answer
        return answer

    def send_admin(self, line: CurlLine) -> Answer:
        """A line that must be accepted."""
        answer = self.send(line)
        assert answer.status == (200 if line.method == "PATCH" else 201), (line.text, answer.body)
        return answer

    def proxied(self, path: str, method: str = "GET") -> tuple[int, str]:
        status, _, body = self.gateway.request(path, method)
        return status, body.decode()


def test_one_service_step_by_step(gateway: Gateway) -> None:
    walk = Walk(gateway)
    lines = [line for line in section("A") if not needs_plugin(line)]
    service, route, *rest = lines
    created = walk.send_admin(service).json
    assert (created["name"], created["protocol"], created["host"]) == ("user-service", "http", "user-service")
    assert (created["port"], created["path"]) == (8080, None)
    assert walk.proxied("/api/users")[0] == 404

    walk.send_admin(route)
    assert walk.proxied("/api/users") == (200, "user-service GET /")
    assert walk.proxied("/api/users/7", "POST") == (200, "user-service POST /7")
    assert walk.proxied("/api/users", "DELETE")[0] == 404

    for line in rest:
        answer = walk.send_admin(line).json
        match line.path.strip("/").split("/"):
            case ["consumers"]:
                assert f"username={answer['username']}" in line.data
            case ["consumers", consumer, "key-auth" | "jwt" as kind]:
                owner = walk.gateway.call(gateway.admin_port, "GET", f"/consumers/{consumer}")
                assert answer["consumer"]["id"] in owner[2].decode()
                expected = {"key-auth": ("key", "mobile-app-key-123"), "jwt": ("secret", "my-secret-key")}
                name, value = expected[kind]
                assert answer[name] == value
            case ["services", "user-service"]:
                assert answer["host"] == "user-service-upstream"
            case ["upstreams", *_]:
                pass  # seen below, once the service points there
            case other:
                pytest.fail(f"a line that this test does not know: {other}")

    seen = Counter(walk.proxied("/api/users")[1].split()[0] for _ in range(20))
    assert seen == {"user-service-1": 10, "user-service-2": 10}


def test_the_same_with_json_bodies(gateway: Gateway) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.admin_port}") as client:
        service = client.post("/services", json={"name": "user-service", "url": "http://user-service:8080"})
        assert service.status_code == 201
        route = client.post(
            "/services/user-service/routes", json={"paths": ["/api/users"], "methods": ["GET", "POST"]}
        )
        assert route.status_code == 201
    walk = Walk(gateway)
    assert walk.proxied("/api/users", "POST") == (200, "user-service POST /")
    assert walk.proxied("/api/users", "DELETE")[0] == 404


def completed(line: CurlLine, certificate: str, public_key: str) -> CurlLine:
    """The line with its placeholders filled in."""
    line.data = [
        one.replace("<certificate_id>", certificate).replace("-----BEGIN PUBLIC KEY-----…", public_key)
        for one in line.data
    ]
    return line


def test_securing_and_running_many_services(gateway: Gateway) -> None:
    walk = Walk(gateway)
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.admin_port}") as client:
        cert, key = self_signed("api.yourdomain.com")
        certificate = client.post("/certificates", json={"cert": cert, "key": key}).json()["id"]
        # The text takes this one for granted.
        client.post("/services", json={"name": "my-backend-service", "url": "http://user-service:8080"})
        client.post("/services/my-backend-service/routes", json={"name": "backend", "paths": ["/backend"]})
    assert walk.proxied("/backend") == (200, "user-service GET /")

    public_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for line in section("B"):
        if needs_plugin(line):
            continue
        completed(line, certificate, pem)
        if line.port == PROXY_PORT:
            # The route is found. TLS towards upstreams waits for its issue: nothing is sent in clear text.
            assert walk.send(line).status == 503, line.text
            continue
        answer = walk.send_admin(line).json
        match line.path.strip("/").split("/"):
            case ["services"]:
                shown = (answer["protocol"], answer["host"], answer["port"], answer["path"])
                assert shown == ("https", "mockbin.org", 443, None)
            case ["services", "mockbin-service", "routes"]:
                assert (answer["paths"], answer["strip_path"]) == (["/mockbin"], True)
            case ["consumers"]:
                assert answer["username"] == "my_app_consumer"
            case ["consumers", "my_app_consumer", "key-auth"]:
                assert answer["key"] == "YOUR_SUPER_SECRET_KEY"
            case ["consumers", "my_app_consumer", "jwt"]:
                if answer["algorithm"] == "RS256":
                    assert answer["key"] == "your-key-id"
                    assert "".join(answer["rsa_public_key"].split()) == "".join(pem.split())
                else:
                    assert answer["secret"] == "YOUR_JWT_SHARED_SECRET"  # noqa: S105
            case ["consumers", "my_app_consumer", "acls"]:
                assert answer["group"] == "admin"
            case ["snis"]:
                assert answer["certificate"] == {"id": certificate}
            case ["upstreams"]:
                assert answer["name"] == "my-backend-upstream"
            case ["upstreams", "my-backend-upstream", "targets"]:
                assert (answer["target"], answer["weight"]) == ("192.168.1.100:8080", 100)
            case ["services", "my-backend-service"]:
                # Where requests would go now is an address of somebody's network: it is not asked.
                assert answer["host"] == "my-backend-upstream"
                status, _, body = gateway.call(
                    gateway.admin_port, "GET", "/upstreams/my-backend-upstream/health"
                )
                assert status == 200
                assert b"192.168.1.100:8080" in body
            case other:
                pytest.fail(f"a line that this test does not know: {other}")
