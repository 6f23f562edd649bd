"""ip-restriction: client addresses that may, or may not, pass (gateway/plugins/ip_restriction.py).

`deny` is looked at first; with an `allow` list nobody else may pass. A client without an address (on a unix socket) may
not pass at all: nothing can be said about it.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from native.address_ranges cimport AddressSet, address_in_set, pack_addresses
from native.connection cimport Exchange
from native.fields cimport Text, text_of
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_CONTINUE,
    STEP_FAIL,
    StepFunctions,
    client_address,
    exchange_memory,
    register_step,
    respond_error_text,
    step_config,
)
from native.snapshot cimport PluginRecord

ctypedef struct IpRestrictionConfig:
    AddressSet allow
    AddressSet deny
    PackedText message           # empty: the standard one, which names the address
    uint32_t status
    uint8_t has_allow


def pack_config(*, list allow, list deny, uint32_t status, str message) -> bytes:
    """`allow` and `deny` are texts of addresses and ranges; `message` empty: the standard one."""
    cdef IpRestrictionConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(IpRestrictionConfig))
    config.allow = pack_addresses(packer, allow)
    config.deny = pack_addresses(packer, deny)
    config.message = packer.text(message)
    config.status = status
    config.has_allow = bool(allow)
    return packer.finish(&config)


cdef int refuse(Exchange* exchange, const IpRestrictionConfig* config) noexcept nogil:
    cdef const char* standard = b"IP address not allowed: "
    cdef uint32_t length = 24
    cdef Text address
    cdef uint8_t* message
    if config.message.length:
        return respond_error_text(exchange, config.status, packed_text(config, config.message))
    address = client_address(exchange)
    message = exchange_memory(exchange, length + address.length)
    if message == NULL:
        return STEP_FAIL
    memcpy(message, standard, length)
    memcpy(message + length, address.data, address.length)
    return respond_error_text(exchange, config.status, text_of(message, length + address.length))


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const IpRestrictionConfig* config = <const IpRestrictionConfig*> step_config(exchange, plugin)
    cdef uint8_t family = exchange.client_family
    cdef const uint8_t* address = exchange.client_octets
    if family == 0 or address_in_set(config, &config.deny, family, address) \
            or (config.has_allow and not address_in_set(config, &config.allow, family, address)):
        return refuse(exchange, config)
    return STEP_CONTINUE


cdef StepFunctions functions
functions.access = access
register_step("ip_restriction", functions)
