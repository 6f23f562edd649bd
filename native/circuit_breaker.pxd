"""What proxy-circuit-breaker does for a request: asks its circuits, and tells them what became of it (circuit.pxd).

The access step lets a request pass, or refuses it; with a breaker per target, the balancer asks for each address instead.
From then on `Exchange.circuit_plugin` is set, and the functions here follow the tries: the balancer calls them, and whoever
answers when there are none left. A request that ends in whatever way without an outcome gives its place back.
"""

from libc.stdint cimport uint8_t, uint64_t

from native.balancer cimport TryOutcome
from native.circuit cimport CircuitRules
from native.connection cimport Exchange
from native.snapshot cimport Peer, PluginRecord

cdef enum:
    FIRST_STATUS = 100
    STATUS_OCTETS = 63           # 100 … 603

# The packed configuration.
ctypedef struct CircuitBreakerConfig:
    CircuitRules rules
    uint64_t seed                # circuit_seed() of the plugin
    uint8_t per_target           # else per service
    uint8_t counts_errors        # tries that end without a response, or with half of one, are failures
    uint8_t counts_timeouts
    uint8_t statuses[STATUS_OCTETS]    # bit (status - 100) % 8 of byte (status - 100) / 8: it is a failure

# A request comes to the breaker. False: it is to be refused.
cdef bint circuit_admits(Exchange* exchange, const PluginRecord* plugin) noexcept nogil

# --- for the balancer; all only when exchange.circuit_plugin is set --------------------------------------------------
# Whether requests may go to this address now.
cdef bint circuit_allows(Exchange* exchange, const Peer* peer) noexcept nogil
# This address was chosen. False: others were faster; choose again.
cdef bint circuit_takes(Exchange* exchange, const Peer* peer) noexcept nogil
# The head of the response is there.
cdef void circuit_answered(Exchange* exchange) noexcept nogil
# Does nothing when none is under way.
cdef void circuit_try_ended(Exchange* exchange, TryOutcome outcome) noexcept nogil

# --- for whoever answers and ends the exchange -----------------------------------------------------------------------
# There is no address for the request. Whether that is because of open circuits.
cdef bint circuit_refuses(Exchange* exchange) noexcept nogil
# The 503 that comes will say when to come again.
cdef void circuit_tell_refusal(Exchange* exchange) noexcept nogil
# No try is left: an error follows, and before the client hears of it, the circuit does.
cdef void circuit_tries_failed(Exchange* exchange) noexcept nogil
# The exchange is over.
cdef void circuit_exchange_over(Exchange* exchange) noexcept nogil
