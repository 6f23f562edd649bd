"""A request as JSON: what request-termination answers with `echo` (config.echo in Kong)."""

from libc.stdint cimport uint8_t, uint32_t

from native.connection cimport Exchange
from native.fields cimport Text

# {"message":…,"kong":{…},"request":{…},"matched_route":{…},"matched_service":{…}} in the exchange's memory; empty when
# memory is out. `message` empty: without. Needs the whole request body; a very long one is left out.
cdef Text request_echo(Exchange* exchange, Text message, Text host_name) noexcept nogil
