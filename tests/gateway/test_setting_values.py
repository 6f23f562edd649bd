"""Settings: the forms of values, and what is wrong with those that have another one."""

import hashlib
import ipaddress
import resource
from pathlib import Path

import pytest

from gateway.settings import Listener
from gateway.settings import sources as sources_module
from gateway.settings.values import connections_possible, duration, size, usable_processors
from tests.support.settings import load, problems


@pytest.fixture(autouse=True)
def _no_conf_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "CONF_LOCATIONS", ())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        ("60s", 60.0),
        ("500ms", 0.5),
        ("1m", 60.0),
        ("1m30s", 90.0),
        ("1.5s", 1.5),
        ("1d", 86400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration().parse(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1x", "1m30", "1 s", "1e3", "nan", "inf", "²"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        duration().parse(text)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("8k", 8192), ("8M", 8 << 20), ("1g", 1 << 30), ("17", 17)]
)
def test_sizes(text: str, number: int) -> None:
    assert size().parse(text) == number


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5m", "8mb", "1t", "9" * 30, "٣"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        size().parse(text)


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        ("off", ()),
        ("127.0.0.1:80", (Listener("127.0.0.1", 80),)),
        ("localhost:80 bind", (Listener("127.0.0.1", 80),)),
        ("[::1]:80 ipv6only=off", (Listener("::1", 80, ipv6only=False),)),
        ("[0:0::1]:80", (Listener("::1", 80),)),
        (
            "0.0.0.0:80 reuseport deferred backlog=7 so_keepalive=on, 127.0.0.1:81",
            (
                Listener("0.0.0.0", 80, reuseport=True, deferred=True, backlog=7, so_keepalive=True),
                Listener("127.0.0.1", 81),
            ),
        ),
        ("unix:/run/proxy.sock", (Listener("", 0, path="/run/proxy.sock"),)),
    ],
)
def test_listeners(text: str, listeners: tuple[Listener, ...]) -> None:
    assert load(GATEWAY_PROXY_LISTEN=text).proxy_listen == listeners


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "80",
            ":80",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "127.0.0.1:http",
            "::1:80",
            "host:80",
        ),
        *(
            "127.0.0.1:80 fast",
            "127.0.0.1:80 backlog=x",
            "127.0.0.1:80,",
            "unix:relative",
            "127.0.0.1:80 ipv6only",
        ),
    ],
)
def test_bad_listeners(text: str) -> None:
    (problem,) = problems(GATEWAY_PROXY_LISTEN=text)
    assert problem.startswith(f"PROXY_LISTEN = '{text}' (environment GATEWAY_PROXY_LISTEN)")
    assert "<ip>:<port>" in problem


def test_listener_as_text() -> None:
    assert str(Listener("::1", 80)) == "[::1]:80"
    assert Listener("0.0.0.0", 80).connect_address == "127.0.0.1:80"
    assert Listener("::", 80).connect_address == "[::1]:80"
    assert str(Listener("", 0, path="/x")) == "unix:/x"


def test_tls_listeners_are_left_out_with_a_warning() -> None:
    settings = load(KONG_PROXY_LISTEN="0.0.0.0:8000 http2, 0.0.0.0:8443 http2 ssl reuseport backlog=16384")
    assert [str(listener) for listener in settings.proxy_listen] == ["0.0.0.0:8000"]
    assert any(
        "0.0.0.0:8443 is left out: TLS listeners are not available yet" in line for line in settings.warnings
    )
    assert any("0.0.0.0:8000 speaks HTTP/1.1 only" in line for line in settings.warnings)


def test_proxy_protocol_is_refused() -> None:
    (problem,) = problems(GATEWAY_PROXY_LISTEN="127.0.0.1:80 proxy_protocol")
    assert "the PROXY protocol is not available yet" in problem
    (problem,) = problems(KONG_REAL_IP_HEADER="proxy_protocol")
    assert "the PROXY protocol is not available yet" in problem


def test_an_address_is_listened_on_once() -> None:
    (problem,) = problems(GATEWAY_ADMIN_LISTEN="127.0.0.1:8007")
    assert "127.0.0.1:8007 is an address of ADMIN_LISTEN too" in problem
    (problem,) = problems(GATEWAY_PROXY_LISTEN="127.0.0.1:80, 127.0.0.1:80 reuseport")
    assert "appears twice" in problem


def test_trusted_ips() -> None:
    settings = load(KONG_TRUSTED_IPS="10.0.0.1/8, ::1")
    assert settings.trusted_ips == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"))
    (problem,) = problems(KONG_TRUSTED_IPS="10.0.0.256")
    assert "'10.0.0.256'" in problem


def test_header_lists() -> None:
    settings = load(KONG_HEADERS="off", KONG_HEADERS_UPSTREAM="OFF")
    assert settings.headers == settings.headers_upstream == frozenset()
    assert load(KONG_HEADERS="server_tokens").headers == {"Server", "Via"}
    assert load(KONG_HEADERS="x-kong-upstream-status").headers == {"X-Kong-Upstream-Status"}
    assert "X-Kong-Proxy-Latency" in load().headers
    (problem,) = problems(KONG_HEADERS="X-Made-Up")
    assert "unknown name 'X-Made-Up'" in problem


def test_affinity() -> None:
    processors = usable_processors()
    assert load(GATEWAY_CPU_AFFINITY="auto").cpu_affinity == processors
    assert load(GATEWAY_CPU_AFFINITY=str(processors[0])).cpu_affinity == (processors[0],)
    (problem,) = problems(GATEWAY_CPU_AFFINITY="4000")
    assert "may not use processor 4000" in problem
    assert problems(GATEWAY_CPU_AFFINITY="first")


def test_dns_settings() -> None:
    settings = load(
        KONG_DNS_RESOLVER="10.0.0.1, 10.0.0.2:5353, [::1]:54",
        KONG_DNS_ORDER="last,a,aaaa",
        KONG_DNS_VALID_TTL="9",
    )
    assert settings.dns_resolver == (("10.0.0.1", 53), ("10.0.0.2", 5353), ("::1", 54))
    assert settings.dns_order == ("LAST", "A", "AAAA")
    assert settings.dns_valid_ttl == 9.0
    assert load().dns_valid_ttl is None
    assert problems(KONG_DNS_ORDER="MX")
    assert problems(KONG_DNS_ORDER="LAST")


def test_worker_connections_follow_the_descriptor_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert connections_possible() == (4096 - 512) // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert connections_possible() == 16384
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert connections_possible() == (256 - 64) // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 32))
    assert connections_possible() == 16


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(
        GATEWAY_PREFIX="run", GATEWAY_DECLARATIVE_CONFIG="kong.yml", GATEWAY_PROXY_ACCESS_LOG="a.log"
    )
    assert settings.prefix == tmp_path / "run"
    assert settings.declarative_config == tmp_path / "kong.yml"
    assert settings.proxy_access_log == tmp_path / "run" / "a.log"
    assert load(GATEWAY_PROXY_ACCESS_LOG="off").proxy_access_log is None
    assert load(GATEWAY_PROXY_ACCESS_LOG="/dev/stdout").proxy_access_log == Path("/dev/stdout")


def test_body_buffer_is_limited_with_a_warning() -> None:
    settings = load(KONG_NGINX_HTTP_CLIENT_BODY_BUFFER_SIZE="10m")
    assert settings.client_body_buffer_size == 65536
    assert "at most 64k" in settings.warnings[0]


def test_debug_token(tmp_path: Path) -> None:
    """One secret, which is not kept; a short one is warned about."""
    name = "GATEWAY_DEBUG_TOKEN"
    assert load(**{name: ""}).debug_token is None
    text = "0123456789abcdef"
    given = load(**{name: text})
    assert given.debug_token is not None
    assert given.debug_token.digest == hashlib.sha256(text.encode()).digest()
    assert not given.warnings
    file = tmp_path / "token"
    file.write_text(text + "\n")
    assert load(**{name: f"file:{file}"}).debug_token == given.debug_token
    assert "DEBUG_TOKEN (" in load(**{name: "short"}).warnings[0]
    (problem,) = problems(**{name: "one-token,another-token"})
    assert problem.startswith("DEBUG_TOKEN = (hidden)")
