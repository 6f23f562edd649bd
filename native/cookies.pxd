"""Cookies of requests (RFC 6265 §4.2.1), and one that the gateway sets itself."""

from libc.stdint cimport uint8_t

from native.connection cimport Exchange
from native.fields cimport Text

# The first cookie called `name` in a Cookie field's value. `any_case`: nginx's `$cookie_…` look at names so.
cdef bint find_cookie(Text line, Text name, bint any_case, Text* value) noexcept nogil
# The first one in the Cookie fields of the exchange's request.
cdef bint request_cookie(Exchange* exchange, Text name, Text* value) noexcept nogil
# Queue "Set-Cookie: <name>=<value>; Path=<path>; Same-Site=Lax; HttpOnly", Kong's form, for whatever response comes; it
# takes the place of one with that name that was queued before. Nothing is sent when memory is out.
cdef void send_cookie(Exchange* exchange, Text name, Text value, Text path) noexcept nogil
