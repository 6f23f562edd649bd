import ipaddress

import pytest

from gateway.settings import load_settings
from gateway.snapshot import compile_configuration
from gateway.snapshot.live_settings import milliseconds, trusted_ranges
from gateway.store.configuration import Configuration
from native.snapshot import ErrorType, RealIpHeader, SentHeader, describe

LATENCIES = (
    SentHeader.SEND_UPSTREAM_LATENCY | SentHeader.SEND_PROXY_LATENCY | SentHeader.SEND_RESPONSE_LATENCY
)


def described(**flags):
    settings = load_settings(None, {}, flags)
    return describe(compile_configuration(Configuration.EMPTY, settings, number=1, metric_slots={}))


def test_defaults():
    settings = described()["settings"]
    assert settings == {
        "client_max_body_size": 0,
        "client_body_buffer_size": 8192,
        "client_header_timeout_ms": 60_000,
        "client_body_timeout_ms": 60_000,
        "keepalive_timeout_ms": 75_000,
        "keepalive_requests": 10_000,
        "upstream_pool_size": 512,
        "upstream_max_requests": 10_000,
        "upstream_idle_timeout_ms": 60_000,
        "send_timeout_ms": 60_000,
        "lingering_timeout_ms": 5_000,
        "max_request_line": 8192,
        "max_request_head": 32768,
        "plugin_body_limit": 1 << 20,
        "retry_budget_percent": 50,
        "retry_budget_min": 100,
        "trusted_all": 0,
        "real_ip_header": "X-Real-IP",
        "real_ip_kind": RealIpHeader.REAL_IP_HEADER_NAMED,
        "real_ip_recursive": 0,
        "sent_headers": SentHeader.SEND_SERVER
        | SentHeader.SEND_VIA
        | LATENCIES
        | SentHeader.SEND_REQUEST_ID
        | SentHeader.SEND_REQUEST_ID_UPSTREAM,
        "error_default_type": ErrorType.ERROR_PLAIN,
        "access_log": 1,
        "log_level": 2,
        "allow_debug_header": 0,
        "has_debug_token": 0,
    }


def test_given_values():
    settings = described(
        client_max_body_size="1g",
        keepalive_timeout="0",
        client_header_timeout="250ms",
        real_ip_header="x-forwarded-for",
        real_ip_recursive="on",
        headers="off",
        headers_upstream="off",
        error_default_type="application/grpc",
        proxy_access_log="off",
        log_level="emerg",
        allow_debug_header="on",
        debug_token="of-a-test",  # noqa: S106
    )["settings"]
    assert settings["client_max_body_size"] == 1 << 30
    assert settings["keepalive_timeout_ms"] == 0
    assert settings["client_header_timeout_ms"] == 250
    assert settings["real_ip_kind"] == RealIpHeader.REAL_IP_X_FORWARDED_FOR
    assert settings["real_ip_recursive"] == 1
    assert settings["sent_headers"] == 0
    assert settings["error_default_type"] == ErrorType.ERROR_GRPC
    assert settings["access_log"] == 0
    assert settings["log_level"] == 5
    assert settings["has_debug_token"] == 1
    assert settings["allow_debug_header"] == 1


@pytest.mark.parametrize(
    ("headers", "bits"),
    [
        ("server_tokens", SentHeader.SEND_SERVER | SentHeader.SEND_VIA),
        ("latency_tokens", LATENCIES),
        ("server", SentHeader.SEND_SERVER),
        ("VIA", SentHeader.SEND_VIA),
        ("X-Kong-Upstream-Latency", SentHeader.SEND_UPSTREAM_LATENCY),
        ("X-Kong-Response-Latency", SentHeader.SEND_RESPONSE_LATENCY),
        ("Via, X-Kong-Proxy-Latency", SentHeader.SEND_VIA | SentHeader.SEND_PROXY_LATENCY),
        ("X-Kong-Admin-Latency", 0),
        ("Server, X-Kong-Upstream-Status", SentHeader.SEND_SERVER | SentHeader.SEND_UPSTREAM_STATUS),
        ("X-Kong-Proxy-Latency", SentHeader.SEND_PROXY_LATENCY),
        ("X-Kong-Request-Id", SentHeader.SEND_REQUEST_ID),
    ],
)
def test_sent_headers(headers, bits):
    assert described(headers=headers, headers_upstream="off")["settings"]["sent_headers"] == bits


def test_trusted_ips():
    found = described(trusted_ips="127.0.0.1, 10.0.0.0/8, 2001:db8::/32")
    assert found["trusted_ranges"] == [
        (ipaddress.ip_address("::ffff:127.0.0.1").packed, 128),
        (ipaddress.ip_address("::ffff:10.0.0.0").packed, 104),
        (ipaddress.ip_address("2001:db8::").packed, 32),
    ]
    assert found["settings"]["trusted_all"] == 0
    assert described(trusted_ips="0.0.0.0/0,::/0")["settings"]["trusted_all"] == 1


def test_all_of_ipv6_is_not_ipv4():
    ranges = list(trusted_ranges([ipaddress.ip_network("::/0")]))
    assert not any(ipaddress.ip_address("::ffff:1.2.3.4") in one for one in ranges)
    for address in ("::1", "2001:db8::1", "::fffe:1.2.3.4", "ffff::", "::1:ffff:1.2.3.4"):
        assert sum(ipaddress.ip_address(address) in one for one in ranges) == 1
    mapped = ipaddress.ip_network("::ffff:0:0/96")
    assert list(trusted_ranges([mapped])) == [mapped]


def test_milliseconds():
    assert milliseconds(0.0015) == 2
    assert milliseconds(1e9) == 2**32 - 1
