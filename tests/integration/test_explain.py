"""Explanations (`/explain`, `gateway explain`) against what the gateway then does with the very same request.

What it does is told by its answer: the header X-Sluicegate-Explain, which requests with the debug token get.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.explain import parse_request
from gateway.explain.text import lines_of
from tests.support.client import Client, Response
from tests.support.conformance import MATERIAL
from tests.support.gateway import Gateway
from tests.support.stores import run_here
from tests.support.upstreams import Upstream

TOKEN = "a-token-for-explanations"  # noqa: S105 - of a test
CASES = MATERIAL / "router-cases.json"
ROUTE_FIELDS = (
    *("hosts", "paths", "methods", "headers", "strip_path", "path_handling", "preserve_host", "protocols"),
    "regex_priority",
)
NOT_HTTP = {"tcp", "tls", "udp", "tls_passthrough"}
Headers = tuple[tuple[str, str], ...]


CHOSEN: dict[str, dict[str, Any]] = {
    "least": {"algorithm": "least-connections"},
    "fastest": {"algorithm": "latency"},
    "hashed": {"hash_on": "header", "hash_on_header": "X-User", "hash_fallback": "ip"},
    "unhashed": {"algorithm": "consistent-hashing"},
    "sticky": {"algorithm": "sticky-sessions", "sticky_sessions_cookie": "who"},
}
"""upstreams with two targets of weights 30 and 10"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(debug_token=TOKEN, trusted_ips="127.0.0.1", real_ip_header="X-Forwarded-For") as started:
        yield started


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as started:
        yield started


def explain(gateway: Gateway, method: str, url: str, headers: Headers = (), **more: Any) -> Any:
    """What the Admin API says about a request."""
    question = {"method": method, "url": url, "headers": [f"{n}: {v}" for n, v in headers], **more}
    status, _, body = gateway.call(
        gateway.admin_port,
        "POST",
        "/explain",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    assert status == 200, body
    return json.loads(body)


def send(gateway: Gateway, method: str, url: str, headers: Headers = ()) -> Response:
    """The same request, sent."""
    debug = (("X-Sluicegate-Debug", TOKEN), ("Connection", "close"))
    with Client(gateway.proxy_port) as client:
        client.send(parse_request(method, url, (*headers, *debug)).head())
        return client.response(method)


def told(response: Response) -> dict[str, str]:
    """The parts of the header that tells how a request was served."""
    text = response.get("x-sluicegate-explain")
    assert text is not None, response
    return dict(part.split("=", 1) for part in text.split("; "))


def compare(gateway: Gateway, method: str, url: str, headers: Headers = (), **more: Any) -> Any:
    """Explain and send a request; both must agree. Gives the explanation."""
    explained = explain(gateway, method, url, headers, others=0, **more)
    response = send(gateway, method, url, headers)
    served = told(response)
    route = explained["route"]
    assert served["route"] == (route["id"] if route else "none")
    service = explained["service"]
    assert served.get("service") == (service["id"] if service else None)
    expected = [
        f"{one['name']}:{one['scope'].replace(' and ', '+')}:{one['id']}"
        for one in explained["plugins"]
        if one["id"]
    ]
    ran = [one for one in served.get("plugins", "").split(",") if one]
    outcome = explained["outcome"]
    if served["answered"] == "upstream":
        assert outcome == {"answered_by": "upstream"}
        assert served["target"] in [peer["address"] for peer in explained["target"]["peers"]]
        assert ran == expected
    elif served["answered"] == "gateway":
        assert outcome["status"] == response.status
        if outcome.get("plugins_see") == "response":
            assert ran == [one for one in expected if one in ran]  # those that do something with responses
        else:
            assert ran == expected
    else:  # a plugin: those behind it see the response, as far as they do something with it
        ended = [one.split(":")[0] for one in expected].index(served["answered"]) + 1
        assert ran[:ended] == expected[:ended]
        assert ran[ended:] == [one for one in expected[ended:] if one in ran]
    return explained


# --- routes -------------------------------------------------------------------------------------------


def recorded_cases() -> list[dict[str, Any]]:
    """Kong's table of router cases, as far as it is about HTTP."""
    cases = json.loads(CASES.read_text())["router"] if CASES.exists() else []
    return [
        case
        for case in cases
        if case["request"].get("method")
        and not NOT_HTTP & {name for pair in case["routes"] for name in pair["route"].get("protocols") or ()}
    ]


def configuration_of(case: dict[str, Any], port: int) -> dict[str, Any] | None:
    """The routes of a case, each with a service and plugins; None where a route is one of streams."""
    services = []
    for number, pair in enumerate(case["routes"]):
        given = pair["route"]
        route = {name: given[name] for name in ROUTE_FIELDS if given.get(name)}
        if not set(route) & {"hosts", "paths", "methods", "headers"}:
            return None
        plugins = [{"name": "correlation-id", "config": {"header_name": f"X-{number}"}}] if number % 2 else []
        services.append(
            {
                "name": f"s{number}",
                "host": "127.0.0.1",
                "port": port,
                "path": (pair.get("service") or {}).get("path"),
                "routes": [{**route, "name": f"r{number}", "plugins": plugins}],
            }
        )
    plugins = [{"name": "prometheus"}, {"name": "correlation-id"}]
    return {"_format_version": "3.0", "services": services, "plugins": plugins}


def request_of(case: dict[str, Any]) -> tuple[str, str, Headers]:
    """The request of a case; a scheme is told by a trusted proxy."""
    given = case["request"]
    headers: list[tuple[str, str]] = [("Host", given["host"])] if given.get("host") else []
    if given.get("scheme") == "https":
        headers.append(("X-Forwarded-Proto", "https"))
    for name, value in (given.get("headers") or {}).items():
        if name.lower() != "connection" and not (name.lower() == "host" and given.get("host")):
            headers += [(name, one) for one in (value if isinstance(value, list) else [value])]
    return given["method"], given["uri"], tuple(headers)


@pytest.mark.skipif(not CASES.exists(), reason=f"no conformance material in {MATERIAL}")
def test_recorded_router_cases(gateway: Gateway, upstream: Upstream) -> None:
    """In one test: several hundred requests take a few seconds together."""
    compared = answered = 0
    configured = None
    for case in recorded_cases():
        configuration = configuration_of(case, upstream.port)
        if configuration is None:
            continue
        if configuration != configured:
            gateway.configure(configuration)
            configured = configuration
        upstream.heads.clear()
        explained = compare(gateway, *request_of(case))
        compared += 1
        if explained["outcome"]["answered_by"] == "upstream":
            target = upstream.heads[-1].split(b" ")[1].decode().partition("?")[0]
            assert explained["upstream_path"] == target
            answered += 1
    assert compared > 150
    assert answered > 100


def test_reasons_of_the_routes_that_are_not_taken(gateway: Gateway) -> None:
    routes = [
        {"name": "taken", "paths": ["/users"], "hosts": ["a.test"]},
        {"name": "shorter", "paths": ["/u"], "hosts": ["a.test"]},
        {"name": "fewer", "paths": ["/users"]},
        {"name": "method", "paths": ["/users"], "methods": ["POST"]},
        {"name": "header", "paths": ["/users"], "headers": {"X-Version": ["2", "3"], "X-There": ["yes"]}},
        {"name": "query", "paths": ["/users"], "query_params": {"version": ["2"]}},
        {"name": "regex", "paths": [r"~/users/\d+$"]},
        {"name": "elsewhere", "paths": ["/orders"], "hosts": ["*.other.test"]},
    ]
    services = [{"host": "upstream.test", "name": "s", "routes": routes}]
    services.append(
        {
            "host": "off.test",
            "name": "off",
            "enabled": False,
            "routes": [{"name": "off", "paths": ["/users"]}],
        }
    )
    gateway.configure({"_format_version": "3.0", "services": services})
    found = explain(gateway, "GET", "http://a.test/users/x?version=1", (("X-There", "yes"),), others=50)
    assert found["route"]["name"] == "taken"
    others = {route["name"]: route for route in found["other_routes"]}
    assert set(others) == {one["name"] for one in routes} - {"taken"} | {"off"}
    assert [route["name"] for route in found["other_routes"][:2]] == ["fewer", "shorter"]
    assert others["fewer"]["comes_after_because"] == "the route taken has more kinds of conditions"
    assert others["shorter"]["comes_after_because"] == "the route taken has a longer path"
    assert {
        name: route["failed"] for name, route in others.items() if "comes_after_because" not in route
    } == {
        "method": [{"condition": "methods", "wanted": ["POST"]}],
        "header": [{"condition": "headers", "name": "X-Version", "wanted": ["2", "3"]}],
        "query": [{"condition": "query_params", "name": "version", "wanted": ["2"]}],
        "regex": [{"condition": "paths", "wanted": [r"~/users/\d+$"]}],
        "elsewhere": [
            {"condition": "hosts", "wanted": ["*.other.test"]},
            {"condition": "paths", "wanted": ["/orders"]},
        ],
        "off": [{"condition": "its service is disabled"}],
    }


# --- answers of the gateway, plugins, targets ---------------------------------------------------------


@pytest.fixture
def configured(gateway: Gateway, upstream: Upstream) -> dict[str, Any]:
    """A bit of everything."""
    document: dict[str, Any] = {
        "_format_version": "3.0",
        "services": [
            {
                "name": "users",
                "url": f"http://127.0.0.1:{upstream.port}/base",
                "routes": [
                    {"name": "users", "paths": ["/users"]},
                    {"name": "shut", "paths": ["/shut"], "plugins": [{"name": "request-termination"}]},
                ],
                "plugins": [
                    {"name": "key-auth"},
                    {"name": "correlation-id", "config": {"header_name": "X-Service"}},
                ],
            },
            {
                "name": "plain",
                "url": f"http://127.0.0.1:{upstream.port}",
                "routes": [
                    {"name": "tls-only", "paths": ["/tls"], "protocols": ["https"]},
                    {"name": "grpc", "paths": ["/grpc"], "protocols": ["grpc"], "strip_path": False},
                ],
            },
            {
                "name": "encrypted",
                "url": "https://127.0.0.1:9",
                "routes": [{"name": "encrypted", "paths": ["/enc"]}],
            },
            {"name": "nobody", "host": "nobody", "routes": [{"name": "nobody", "paths": ["/nobody"]}]},
            {
                "name": "balanced",
                "host": "balanced",
                "routes": [{"name": "balanced", "paths": ["/balanced"]}],
            },
            *(
                {"name": name, "host": name, "routes": [{"name": name, "paths": [f"/{name}"]}]}
                for name in CHOSEN
            ),
        ],
        "routes": [{"name": "serviceless", "paths": ["/none"]}],
        "upstreams": [
            {"name": "nobody"},
            {
                "name": "balanced",
                "targets": [
                    {"target": f"127.0.0.1:{upstream.port}", "weight": 30},
                    {"target": f"localhost:{upstream.port}", "weight": 10},
                    {"target": "127.0.0.1:9", "weight": 0},
                ],
            },
            *(
                {
                    "name": name,
                    "targets": [
                        {"target": "10.0.0.1:1", "weight": 30},
                        {"target": "10.0.0.2:1", "weight": 10},
                    ],
                    **how,
                }
                for name, how in CHOSEN.items()
            ),
        ],
        "consumers": [
            {
                "username": "bob",
                "keyauth_credentials": [{"key": "bobs-key"}],
                "plugins": [{"name": "request-termination", "config": {"status_code": 418}}],
            },
            {"username": "eve", "keyauth_credentials": [{"key": "eves-key"}]},
        ],
        "plugins": [
            {"name": "correlation-id"},
            {"name": "prometheus"},
            {"name": "key-auth", "enabled": False},
        ],
    }
    gateway.configure(document)
    return document


@pytest.mark.parametrize(
    ("method", "url", "headers", "status"),
    [
        ("GET", "/nowhere", (), 404),
        ("GET", "/../x", (), 400),
        ("get", "/users", (), 400),
        ("TRACE", "/users", (), 405),
        ("GET", "/" + "x" * 9000, (), 414),
        ("GET", "/users", (("X", "y" * 40000),), 431),
        ("GET", "/tls", (), 426),
        ("GET", "/grpc", (), 415),
        ("GET", "/grpc", (("Content-Type", "application/grpc"),), 426),
        ("GET", "/none", (), 503),
        ("GET", "/enc", (), 503),
        ("GET", "/nobody", (), 503),
    ],
)
@pytest.mark.usefixtures("configured")
def test_answers_of_the_gateway(
    gateway: Gateway, method: str, url: str, headers: Headers, status: int
) -> None:
    explained = explain(gateway, method, url, headers)
    assert explained["outcome"]["answered_by"] == "gateway"
    assert explained["outcome"]["status"] == status
    if status in (414, 431) or method == "get":  # such a head is not read to its end: nobody sees the token
        assert send(gateway, method, url, headers).status == status
    else:
        compare(gateway, method, url, headers)


@pytest.mark.usefixtures("configured")
def test_a_trusted_proxy_says_who_the_client_is(gateway: Gateway) -> None:
    headers = (("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https"))
    assert compare(gateway, "GET", "/tls", headers)["request"]["client_ip"] == "203.0.113.7"
    untrusted = explain(gateway, "GET", "/tls", headers, client_ip="198.51.100.1")
    assert untrusted["request"]["client_ip"] == "198.51.100.1"
    assert untrusted["outcome"]["status"] == 426


@pytest.mark.usefixtures("configured")
def test_plugins_in_order_and_what_they_hide(gateway: Gateway) -> None:
    found = compare(gateway, "GET", "/users")
    assert [(one["name"], one["scope"]) for one in found["plugins"]] == [
        ("correlation-id", "service"),
        ("key-auth", "service"),
        ("prometheus", "global"),
        ("request-termination", None),
    ]
    assert [one["scope"] for one in found["plugins"][0]["hides"]] == ["global"]
    assert found["plugins"][1]["hides"] == []  # the global one is not enabled
    (bobs,) = found["plugins"][3]["for_consumers"]
    assert (bobs["consumer"]["name"], bobs["scope"]) == ("bob", "consumer")


@pytest.mark.parametrize(("name", "status"), [("bob", 418), ("eve", 200)])
@pytest.mark.usefixtures("configured")
def test_a_consumer_has_plugins_of_its_own(gateway: Gateway, name: str, status: int) -> None:
    key = (("apikey", f"{name}s-key"),)
    assert send(gateway, "GET", "/users", key).status == status
    for who in ({"consumer": name}, {"credential": f"{name}s-key"}):
        found = compare(gateway, "GET", "/users", key, **who)
        assert (found["consumer"]["name"], found["consumer"]["identified_by"]) == (name, "key-auth")
        ending = [one["scope"] for one in found["plugins"] if one["name"] == "request-termination"]
        assert ending == (["consumer"] if name == "bob" else [])
    assert explain(gateway, "GET", "/balanced", consumer=name)["consumer"]["identified_by"] is None


@pytest.mark.usefixtures("configured")
def test_a_plugin_that_answers_is_told(gateway: Gateway) -> None:
    served = told(send(gateway, "GET", "/shut", (("apikey", "eves-key"),)))
    assert served["answered"] == "request-termination"
    assert "target" not in served
    assert told(send(gateway, "GET", "/shut"))["answered"] == "key-auth"


@pytest.mark.usefixtures("configured")
def test_targets_with_their_shares(gateway: Gateway, upstream: Upstream) -> None:
    found = compare(gateway, "GET", "/balanced")["target"]
    assert (found["kind"], found["name"], found["state"], found["picked"]) == (
        "upstream",
        "balanced",
        "ready",
        None,
    )
    assert {peer["target"]: (peer["weight"], peer["share"]) for peer in found["peers"]} == {
        f"127.0.0.1:{upstream.port}": (30, 0.75),
        f"localhost:{upstream.port}": (10, 0.25),
    }
    assert found["left_out"] == [{"target": "127.0.0.1:9", "address": None, "reason": "its weight is 0"}]
    found = compare(gateway, "GET", "/users", (("apikey", "eves-key"),), consumer="eve")
    assert found["target"]["picked"] == f"127.0.0.1:{upstream.port}"


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("name", "algorithm", "words", "of"),
    [
        ("least", "least-connections", "; the fewest requests under way by weight", None),
        ("fastest", "latency", "; the one that is likely to answer first", None),
        ("hashed", "consistent-hashing", "; by a hash of header X-User, else ip", "hash values"),
        ("unhashed", "round-robin", "", "requests"),
        ("sticky", "sticky-sessions", "; by the client's cookie", "new clients"),
    ],
)
def test_how_a_target_is_chosen(
    gateway: Gateway, name: str, algorithm: str, words: str, of: str | None
) -> None:
    found = explain(gateway, "GET", f"/{name}", others=0)
    target = found["target"]
    assert (target["algorithm"], target["share_of"]) == (algorithm, of)
    first, *peers = [line for line in lines_of(found) if "upstream" in line or "10.0.0." in line][-3:]
    assert first.endswith(f"upstream {name}: ready{words}")
    shares = [peer["share"] for peer in target["peers"]]
    if of is None:
        assert shares == [None, None]
        assert not any("%" in peer for peer in peers)
    else:
        assert shares == pytest.approx([0.75, 0.25], abs=0.02)
        assert all(peer.endswith(f"% of {of}") for peer in peers)


# --- the questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "url is required"),
        ({"url": "ftp://a/"}, "the URL must begin with http://, https:// or /"),
        ({"url": "/", "method": "G T"}, "'G T' is no method"),
        ({"url": "/", "headers": ["x"]}, "'x' is no header: it must be written as 'Name: value'"),
        ({"url": "/", "headers": {"A": 1}}, "the value of the header A must be a text"),
        ({"url": "/", "headers": {"A": "x\r\nB: y"}}, "the value of the header A cannot be sent"),
        ({"url": "/", "headers": 5}, "headers must be a list of texts 'Name: value', or an object"),
        ({"url": "/", "client_ip": "x"}, "'x' is no IP address"),
        ({"url": "/", "others": 51}, "others must be a number between 0 and 50"),
        ({"url": "/", "others": True}, "others must be a number between 0 and 50"),
        ({"url": ["/"]}, "url must be a text"),
        ({"url": "/", "consumer": "nobody"}, "there is no such consumer"),
        ({"url": "/", "credential": "no-key"}, "there is no credential with that key"),
    ],
)
def test_bad_questions(gateway: Gateway, question: dict[str, Any], message: str) -> None:
    body = json.dumps(question).encode()
    status, _, answer = gateway.call(
        gateway.admin_port, "POST", "/explain", body, {"Content-Type": "application/json"}
    )
    assert (status, json.loads(answer)) == (400, {"message": message})


@pytest.mark.usefixtures("configured")
def test_questions_in_other_forms(gateway: Gateway) -> None:
    expected = explain(gateway, "GET", "http://a.test/users", (("X-A", "1"), ("X-B", "2")))
    status, _, body = gateway.call(
        gateway.admin_port, "GET", "/explain?url=http://a.test/users&headers=X-A:1&headers=X-B:2"
    )
    assert (status, json.loads(body)) == (200, expected)
    form = b"url=http%3A%2F%2Fa.test%2Fusers&headers[]=X-A:1&headers[]=X-B:2"
    status, _, body = gateway.call(
        gateway.admin_port, "POST", "/explain", form, {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert (status, json.loads(body)) == (200, expected)


@pytest.mark.usefixtures("configured")
def test_command(gateway: Gateway) -> None:
    ran = run_here(gateway, "explain", "GET", "/users", "-H", "X-A: 1", "--credential", "bobs-key")
    assert ran.exit_code == 0, ran.output
    assert "answer      of the upstream, unless a plugin answers before" in ran.output
    assert "request-termination: consumer " in ran.output
    assert "bobs-key" not in ran.output
    ran = run_here(gateway, "explain", "POST", "http://a.test/nowhere", "--json", "--others", "1")
    found = json.loads(ran.output)
    assert (found["outcome"]["status"], len(found["other_routes"])) == (404, 1)
    ran = run_here(gateway, "explain", "GET", "nonsense")
    assert ran.exit_code == 1
    assert "the URL must begin with" in ran.output


# --- the debug token ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("configured")
def test_only_the_token_opens_and_the_upstream_never_sees_it(gateway: Gateway, upstream: Upstream) -> None:
    key = ("apikey", "eves-key")
    for given in ((), (("X-Sluicegate-Debug", "wrong"),), (("X-Sluicegate-Debug", TOKEN + "x"),)):
        with Client(gateway.proxy_port) as client:
            client.send(parse_request("GET", "http://a.test/users", (*given, key)).head())
            assert client.response().get("x-sluicegate-explain") is None
    upstream.heads.clear()
    assert told(send(gateway, "GET", "/users", (key,)))["tries"] == "1"
    assert b"sluicegate" not in upstream.heads[-1].lower()


def test_without_a_token_in_the_settings_nobody_is_told(shared_gateway: Gateway) -> None:
    for token in ("", TOKEN):
        with Client(shared_gateway.proxy_port) as client:
            client.send(parse_request("GET", "http://a.test/", (("X-Sluicegate-Debug", token),)).head())
            assert client.response().get("x-sluicegate-explain") is None


@pytest.mark.usefixtures("configured")
def test_a_reload_changes_the_token(gateway: Gateway) -> None:
    headers = (("X-Sluicegate-Debug", TOKEN), ("Connection", "close"))

    def is_told() -> bool:
        with Client(gateway.proxy_port) as client:
            client.send(parse_request("GET", "http://a.test/nowhere", headers).head())
            return client.response().get("x-sluicegate-explain") is not None

    assert is_told()
    before = gateway.worker_pids()
    gateway.settings["debug_token"] = ""
    try:
        assert run_here(gateway, "reload").exit_code == 0
        assert not is_told()
    finally:
        gateway.settings["debug_token"] = TOKEN
        assert run_here(gateway, "reload").exit_code == 0
    assert is_told()
    assert gateway.worker_pids() == before


def test_many_plugins_do_not_make_an_endless_header(gateway: Gateway, upstream: Upstream) -> None:
    plugins = [
        {
            "name": "rate-limiting",
            "instance_name": f"limit-{number}",
            "config": {"minute": 1000 + number, "policy": "local", "stacked": True},
        }
        for number in range(60)
    ]
    service = {
        "name": "s",
        "url": f"http://127.0.0.1:{upstream.port}",
        "routes": [{"paths": ["/"]}],
        "plugins": plugins,
    }
    gateway.configure({"_format_version": "3.0", "services": [service]})
    response = send(gateway, "GET", "/")
    assert response.status == 200
    text = response.get("x-sluicegate-explain")
    assert text is not None
    assert len(text) < 4096
    assert told(response)["plugins"].endswith("...")
    assert told(response)["answered"] == "upstream"
