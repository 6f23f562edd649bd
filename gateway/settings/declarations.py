"""Every setting of the gateway: one declaration each, from which everything else about it is derived.

A declaration names the attribute, its type, its form, its default, when a change takes effect and what it
means. The check of a value, `gateway config show`, the page that `make docs` writes and the warnings all come
from here. To add a setting, add a field to `Settings`; CONTRIBUTING.md says how the request path gets it.
"""

# ruff: noqa: RUF009 - the calls make dataclass fields

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.settings.accounts import ACCOUNT, Account
from gateway.settings.addresses import (
    DNS_ORDER,
    HOST_NAMES,
    LISTEN,
    NAME_SERVERS,
    NETWORKS,
    ORIGINS,
    PORT_MAPS,
    IpNetwork,
    Listener,
)
from gateway.settings.declaring import Declaration, Scope, setting
from gateway.settings.tokens import ONE_TOKEN, TOKENS, AdminToken
from gateway.settings.values import (
    AFFINITY,
    AUDIT_LOG,
    CERTIFICATE,
    DATABASE,
    FIELD_NAME,
    LOG,
    NEEDED_TEXT,
    PATHS,
    ROUTER_FLAVOR,
    SENDABLE_HEADERS,
    SWITCH,
    TEXT,
    TRUSTED_CERTIFICATES,
    UUID,
    choice,
    connections_possible,
    duration,
    duration_or_off,
    header_list,
    milliseconds,
    number,
    number_or_auto,
    optional_duration,
    path,
    size,
    usable_processors,
)

BODY_BUFFER_LIMIT = 64 * 1024
"""Most bytes of a request body that a worker holds for a retry (native/memory.pxd, LARGE_BUFFER)."""


def _default_prefix() -> str:
    if os.geteuid() == 0:
        return "/var/lib/gateway"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"{state}/sluicegate"


def _nginx(directive: str) -> tuple[str, ...]:
    """Kong's names for an nginx directive that it injects."""
    return (f"nginx_proxy_{directive}", f"nginx_http_{directive}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a gateway, checked. Times are seconds (float), sizes bytes (int)."""

    prefix: Path = setting(
        path("a directory"),
        _default_prefix,
        Scope.RESTART,
        "Run directory: pid file, logs, snapshots. For root /var/lib/gateway, else ~/.local/state/sluicegate",
    )
    database: str = setting(
        DATABASE,
        "sqlite",
        Scope.RESTART,
        "Where entities are kept; where it is not given but a declarative configuration is: off",
    )
    declarative_config: Path | None = setting(
        path("the path of a YAML or JSON file"),
        "",
        Scope.LIVE,
        "Declarative file (Kong's format) that is loaded at start and at each reload",
    )
    declarative_config_string: str | None = setting(
        TEXT, "", Scope.LIVE, "The declarative configuration itself instead of a file", secret=True
    )
    declarative_writable: bool = setting(
        SWITCH,
        "off",
        Scope.RESTART,
        "With DATABASE=off, writes through the Admin API change the declarative file",
    )
    node_id: str | None = setting(UUID, "", Scope.RESTART, "Id of this node; empty: a new one at each start")

    # --- databases
    sqlite_path: Path = setting(
        path("the path of a file (relative to the prefix)"),
        "sluicegate.sqlite",
        Scope.RESTART,
        "File of the SQLite database; its directory must be writable, too. With USER "
        "control/sluicegate.sqlite, unless it is given",
    )
    db_update_frequency: float = setting(
        duration(0.05, 86400),
        "0.5",
        Scope.RESTART,
        "Time between two looks at what other nodes wrote to the database, should its notification be lost",
    )
    pg_host: str = setting(
        NEEDED_TEXT, "127.0.0.1", Scope.RESTART, "Host of PostgreSQL, or the directory of its unix socket"
    )
    pg_port: int = setting(number(1, 65535), "5432", Scope.RESTART, "Port of PostgreSQL")
    pg_user: str = setting(NEEDED_TEXT, "kong", Scope.RESTART, "User of PostgreSQL")
    pg_password: str | None = setting(
        TEXT, "", Scope.RESTART, "Password of the user of PostgreSQL", secret=True
    )
    pg_database: str = setting(NEEDED_TEXT, "kong", Scope.RESTART, "Database of PostgreSQL")
    pg_schema: str | None = setting(
        TEXT, "", Scope.RESTART, "Schema of the tables in PostgreSQL; empty: the one the user has as default"
    )
    pg_timeout: float = setting(
        milliseconds(100, 3_600_000),
        "5000",
        Scope.RESTART,
        "Longest time in milliseconds that PostgreSQL may let one connect, read or write wait",
    )
    pg_ssl: bool = setting(SWITCH, "off", Scope.RESTART, "Speak TLS with PostgreSQL, and nothing else")
    pg_ssl_verify: bool = setting(
        SWITCH, "off", Scope.RESTART, "With PG_SSL: check the certificate of PostgreSQL and its host name"
    )
    pg_ssl_ca_file: tuple[str, ...] = setting(
        TRUSTED_CERTIFICATES,
        "system",
        Scope.RESTART,
        "With PG_SSL_VERIFY: PEM file of the authorities that are trusted; system: those of this machine",
        kong=("lua_ssl_trusted_certificate",),
    )
    pg_pool_size: int = setting(number(1, 1000), "4", Scope.RESTART, "Most connections to PostgreSQL at once")

    # --- listeners
    proxy_listen: tuple[Listener, ...] = setting(
        LISTEN,
        "0.0.0.0:8000 reuseport backlog=16384",
        Scope.WORKERS,
        "Addresses for proxied traffic",
        performance=True,
    )
    admin_listen: tuple[Listener, ...] = setting(
        LISTEN, "127.0.0.1:8001", Scope.RESTART, "Addresses of the Admin API; keep them private"
    )
    admin_origins: frozenset[str] = setting(
        ORIGINS,
        "",
        Scope.LIVE,
        "Web origins whose pages may use the Admin API and the status endpoints; '*': all, as in Kong",
    )
    admin_hosts: frozenset[str] = setting(
        HOST_NAMES,
        "",
        Scope.LIVE,
        "Host names by which the listeners are called, besides localhost on a loopback address; an Admin "
        "listener without ADMIN_TOKEN elsewhere takes addresses and names inside a network besides; '*': any",
    )
    admin_token: tuple[AdminToken, ...] = setting(
        TOKENS,
        "",
        Scope.LIVE,
        "Secrets for the Admin API, sent as 'Kong-Admin-Token: <token>' or 'Authorization: Bearer <token>'; "
        "empty: who reaches it may use it, as in Kong",
        secret=True,
    )
    admin_read_token: tuple[AdminToken, ...] = setting(
        TOKENS,
        "",
        Scope.LIVE,
        "Secrets with which the Admin API can only be read, keys and passwords left out",
        secret=True,
    )
    admin_max_requests: int = setting(
        number(1, 65535),
        "256",
        Scope.LIVE,
        "Requests to the Admin API that are worked on at once, more are answered 503",
    )
    admin_audit_log: Path | None = setting(
        AUDIT_LOG,
        "off",
        Scope.LIVE,
        "File with a JSON line for every request to the Admin API that changes something, or tries to",
    )
    admin_ssl_cert: Path | None = setting(
        CERTIFICATE,
        "",
        Scope.LIVE,
        "Certificate, with those it is signed by, of Admin listeners with 'ssl' (PEM); empty: one is made in "
        "<prefix>/ssl",
    )
    admin_ssl_cert_key: Path | None = setting(
        CERTIFICATE, "", Scope.LIVE, "Private key of ADMIN_SSL_CERT (PEM)"
    )
    admin_ssl_client_ca: Path | None = setting(
        CERTIFICATE,
        "",
        Scope.LIVE,
        "Authorities (PEM) that sign the certificates of clients of Admin listeners with 'ssl'; empty: "
        "clients need none",
    )
    admin_client_max_body_size: int = setting(
        size(),
        "10m",
        Scope.LIVE,
        "Largest body of a request to the Admin API, more is answered 413; 0: any size",
        kong=("nginx_admin_client_max_body_size",),
    )
    status_listen: tuple[Listener, ...] = setting(
        LISTEN, "127.0.0.1:8007", Scope.RESTART, "Addresses of the status and metrics endpoints"
    )
    status_ssl_cert: Path | None = setting(
        CERTIFICATE,
        "",
        Scope.LIVE,
        "Certificate of status listeners with 'ssl' (PEM); empty: one is made in <prefix>/ssl",
    )
    status_ssl_cert_key: Path | None = setting(
        CERTIFICATE, "", Scope.LIVE, "Private key of STATUS_SSL_CERT (PEM)"
    )
    port_maps: Mapping[int, int] = setting(
        PORT_MAPS,
        "",
        Scope.WORKERS,
        "Ports that clients use where a forwarder changes them ('80:8000'): listening port to client's port",
    )

    # --- processes
    user: Account | None = setting(
        ACCOUNT,
        "",
        Scope.RESTART,
        "User, and group if not the user's own, of workers and control process when the gateway is started "
        "as root",
        kong=("nginx_user", "nginx_main_user"),
    )
    worker_processes: int = setting(
        number_or_auto(lambda: min(len(usable_processors()), 128), 1, 128, "one per usable processor"),
        "auto",
        Scope.WORKERS,
        "Number of workers",
        kong=("nginx_worker_processes", "nginx_main_worker_processes"),
        performance=True,
    )
    worker_connections: int = setting(
        number_or_auto(connections_possible, 16, 1_000_000, "16384, or what the descriptor limit allows"),
        "auto",
        Scope.WORKERS,
        "Client connections that one worker serves at once; more wait in the kernel's queue",
        kong=("nginx_events_worker_connections",),
        performance=True,
    )
    cpu_affinity: tuple[int, ...] = setting(
        AFFINITY,
        "off",
        Scope.WORKERS,
        "Processors that the workers are pinned to, in turn",
        performance=True,
    )
    worker_shutdown_timeout: float = setting(
        duration(),
        "10s",
        Scope.LIVE,
        "Longest time that a drain at `gateway quit` may take; 0: as long as the requests take",
        kong=("nginx_main_worker_shutdown_timeout",),
    )
    reload_drain_timeout: float = setting(
        duration(),
        "0",
        Scope.LIVE,
        "Longest time that replaced workers may take to finish; 0: as long as the requests take",
    )
    worker_watchdog_timeout: float = setting(
        duration_or_off(1, 86400),
        "10s",
        Scope.LIVE,
        "A worker that does nothing at all for so long hangs: it is killed and started again; 0: never "
        "(debuggers)",
    )
    mem_cache_size: int = setting(
        size(1 << 20, 1 << 38),
        "128m",
        Scope.RESTART,
        "Shared memory for cached responses",
        performance=True,
    )
    rate_limit_table_size: int = setting(
        size(1 << 16, 1 << 34),
        "12m",
        Scope.RESTART,
        "Shared memory for the counters of rate limits",
        performance=True,
    )
    jwt_cache_size: int = setting(
        size(0, 1 << 34),
        "32m",
        Scope.RESTART,
        "Shared memory for JSON Web Tokens that have been verified, so that they need not be again; 0: none",
        performance=True,
    )

    # --- clients
    client_max_body_size: int = setting(
        size(),
        "0",
        Scope.LIVE,
        "Largest request body, more is answered 413; 0: any size",
        kong=_nginx("client_max_body_size"),
    )
    client_body_buffer_size: int = setting(
        size(),
        "8k",
        Scope.LIVE,
        "Request bodies up to this size are held so that they can be sent again; at most 64k",
        kong=_nginx("client_body_buffer_size"),
        performance=True,
    )
    plugin_body_limit: int = setting(
        size(0, 64 << 20),
        "1m",
        Scope.LIVE,
        "Bodies of requests and responses up to this size can be read and changed by plugins",
        performance=True,
    )
    plugin_path: tuple[Path, ...] = setting(
        PATHS,
        "",
        Scope.LIVE,
        "Files with Python plugins, and directories of such files and packages; a reload reads them again",
    )
    plugin_deadline: float = setting(
        duration(0.001, 3600),
        "10",
        Scope.LIVE,
        "Longest time that a request waits for one function of a Python plugin, then it ends with 500",
    )
    client_max_request_line: int = setting(
        size(512, 32 << 10), "8k", Scope.LIVE, "Longest request line, more is answered 414"
    )
    client_max_request_head: int = setting(
        size(1024, 64 << 10), "32k", Scope.LIVE, "Largest request head with its line, more is answered 431"
    )
    client_header_timeout: float = setting(
        duration(0.1, 86400),
        "60s",
        Scope.LIVE,
        "Time for a complete request head, then 408",
        kong=_nginx("client_header_timeout"),
    )
    client_body_timeout: float = setting(
        duration(0.1, 86400),
        "60s",
        Scope.LIVE,
        "Time between two reads of a request body, then 408",
        kong=_nginx("client_body_timeout"),
    )
    send_timeout: float = setting(
        duration(0.1, 86400),
        "60s",
        Scope.LIVE,
        "A client that takes no byte of a response for so long is dropped",
        kong=_nginx("send_timeout"),
    )
    lingering_timeout: float = setting(
        duration(0.1, 3600),
        "5s",
        Scope.LIVE,
        "Time to go on reading from a client whose request was answered early",
        kong=_nginx("lingering_timeout"),
    )
    keepalive_timeout: float = setting(
        duration(0, 86400),
        "75s",
        Scope.LIVE,
        "Time that an idle client connection is kept; 0: none is",
        kong=_nginx("keepalive_timeout"),
        performance=True,
    )
    keepalive_requests: int = setting(
        number(0, 1 << 31),
        "10000",
        Scope.LIVE,
        "Requests on one client connection; 0: any number",
        kong=_nginx("keepalive_requests"),
        performance=True,
    )
    trusted_ips: tuple[IpNetwork, ...] = setting(
        NETWORKS, "", Scope.LIVE, "Peers whose X-Forwarded-* and real-IP headers are believed"
    )
    real_ip_header: str = setting(
        FIELD_NAME, "X-Real-IP", Scope.LIVE, "Header in which a trusted peer names the client"
    )
    real_ip_recursive: bool = setting(
        SWITCH, "off", Scope.LIVE, "Skip trusted addresses from the right of X-Forwarded-For"
    )

    # --- upstreams
    upstream_keepalive_pool_size: int = setting(
        number(0, 65535),
        "512",
        Scope.LIVE,
        "Idle connections kept per upstream address and worker; 0: none",
        performance=True,
    )
    upstream_keepalive_max_requests: int = setting(
        number(0, 1 << 31),
        "10000",
        Scope.LIVE,
        "Requests on one upstream connection; 0: any number",
        performance=True,
    )
    upstream_keepalive_idle_timeout: float = setting(
        duration(0, 86400),
        "60",
        Scope.LIVE,
        "Time that an idle upstream connection is kept; 0: for ever",
        performance=True,
    )
    retry_budget_percent: int = setting(
        number(0, 1000),
        "50",
        Scope.LIVE,
        "Most retries to an upstream, as a percentage of the requests to it, so that they cannot multiply an "
        "outage",
    )
    retry_budget_min: int = setting(
        number(0, 100_000), "100", Scope.LIVE, "Retries a second to an upstream that are allowed beyond that"
    )
    dns_resolver: tuple[tuple[str, int], ...] = setting(
        NAME_SERVERS, "", Scope.LIVE, "Name servers; empty: those of /etc/resolv.conf"
    )
    dns_hostsfile: Path = setting(
        path("the path of a file"), "/etc/hosts", Scope.LIVE, "File of names known without a name server"
    )
    dns_order: tuple[str, ...] = setting(
        DNS_ORDER,
        "LAST,SRV,A,CNAME",
        Scope.LIVE,
        "Record types asked for, in order; LAST: what last succeeded",
    )
    dns_valid_ttl: float | None = setting(
        optional_duration(), "", Scope.LIVE, "Time that an answer is used, instead of its own TTL"
    )
    dns_stale_ttl: float = setting(
        duration(), "3600", Scope.LIVE, "Time that an expired answer is used while no new one can be had"
    )
    dns_not_found_ttl: float = setting(
        duration(), "30", Scope.LIVE, "Time until a name without addresses is asked for again"
    )
    dns_error_ttl: float = setting(
        duration(), "1", Scope.LIVE, "Time until a name is asked for again after a failure of the name server"
    )

    # --- routing
    router_flavor: str = setting(
        ROUTER_FLAVOR,
        "traditional_compatible",
        Scope.LIVE,
        "Kong's router that is followed: 'traditional' honours a route's path_handling v1, "
        "the default treats v1 as v0",
    )

    # --- answers and logs
    headers: frozenset[str] = setting(
        header_list(*SENDABLE_HEADERS),
        "server_tokens, latency_tokens, X-Kong-Request-Id",
        Scope.LIVE,
        "Headers that the gateway adds to responses",
    )
    headers_upstream: frozenset[str] = setting(
        header_list("X-Kong-Request-Id"),
        "X-Kong-Request-Id",
        Scope.LIVE,
        "Headers that the gateway adds to requests, besides the forwarding ones",
    )
    allow_debug_header: bool = setting(
        SWITCH, "off", Scope.LIVE, "Answer 'Kong-Debug: 1' with the names of route and service"
    )
    debug_token: AdminToken | None = setting(
        ONE_TOKEN,
        "",
        Scope.LIVE,
        "Secret with which a request, as 'X-Sluicegate-Debug: <token>', is answered with a header that tells "
        "route, plugins and target (X-Sluicegate-Explain); empty: none is",
        secret=True,
    )
    error_default_type: str = setting(
        choice("text/plain", "text/html", "application/json", "application/xml", "application/grpc"),
        "text/plain",
        Scope.LIVE,
        "Type of an error body where the request asks for none",
    )
    log_level: str = setting(
        choice("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"),
        "notice",
        Scope.LIVE,
        "Least severe level that is logged",
        performance=True,
    )
    proxy_access_log: Path | None = setting(
        LOG,
        "logs/access.log",
        Scope.WORKERS,
        "One line per proxied request",
        performance=True,
    )
    proxy_error_log: Path | None = setting(
        LOG,
        "logs/error.log",
        Scope.WORKERS,
        "Events and failures; in the foreground, when it is not set, standard error",
    )

    # --- not settings: what is known about this set of them
    warnings: tuple[str, ...] = ()
    """to be shown at each start"""
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """the text of each setting, as given"""
    sources: Any = dataclasses.field(default=None, repr=False, compare=False)

    def origin(self, name: str) -> str:
        """Where a setting's value came from, as a person would look for it."""
        return self.origins[name]


def _declared() -> dict[str, Declaration]:
    found = {}
    for field in dataclasses.fields(Settings):
        if declaration := field.metadata.get("declaration"):
            found[field.name] = dataclasses.replace(declaration, name=field.name)
    return found


DECLARATIONS: Mapping[str, Declaration] = _declared()
"""every setting by its name, in the order in which it is shown"""
