"""The gateway's own answers: error bodies in all of Kong's types, redirects to HTTPS.

Two styles (proxying.md §4): *negotiated* errors are JSON unless Accept wants another type; errors that nginx makes in
Kong fall back to the request's Content-Type and then to error_default_type.
"""

from libc.stdint cimport uint16_t

from native.connection cimport Exchange

cpdef enum AnswerStyle:
    ANSWER_NEGOTIATED = 0        # kong.response.error: JSON by default
    ANSWER_SERVER = 1            # nginx-made: 400, 404, 408, 413, 414, 431, 5xx

# An answer is made in two stages: what it says, which the plugins' response functions may still change
# (exchange.status, exchange.held: its body, exchange.answer_head: its fields), and the bytes for the client.
#
# Prepare an error. `message` NULL: the standard text of the status. `extra` NULL or whole header lines
# ("Name: value\r\n") that belong to the protocol and are constant.
cdef void build_answer(Exchange* exchange, uint16_t status, const char* message, AnswerStyle style,
                       const char* extra) noexcept nogil
# A redirect of an http request on an https-only route: Location: https://host/target.
cdef void build_https_redirect(Exchange* exchange, uint16_t status) noexcept nogil
# What a step has asked for (exchange.answer).
cdef void build_step_answer(Exchange* exchange) noexcept nogil
# Append the prepared answer to exchange.out. When memory is out, nothing is appended.
cdef void put_answer(Exchange* exchange) noexcept nogil
