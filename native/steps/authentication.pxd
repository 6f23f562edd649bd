"""What the authentication plugins share: who the client is, what the upstream is told of it, and the answer to unknown ones.

Not a step. The identity of an exchange is set by nobody else:

    identified  EXCHANGE_AUTHENTICATED; `credential` and `consumer` (either may be NULL, as with credentials that are no
                entities)
    anonymous   EXCHANGE_ANONYMOUS; `consumer` is the one that the plugin's `anonymous` names, no credential
    unknown     neither flag

The two flags are never set together. With several plugins, the one that identifies the client last wins (Kong: without
`anonymous` all of them have to succeed); one with `anonymous` does nothing once the client is identified.

Fields of these names that clients send are dropped before any plugin runs (HEADER_IDENTITY, HEADER_SHADOW of
headers.pxd): what is found under them was written here.
"""

from libc.stdint cimport uint8_t, uint32_t

from native.connection cimport EXCHANGE_AUTHENTICATED, Exchange
from native.fields cimport Text
from native.identities cimport ConsumerRecord, CredentialRecord, IdentityKind

# Whether a plugin has nothing to do, because the client is identified and the plugin lets unknown ones pass.
cdef inline bint already_authenticated(const Exchange* exchange, bint has_anonymous) noexcept nogil:
    return has_anonymous and (exchange.flags & EXCHANGE_AUTHENTICATED) != 0

# The credential with this key, unless it has expired or its consumer is gone; NULL: there is none. Of the identities
# that are pinned to the exchange, so what it leads to stays valid as long as the exchange.
cdef const CredentialRecord* current_credential(Exchange* exchange, IdentityKind kind, const uint8_t* key,
                                                uint32_t length) noexcept nogil
cdef const ConsumerRecord* credential_consumer(Exchange* exchange, const CredentialRecord* credential) noexcept nogil

# The client is identified. Sets the exchange's identity and the upstream's X-Consumer-ID, X-Consumer-Custom-ID,
# X-Consumer-Username and X-Credential-Identifier; what an earlier plugin has written there goes. Both records must be
# of the exchange's identities, or NULL. `identifier` empty: no X-Credential-Identifier.
# Returns STEP_CONTINUE, or STEP_FAIL when the fields do not fit.
cdef int authenticate(Exchange* exchange, const CredentialRecord* credential, const ConsumerRecord* consumer,
                      Text identifier) noexcept nogil
# The client is taken for the consumer with this id or user name. Returns STEP_CONTINUE; STEP_RESPOND (500) when there is
# no such consumer.
cdef int authenticate_anonymous(Exchange* exchange, Text consumer) noexcept nogil

# The client is not identified: the anonymous consumer when `anonymous` is not empty, else 401 with Kong's error body
# and WWW-Authenticate (`challenge` empty: without one). Returns what the step returns.
cdef int not_authenticated(Exchange* exchange, Text anonymous, const char* message, Text challenge) noexcept nogil
cdef int unauthorized(Exchange* exchange, const char* message, Text challenge) noexcept nogil
# Only the field WWW-Authenticate, for plugins with a body of their own. The challenge is copied.
cdef void demand_credential(Exchange* exchange, Text challenge) noexcept nogil

# The values of the arguments called `name` in the client's query are credentials: logs show "REDACTED" instead of them
# (and of what is between the first and the last of them). Call it when such arguments are looked at, and in the log
# function, for requests that an earlier plugin has answered.
cdef void hide_from_logs(Exchange* exchange, Text name) noexcept nogil

# Whether two secrets are equal, in a time that depends on their lengths alone.
cdef bint equal_secrets(Text one, Text other) noexcept nogil
