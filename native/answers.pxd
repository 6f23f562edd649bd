"""The gateway's own answers: error bodies in all of Kong's types, redirects to HTTPS.

Two styles (proxying.md §4): *negotiated* errors are JSON unless Accept wants another type; errors that nginx makes in
Kong fall back to the request's Content-Type and then to error_default_type.
"""

from libc.stdint cimport uint16_t

from native.connection cimport Exchange

cpdef enum AnswerStyle:
    ANSWER_NEGOTIATED = 0        # kong.response.error: JSON by default
    ANSWER_SERVER = 1            # nginx-made: 400, 404, 408, 413, 414, 431, 5xx

# Put a complete answer into exchange.out and mark the exchange as answered by the gateway. `message` NULL: the
# standard text of the status. `extra` NULL or whole header lines ("Name: value\r\n").
cdef void build_answer(Exchange* exchange, uint16_t status, const char* message, AnswerStyle style,
                       const char* extra) noexcept nogil
# A redirect of an http request on an https-only route: Location: https://host/target.
cdef void build_https_redirect(Exchange* exchange, uint16_t status) noexcept nogil
