"""The command lines of ../shared/walkthroughs.md, sent as they are written; the very next request shows them.

Ports are those of the gateway under test, and what stands in <…> or ends in … is filled in; nothing else is
changed.
"""

from __future__ import annotations

import http.client
import http.server
import ipaddress
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import prometheus_text
from tests.support.certificates import self_signed
from tests.support.curl_lines import Answer, CurlLine
from tests.support.gateway import Gateway, free_port, wait_for
from tests.support.stores import WRITABLE_STORES, gateway_on
from tests.support.valkey import Valkey

WALKTHROUGHS = Path(__file__).parents[3] / "shared" / "walkthroughs.md"
PROXY_PORT = 8000  # as the lines have it
KEY = "YOUR_SUPER_SECRET_KEY"
FOUND = 503  # of the service behind TLS, whose plugins have let a request pass
BACKENDS = ("user-service", "user-service-1", "user-service-2")
BACKEND_PORT = 8080  # of every backend in the lines, each on a loopback address of its own

pytestmark = pytest.mark.skipif(not WALKTHROUGHS.exists(), reason=f"{WALKTHROUGHS} is not here")


class NamedBackend(http.server.BaseHTTPRequestHandler):
    """Answers with its name and with what it was asked."""

    name = ""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps([self.name, f"{self.command} {self.path}", headers]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
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
    """One that takes writes, and believes what clients say about their addresses."""
    trust = {"trusted_ips": "127.0.0.1", "real_ip_header": "X-Forwarded-For"}
    with gateway_on(request.param, dns_hostsfile=hosts_file, **trust) as running:
        yield running


def section(letter: str) -> list[CurlLine]:
    """The lines of one of the walk-throughs."""
    text = WALKTHROUGHS.read_text()
    found = re.search(rf"^## {letter}\. .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return [CurlLine.parse(line) for line in found[0].splitlines() if line.startswith("curl ")]


LATER = ("http-log",)
"""Plugins that come with later issues."""


def needs_later_plugin(line: CurlLine) -> bool:
    return any(f"name={plugin}" in line.data for plugin in LATER)


@dataclass(frozen=True)
class Seen:
    """An answer through the proxy port, and what the backend saw of the request, if it did."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def backend(self) -> str:
        return str(json.loads(self.body)[0])

    @property
    def asked(self) -> str:
        return str(json.loads(self.body)[1])

    @property
    def fields(self) -> dict[str, str]:
        """The header fields that came to the backend, by their names in lower case."""
        return dict(json.loads(self.body)[2])


class Walk:
    """Sends lines in their order, and requests in between."""

    def __init__(self, gateway: Gateway, lines: Sequence[CurlLine] = ()) -> None:
        self.gateway = gateway
        self.lines = [line for line in lines if not needs_later_plugin(line)]
        self.token = ""

    def next(self, *fragments: str) -> Any:
        """Send the next line, which has these parts and must be accepted; returns what came back."""
        line = self.lines.pop(0)
        assert all(fragment in line.text for fragment in fragments), (line.text, fragments)
        answer = line.send(self.gateway.admin_port)
        assert answer.status == (200 if line.method == "PATCH" else 201), (line.text, answer.body)
        return answer.json

    def next_through_the_proxy(self, *fragments: str) -> Answer:
        """Send the next line, which goes to the proxy port."""
        line = self.lines.pop(0)
        assert line.port == PROXY_PORT
        assert all(fragment in line.text for fragment in fragments), (line.text, fragments)
        return line.send(self.gateway.proxy_port)

    def admin(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> Any:
        """What the text takes for granted."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.gateway.admin_port}") as client:
            answer = client.request(method, path, json=values)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def ask(self, path: str, method: str = "GET", **headers: str) -> Seen:
        """A request through the proxy port; in names of headers "_" stands for "-"."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token and "Authorization" not in fields:
            fields["Authorization"] = f"Bearer {self.token}"
        return Seen(*self.gateway.request(path, method, headers=fields))


def signed(secret: str, expires_in: float = 3600) -> str:
    """The token of the text."""
    return jwt.encode({"iss": "api-client", "exp": int(time.time() + expires_in)}, secret, "HS256")


def one_service_step_by_step(walk: Walk) -> None:
    """Section A."""
    created = walk.next("name=user-service")
    assert (created["name"], created["protocol"], created["host"]) == ("user-service", "http", "user-service")
    assert (created["port"], created["path"]) == (8080, None)
    assert walk.ask("/api/users").status == 404
    walk.next("/services/user-service/routes")
    assert walk.ask("/api/users").asked == "GET /"
    assert walk.ask("/api/users/7", "POST").asked == "POST /7"
    assert walk.ask("/api/users", "DELETE").status == 404
    limits_by_caller(walk)
    tokens(walk)
    stored_responses(walk)
    walk.next("name=user-service-upstream")
    walk.next("target=user-service-1:8080")
    walk.next("target=user-service-2:8080")
    assert walk.next("host=user-service-upstream")["host"] == "user-service-upstream"
    seen = Counter(walk.ask(f"/api/users/spread/{number}").backend for number in range(20))
    assert seen == {"user-service-1": 10, "user-service-2": 10}
    headers_for_the_backend(walk)
    metrics(walk)


def limits_by_caller(walk: Walk) -> None:
    walk.next("name=rate-limiting", "config.minute=100", "config.hour=1000")
    first = walk.ask("/api/users")
    assert (first.status, first.headers["X-RateLimit-Limit-Minute"]) == (200, "100")
    assert first.headers["X-RateLimit-Limit-Hour"] == "1000"
    # More than twice as many: a new minute may begin meanwhile.
    statuses = [first.status]
    while statuses[-1] == 200 and len(statuses) < 210:
        statuses.append(walk.ask("/api/users").status)
    assert statuses[-1] == 429
    assert len(statuses) > 100

    walk.next("username=mobile-app")
    walk.next("key=mobile-app-key-123")
    walk.next("name=rate-limiting", "consumer.username=mobile-app")
    walk.admin("POST", "/consumers", {"username": "nobody"})
    plugin = walk.admin(
        "POST", "/services/user-service/plugins", {"name": "key-auth", "config": {"anonymous": "nobody"}}
    )
    anonymous, known = walk.ask("/api/users"), walk.ask("/api/users", apikey="mobile-app-key-123")
    assert (anonymous.status, anonymous.headers["X-RateLimit-Limit-Minute"]) == (200, "100")
    assert (known.status, known.headers["X-RateLimit-Limit-Minute"]) == (200, "1000")
    assert (known.headers["X-RateLimit-Limit-Hour"], known.fields["x-consumer-username"]) == (
        "10000",
        "mobile-app",
    )
    walk.admin("DELETE", f"/plugins/{plugin['id']}")


def tokens(walk: Walk) -> None:
    plugin = walk.next("name=jwt")
    assert walk.ask("/api/users").status == 401
    walk.next("username=api-client")
    assert walk.next("secret=my-secret-key")["secret"] == "my-secret-key"  # noqa: S105
    walk.token = signed("my-secret-key")
    passed = walk.ask("/api/users")
    assert (passed.status, passed.fields["x-consumer-username"]) == (200, "api-client")
    assert walk.ask("/api/users", Authorization=f"Bearer {signed('another')}").status == 401
    expired = f"Bearer {signed('my-secret-key', -60)}"
    assert walk.ask("/api/users", Authorization=expired).status == 200
    walk.admin("PATCH", f"/plugins/{plugin['id']}", {"config": {"claims_to_verify": ["exp"]}})
    assert walk.ask("/api/users", Authorization=expired).status == 401
    assert walk.ask("/api/users").status == 200


def stored_responses(walk: Walk) -> None:
    created = walk.next("name=proxy-cache", "config.strategy=memory")["config"]
    assert (created["response_code"], created["request_method"]) == ([200], ["GET"])
    assert (created["content_type"], created["cache_ttl"]) == (["application/json"], 300)
    assert [walk.ask("/api/users/stored").headers["X-Cache-Status"] for _ in range(2)] == ["Miss", "Hit"]
    assert walk.ask("/api/users/stored", "POST").headers["X-Cache-Status"] == "Bypass"

    shared = walk.next("name=proxy-cache", "config.strategy=redis", "config.redis.host=redis")
    assert (shared["config"]["redis"]["host"], shared["config"]["redis"]["port"]) == ("redis", 6379)
    walk.admin("POST", "/services", {"name": "another", "url": "http://user-service:8080"})
    walk.admin("POST", "/services/another/routes", {"paths": ["/another"]})
    # No server has that name here: requests are served all the same.
    assert walk.ask("/another").headers["X-Cache-Status"] == "Bypass"
    with Valkey() as valkey:
        redis = {"host": "127.0.0.1", "port": valkey.port}
        change = {"config": {"redis": redis, "content_type": ["application/json"]}}
        walk.admin("PATCH", f"/plugins/{shared['id']}", change)
        wait_for(lambda: walk.ask("/another").headers["X-Cache-Status"] == "Hit")
    walk.admin("DELETE", f"/plugins/{shared['id']}")


def headers_for_the_backend(walk: Walk) -> None:
    added = walk.next("name=request-transformer", "X-Gateway:Kong")["config"]["add"]["headers"]
    assert added[0] == "X-Gateway:Kong"
    fields = walk.ask("/api/users/transformed", X_Internal_Header="secret").fields
    assert fields["x-gateway"] == "Kong"
    assert f"X-Request-ID:{fields['x-request-id']}" == added[1]
    assert "x-internal-header" not in fields


def metrics(walk: Walk) -> None:
    """What the queries of the text ask for is there, and counts."""
    walk.next("name=prometheus")

    def scraped() -> tuple[float, ...]:
        families = prometheus_text.parse(walk.gateway.call(walk.gateway.admin_port, "GET", "/metrics")[2])
        own = {"service": "user-service"}
        return (
            families["kong_http_status"].value("kong_http_status", code="200", **own),
            families["kong_latency"].value("kong_latency_bucket", type="request", le="+Inf", **own),
            families["kong_bandwidth"].value("kong_bandwidth", type="egress", **own),
        )

    walk.ask("/api/users")
    before = scraped()
    walk.ask("/api/users")
    wait_for(lambda: all(new > old for new, old in zip(scraped(), before, strict=True)))


def securing_many_services(walk: Walk, public_key: str) -> None:
    """Section B."""
    walk.admin("POST", "/services", {"name": "my-backend-service", "url": "http://user-service:8080"})
    walk.admin("POST", "/services/my-backend-service/routes", {"name": "backend", "paths": ["/backend"]})
    secure = {"name": "your-secure-route", "paths": ["/secure"]}
    walk.admin("POST", "/services/my-backend-service/routes", secure)
    walk.admin("POST", "/routes/your-secure-route/plugins", {"name": "key-auth"})

    created = walk.next("mockbin-service")
    shown = (created["protocol"], created["host"], created["port"], created["path"])
    assert shown == ("https", "mockbin.org", 443, None)
    assert walk.next("/services/mockbin-service/routes")["strip_path"] is True
    # The route is found. TLS towards upstreams waits for its issue: nothing is sent in clear text.
    assert walk.next_through_the_proxy("/mockbin/headers").status == FOUND
    walk.next("username=my_app_consumer")
    walk.next("key=YOUR_SUPER_SECRET_KEY")
    walk.next("/services/mockbin-service/plugins", "name=key-auth")
    assert walk.ask("/mockbin/headers").status == 401
    assert walk.ask("/mockbin/headers", apikey=KEY).status == FOUND
    assert walk.next("secret=YOUR_JWT_SHARED_SECRET")["algorithm"] == "HS256"
    asymmetric = walk.next("key=your-key-id")
    assert "".join(asymmetric["rsa_public_key"].split()) == "".join(public_key.split())
    groups(walk)
    limits_and_addresses(walk)
    other_origins(walk)


def groups(walk: Walk) -> None:
    walk.next("group=admin")
    walk.admin("POST", "/consumers", {"username": "guest"})
    walk.admin("POST", "/consumers/guest/key-auth", {"key": "guest-key"})
    assert walk.ask("/secure", apikey="guest-key").status == 200
    walk.next("/routes/your-secure-route/plugins", "name=acl")
    assert walk.ask("/secure").status == 401
    assert walk.ask("/secure", apikey="guest-key").status == 403
    admitted = walk.ask("/secure", apikey=KEY)
    assert (admitted.status, admitted.fields["x-consumer-groups"]) == (200, "admin")


def limits_and_addresses(walk: Walk) -> None:
    walk.next("name=rate-limiting", "config.minute=5", "config.limit_by=ip")
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < 12:
        statuses.append(walk.ask("/mockbin/headers", apikey=KEY).status)
    assert statuses[-1] == 429
    assert len(statuses) > 5
    assert walk.ask("/mockbin/headers", apikey=KEY, X_Forwarded_For="10.0.0.1").status == FOUND

    restricted = walk.next("name=ip-restriction", "config.whitelist=192.168.1.0/24, 10.0.0.1")
    assert restricted["config"]["allow"] == ["192.168.1.0/24", "10.0.0.1"]
    refused = walk.ask("/mockbin/headers", apikey=KEY)
    assert (refused.status, b"IP address not allowed: 127.0.0.1" in refused.body) == (403, True)
    for address in ("10.0.0.1", "192.168.1.77"):
        assert walk.ask("/mockbin/headers", apikey=KEY, X_Forwarded_For=address).status == FOUND


def other_origins(walk: Walk) -> None:
    walk.next("name=cors", "config.origins=http://localhost:3000")
    asked = {"Origin": "http://localhost:3000", "Access_Control_Request_Method": "POST"}
    preflight = walk.ask("/mockbin/headers", "OPTIONS", **asked)
    assert preflight.status == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET,POST,OPTIONS"
    assert preflight.headers["Access-Control-Allow-Headers"] == "Content-Type,Authorization"
    # Answers of the gateway itself can be read, too.
    refused = walk.ask("/mockbin/headers", Origin="http://localhost:3000")
    assert refused.status == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


def balancing_many_services(walk: Walk, certificate: str) -> None:
    """The rest of section B."""
    assert walk.next("name=api.yourdomain.com")["certificate"] == {"id": certificate}
    assert walk.next("/upstreams")["name"] == "my-backend-upstream"
    target = walk.next("target=192.168.1.100:8080")
    assert (target["target"], target["weight"]) == ("192.168.1.100:8080", 100)
    assert walk.next("/services/my-backend-service")["host"] == "my-backend-upstream"
    # Where requests would go now is an address of somebody's network: it is not asked.
    health = walk.admin("GET", "/upstreams/my-backend-upstream/health")
    assert [one["target"] for one in health["data"]] == ["192.168.1.100:8080"]
    failures_in_a_row(walk)
    walk.next("name=request-transformer", "X-Internal-Client:KongGateway")
    walk.admin("PATCH", "/services/my-backend-service", {"host": "user-service", "port": 8080})
    assert walk.ask("/backend").fields["x-internal-client"] == "KongGateway"
    cached = walk.next("name=response-caching", "config.cache_ttl=60", "config.strategy=memory")
    assert (cached["name"], cached["config"]["cache_ttl"]) == ("response-caching", 60)
    seen = [walk.ask("/backend/stored") for _ in range(2)]
    assert [one.headers["X-Cache-Status"] for one in seen] == ["Miss", "Hit"]
    assert seen[0].body == seen[1].body


def failures_in_a_row(walk: Walk) -> None:
    breaker = walk.next("name=proxy-circuit-breaker", "config.http_failures=5", "config.timeout=10")
    assert (breaker["config"]["http_failures"], breaker["config"]["timeout"]) == (5, 10)
    nobody = {"host": "127.0.0.1", "port": free_port()}
    walk.admin("PATCH", "/services/my-backend-service", nobody)
    assert [walk.ask("/backend").status for _ in range(5)] == [502] * 5
    refused = walk.ask("/backend")
    assert (refused.status, b"Circuit breaker is open" in refused.body) == (503, True)
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    [circuit] = walk.admin("GET", "/circuit-breakers")["data"]
    assert (circuit["state"], circuit["service"]["name"]) == ("open", "my-backend-service")
    walk.admin("DELETE", f"/circuit-breakers/{circuit['id']}")


@pytest.mark.filterwarnings("ignore:The HMAC key is")  # the text has short ones
def test_every_line_has_its_effect(gateway: Gateway) -> None:
    """The lines in their order. Those of plugins that come with later issues are left out, see LATER."""
    walk = Walk(gateway, section("A"))
    one_service_step_by_step(walk)
    assert not walk.lines

    cert, key = self_signed("api.yourdomain.com")
    certificate = walk.admin("POST", "/certificates", {"cert": cert, "key": key})["id"]
    public_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    walk = Walk(gateway, [completed(line, certificate, pem) for line in section("B")])
    securing_many_services(walk, pem)
    balancing_many_services(walk, certificate)
    assert not walk.lines


def test_the_same_with_json_bodies(gateway: Gateway) -> None:
    walk = Walk(gateway)
    walk.admin("POST", "/services", {"name": "user-service", "url": "http://user-service:8080"})
    route = {"paths": ["/api/users"], "methods": ["GET", "POST"]}
    walk.admin("POST", "/services/user-service/routes", route)
    assert walk.ask("/api/users", "POST").asked == "POST /"
    assert walk.ask("/api/users", "DELETE").status == 404


def completed(line: CurlLine, certificate: str, public_key: str) -> CurlLine:
    """The line with its placeholders filled in."""
    line.data = [
        one.replace("<certificate_id>", certificate).replace("-----BEGIN PUBLIC KEY-----…", public_key)
        for one in line.data
    ]
    return line
