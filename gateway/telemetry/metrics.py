"""Every metric the gateway exposes, declared once.

`kong_*` have the names, labels, buckets and help texts of Kong 3's prometheus plugin, so that dashboards made
for Kong work; `sluicegate_*` are our own.

Prometheus' rules of naming (`promtool check metrics`) reserve "_total" for counters, all of which should
have it. Where a name of Kong's breaks that rule, the metric has no type ("untyped"): nothing that Prometheus
does depends on it.
"""

from .exposition import Metric, by_name

KONG_LATENCY_BOUNDS_MS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
LATENCY_BOUNDS_MS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)

_ROUTE = ("service", "route")

# --- per route ------------------------------------------------------------------------------------

HTTP_REQUESTS = Metric(
    "kong_http_requests_total",
    "counter",
    "HTTP status codes per consumer/service/route in Kong",
    (*_ROUTE, "code", "source", "workspace", "consumer"),
)
BANDWIDTH = Metric(
    "kong_bandwidth_bytes",
    "untyped",
    "Total bandwidth (ingress/egress) throughput in bytes",
    (*_ROUTE, "direction", "workspace", "consumer"),
)
KONG_LATENCY = Metric(
    "kong_kong_latency_ms",
    "histogram",
    "Latency added by Kong and enabled plugins for each service/route in Kong",
    (*_ROUTE, "workspace"),
    KONG_LATENCY_BOUNDS_MS,
)
UPSTREAM_LATENCY = Metric(
    "kong_upstream_latency_ms",
    "histogram",
    "Latency added by upstream response for each service/route in Kong",
    (*_ROUTE, "workspace"),
    LATENCY_BOUNDS_MS,
)
REQUEST_LATENCY = Metric(
    "kong_request_latency_ms",
    "histogram",
    "Total latency incurred during requests for each service/route in Kong",
    (*_ROUTE, "workspace"),
    LATENCY_BOUNDS_MS,
)

# --- per route, with the names of Kong 2 ----------------------------------------------------------

LEGACY_STATUS = Metric("kong_http_status", "untyped", "Requests by status", (*_ROUTE, "code"))
LEGACY_CONSUMER_STATUS = Metric(
    "kong_http_consumer_status", "untyped", "Requests by status and consumer", (*_ROUTE, "code", "consumer")
)
LEGACY_BANDWIDTH = Metric(
    "kong_bandwidth", "untyped", "Bytes received (ingress) and sent (egress)", (*_ROUTE, "type")
)
LEGACY_LATENCY = Metric(
    "kong_latency",
    "histogram",
    "Milliseconds until the upstream was asked (kong), that it took (upstream), and of the request (request)",
    (*_ROUTE, "type"),
    LATENCY_BOUNDS_MS,
)
"""but for the type `kong`, which has the bounds of KONG_LATENCY"""

# --- per target -----------------------------------------------------------------------------------

TARGET_HEALTH = Metric(
    "kong_upstream_target_health",
    "gauge",
    "The state of each address of a target: 1 for the one it is in",
    ("upstream", "target", "address", "state", "subsystem"),
)
_ADDRESS = ("upstream", "target", "address")
TARGET_OPEN = Metric(
    "sluicegate_target_requests_open", "gauge", "Requests under way to each address of a target", _ADDRESS
)
TARGET_REQUESTS = Metric(
    "sluicegate_target_requests_total", "counter", "Tries sent to each address of a target", _ADDRESS
)
TARGET_FAILURES = Metric(
    "sluicegate_target_failures_total",
    "counter",
    "Tries at each address of a target that failed to connect, took too long or broke off",
    _ADDRESS,
)
TARGET_CHANGES = Metric(
    "sluicegate_target_changes_total",
    "counter",
    "Times that requests to each address of a target have ceased or begun for its health",
    _ADDRESS,
)

# --- per circuit breaker --------------------------------------------------------------------------

_CIRCUIT = ("service", "route", "target", "address")

CIRCUIT_STATE = Metric(
    "sluicegate_circuit_state",
    "gauge",
    "The state of a circuit breaker: 0 closed, 1 half open, 2 open",
    _CIRCUIT,
)
CIRCUIT_OPENED = Metric(
    "sluicegate_circuit_opened_total", "counter", "Times that a circuit breaker has opened", _CIRCUIT
)

# --- per node, as Kong ----------------------------------------------------------------------------

CONNECTIONS = Metric(
    "kong_nginx_connections_total",
    "untyped",
    "Number of connections by subsystem",
    ("node_id", "subsystem", "state"),
)
REQUESTS = Metric(
    "kong_nginx_requests_total", "counter", "Number of requests total", ("node_id", "subsystem")
)
NODE_INFO = Metric("kong_node_info", "gauge", "Kong Node metadata information", ("node_id", "version"))
DATASTORE_REACHABLE = Metric(
    "kong_datastore_reachable", "gauge", "Datastore reachable from Kong, 0 is unreachable"
)
WORKER_MEMORY = Metric(
    "kong_memory_workers_lua_vms_bytes",
    "gauge",
    "Resident memory of a worker process in bytes",
    ("node_id", "pid", "kong_subsystem"),
)
METRIC_ERRORS = Metric(
    "kong_nginx_metric_errors_total", "counter", "Number of errors while collecting metrics"
)

# --- our own --------------------------------------------------------------------------------------

INFO = Metric("sluicegate_info", "gauge", "Version of the gateway", ("version",))
WORKERS = Metric("sluicegate_workers", "gauge", "Worker processes by state", ("state",))
WORKER_RESTARTS = Metric(
    "sluicegate_worker_restarts_total", "counter", "Workers started again after an unexpected end"
)
CONTROL_RESTARTS = Metric(
    "sluicegate_control_restarts_total", "counter", "Control processes started again after an unexpected end"
)
CONFIGURATION_NUMBER = Metric(
    "sluicegate_configuration_number", "gauge", "Number of the published configuration snapshot"
)
PEERS_NUMBER = Metric("sluicegate_peers_number", "gauge", "Number of the published peers snapshot")
IDENTITIES_NUMBER = Metric(
    "sluicegate_identities_number", "gauge", "Number of the published identities snapshot"
)
LIMIT_EVICTIONS = Metric(
    "sluicegate_rate_limit_evictions_total",
    "counter",
    "Counts of rate limits lost because their part of the table was full",
)
LIMIT_PLACES = Metric(
    "sluicegate_rate_limit_places", "gauge", "Counts that the table of rate limits has room for"
)
LIMIT_PLACES_USED = Metric(
    "sluicegate_rate_limit_places_used",
    "gauge",
    "Places of the table of rate limits that have been used; those of ended windows are used again",
)
CACHE_ENTRIES = Metric("sluicegate_cache_entries", "gauge", "Responses in the cache of this node")
CACHE_BYTES = Metric("sluicegate_cache_bytes", "gauge", "Memory of the cache that is in use, in bytes")
CACHE_SIZE = Metric(
    "sluicegate_cache_size_bytes", "gauge", "Memory that the cache has for responses, in bytes"
)
CACHE_EVICTIONS = Metric(
    "sluicegate_cache_evictions_total", "counter", "Stored responses that went for want of room"
)
CACHE_EMPTIED = Metric(
    "sluicegate_cache_emptied_total",
    "counter",
    "Parts of the cache that were emptied because a process died while it wrote there",
)
CONFIGURATION_SIZE = Metric(
    "sluicegate_entities", "gauge", "Entities of the current configuration by type", ("type",)
)
CONSUMER_OVERFLOWS = Metric(
    "sluicegate_consumer_overflows_total",
    "counter",
    "Requests counted without their consumer because the table of consumers was full",
)
NAMES = Metric("sluicegate_dns_names", "gauge", "Host names in use by state of their resolution", ("state",))

# Worker counters that become a metric each: word of the worker block -> metric.
WORKER_COUNTERS = {
    "connections_dropped": Metric(
        "sluicegate_connections_dropped_total", "counter", "Client connections closed for want of a slot"
    ),
    "upstream_connects": Metric(
        "sluicegate_upstream_connects_total", "counter", "Connections opened to upstream addresses"
    ),
    "upstream_reuses": Metric(
        "sluicegate_upstream_reuses_total", "counter", "Requests sent on a kept upstream connection"
    ),
    "upstream_retries": Metric(
        "sluicegate_upstream_retries_total", "counter", "Requests sent again to another or the same address"
    ),
    "retries_refused": Metric(
        "sluicegate_upstream_retries_refused_total", "counter", "Retries that the retry budget did not allow"
    ),
    "upstream_failures": Metric(
        "sluicegate_upstream_failures_total", "counter", "Tries that ended without a response"
    ),
    "accept_pauses": Metric(
        "sluicegate_accept_pauses_total",
        "counter",
        "Times a worker stopped accepting for want of descriptors or connection slots",
    ),
    "bad_requests": Metric(
        "sluicegate_bad_requests_total", "counter", "Requests that the HTTP parser refused"
    ),
    "timeouts": Metric("sluicegate_timeouts_total", "counter", "Waits that ran into their deadline"),
    "log_lines_dropped": Metric(
        "sluicegate_log_lines_dropped_total", "counter", "Log lines dropped because the log could not keep up"
    ),
    "regex_limits": Metric(
        "sluicegate_regex_limits_total", "counter", "Route regexes that ran into their match limit"
    ),
    "plugin_timeouts": Metric(
        "sluicegate_plugin_timeouts_total",
        "counter",
        "Requests that waited longer for the plugin thread than their plugin allows",
    ),
    "plugin_failures": Metric(
        "sluicegate_plugin_failures_total",
        "counter",
        "Work on the plugin thread that ended with an exception",
    ),
    "jobs_dropped": Metric(
        "sluicegate_plugin_jobs_dropped_total",
        "counter",
        "Work for the plugin thread that was dropped because too much was waiting",
    ),
    "token_cache_hits": Metric(
        "sluicegate_jwt_cache_hits_total",
        "counter",
        "JSON Web Tokens that were known from an earlier request",
    ),
    "token_cache_misses": Metric(
        "sluicegate_jwt_cache_misses_total", "counter", "JSON Web Tokens that the plugin thread had to verify"
    ),
    "cache_hits": Metric("sluicegate_cache_hits_total", "counter", "Requests answered from the cache"),
    "cache_misses": Metric(
        "sluicegate_cache_misses_total", "counter", "Requests whose answer could have been in the cache"
    ),
    "cache_bypasses": Metric(
        "sluicegate_cache_bypasses_total",
        "counter",
        "Requests that the cache had to let pass: they, or their responses, are not for sharing",
    ),
    "cache_stale": Metric(
        "sluicegate_cache_stale_total", "counter", "Requests answered with what was no longer fresh"
    ),
    "cache_coalesced": Metric(
        "sluicegate_cache_coalesced_total",
        "counter",
        "Requests that waited for the response to another one, and were answered with it",
    ),
    "cache_revalidated": Metric(
        "sluicegate_cache_revalidated_total", "counter", "Stored responses confirmed by the upstream"
    ),
    "cache_stored": Metric("sluicegate_cache_stored_total", "counter", "Responses stored in the cache"),
    "cache_skipped": Metric(
        "sluicegate_cache_skipped_total",
        "counter",
        "Responses not stored for want of room, or because of a purge meanwhile",
    ),
    "circuit_refused": Metric(
        "sluicegate_circuit_refused_total", "counter", "Requests refused by an open circuit breaker"
    ),
}
WORKER_GAUGES = {
    "upstream_active": Metric(
        "sluicegate_upstream_active_connections", "gauge", "Upstream connections carrying a request"
    ),
    "upstream_idle": Metric(
        "sluicegate_upstream_idle_connections", "gauge", "Upstream connections kept for reuse"
    ),
    "snapshots_mapped": Metric(
        "sluicegate_snapshots_mapped", "gauge", "Snapshot files mapped by all workers together"
    ),
}

ALL = by_name(
    [
        *(value for value in list(globals().values()) if isinstance(value, Metric)),
        *WORKER_COUNTERS.values(),
        *WORKER_GAUGES.values(),
    ]
)
