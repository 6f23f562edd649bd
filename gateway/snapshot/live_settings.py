"""The settings that a reload changes in running workers, in the form of the snapshot's LiveSettings."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from gateway.settings import Settings
from native.snapshot import ConfigurationBuilder, ErrorType, RealIpHeader, SentHeader

LARGEST = 2**32 - 1

ERROR_TYPES = {
    "text/plain": ErrorType.ERROR_PLAIN,
    "application/json": ErrorType.ERROR_JSON,
    "text/html": ErrorType.ERROR_HTML,
    "application/xml": ErrorType.ERROR_XML,
    "application/grpc": ErrorType.ERROR_GRPC,
}

LOG_LEVELS = {"debug": 0, "info": 1, "notice": 2, "warn": 3, "error": 4, "crit": 5, "alert": 5, "emerg": 5}

# names of Kong's `headers` setting, in lower case; the settings know what its tokens stand for
SENT_HEADERS = {
    "server": SentHeader.SEND_SERVER,
    "via": SentHeader.SEND_VIA,
    "x-kong-upstream-latency": SentHeader.SEND_UPSTREAM_LATENCY,
    "x-kong-proxy-latency": SentHeader.SEND_PROXY_LATENCY,
    "x-kong-response-latency": SentHeader.SEND_RESPONSE_LATENCY,
    "x-kong-upstream-status": SentHeader.SEND_UPSTREAM_STATUS,
    "x-kong-request-id": SentHeader.SEND_REQUEST_ID,
}

MAPPED_IPV4 = IPv6Network("::ffff:0:0/96")


def write_live_settings(builder: ConfigurationBuilder, settings: Settings) -> None:
    """Fill the builder's LiveSettings and trusted ranges."""
    ranges = list(settings.trusted_ips)
    for network in trusted_ranges(ranges):
        builder.add_trusted_range(network.network_address.packed, network.prefixlen)
    by_list = settings.real_ip_header.lower() == "x-forwarded-for"
    builder.live_settings(
        client_max_body_size=settings.client_max_body_size,
        client_body_buffer_size=min(settings.client_body_buffer_size, LARGEST),
        client_header_timeout_ms=milliseconds(settings.client_header_timeout),
        client_body_timeout_ms=milliseconds(settings.client_body_timeout),
        keepalive_timeout_ms=milliseconds(settings.keepalive_timeout),
        keepalive_requests=settings.keepalive_requests,
        upstream_pool_size=settings.upstream_keepalive_pool_size,
        upstream_max_requests=settings.upstream_keepalive_max_requests,
        upstream_idle_timeout_ms=milliseconds(settings.upstream_keepalive_idle_timeout),
        send_timeout_ms=milliseconds(settings.send_timeout),
        lingering_timeout_ms=milliseconds(settings.lingering_timeout),
        max_request_line=settings.client_max_request_line,
        max_request_head=settings.client_max_request_head,
        plugin_body_limit=settings.plugin_body_limit,
        retry_budget_percent=settings.retry_budget_percent,
        retry_budget_min=settings.retry_budget_min,
        trusted_all={"0.0.0.0/0", "::/0"} <= {str(network) for network in ranges},
        real_ip_header=settings.real_ip_header,
        real_ip_kind=RealIpHeader.REAL_IP_X_FORWARDED_FOR if by_list else RealIpHeader.REAL_IP_HEADER_NAMED,
        real_ip_recursive=settings.real_ip_recursive,
        sent_headers=sent_headers(settings.headers, settings.headers_upstream),
        error_default_type=ERROR_TYPES[settings.error_default_type],
        access_log=settings.proxy_access_log is not None,
        log_level=LOG_LEVELS[settings.log_level],
        allow_debug_header=settings.allow_debug_header,
        debug_token=None if settings.debug_token is None else settings.debug_token.digest,
    )


def milliseconds(seconds: float) -> int:
    """A time of the settings as the records have it; what is longer than 49 days is 49 days."""
    return min(round(seconds * 1000), LARGEST)


def sent_headers(to_client: Iterable[str], to_upstream: Iterable[str]) -> int:
    """SentHeader bits of the settings `headers` and `headers_upstream`."""
    sent = 0
    for name in to_client:
        sent |= SENT_HEADERS.get(name.lower(), 0)
    if any(name.lower() == "x-kong-request-id" for name in to_upstream):
        sent |= SentHeader.SEND_REQUEST_ID_UPSTREAM
    return sent


def trusted_ranges(networks: Iterable[Any]) -> Iterator[IPv6Network]:
    """The ranges in IPv6 form, IPv4 mapped (::ffff:a.b.c.d).

    A range of IPv6 addresses that holds the mapped ones too ("::/0") is split so that it does not: who trusts
    all IPv6 peers has not said anything about IPv4 peers.
    """
    for given in networks:
        network = ip_network(str(given), strict=False)
        if isinstance(network, IPv4Network):
            yield IPv6Network(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
        elif network != MAPPED_IPV4 and network.supernet_of(MAPPED_IPV4):
            yield from sorted(network.address_exclude(MAPPED_IPV4))
        else:
            yield network
