"""Identities of exchanges; see authentication.pxd.

Secrets that somebody could guess byte by byte (passwords' hashes, signatures) are compared in constant time. Keys that
*are* the secret, such as API keys, are found by hash instead: find_credential() compares bytes only with records whose
hash agrees with the guess in 32 bits that it has not told anybody. How long a lookup takes says at most whether the
hash of a guess shares these bits with that of some key, and a guess that does has nothing else in common with the key:
neighbouring guesses have unrelated hashes, so there is no prefix to extend. What is left is guessing whole keys.
"""

from libc.stdint cimport uint8_t, uint32_t

from native.body_fields cimport form_values
from native.clock cimport wall_clock_ms
from native.connection cimport EXCHANGE_ANONYMOUS, EXCHANGE_AUTHENTICATED
from native.crypto cimport equal_octets
from native.fields cimport Head, add_own_field, remove_field, set_field
from native.identities cimport (
    CONSUMER_ID,
    CONSUMER_USERNAME,
    RecordText,
    consumer_of,
    find_consumer,
    find_credential,
    has_expired,
    record_text,
)
from native.log cimport LOG_ERROR, log_error
from native.plan cimport STEP_CONTINUE, STEP_FAIL, request_head, request_query, respond_error, response_head


cdef bint equal_secrets(Text one, Text other) noexcept nogil:
    return one.length == other.length and equal_octets(one.data, other.data, one.length)


# --- finding ---------------------------------------------------------------------------------------------------------
cdef const CredentialRecord* current_credential(Exchange* exchange, IdentityKind kind, const uint8_t* key,
                                                uint32_t length) noexcept nogil:
    cdef const CredentialRecord* credential
    if exchange.identities == NULL:
        return NULL
    credential = find_credential(exchange.identities.base, kind, key, length)
    if credential == NULL or credential.consumer == 0:
        return NULL
    if credential.expires_at != 0 and has_expired(credential, wall_clock_ms()):
        return NULL
    return credential


cdef const ConsumerRecord* credential_consumer(Exchange* exchange, const CredentialRecord* credential) noexcept nogil:
    return consumer_of(exchange.identities.base, credential)


# --- the identity of an exchange -------------------------------------------------------------------------------------
cdef void forget_identity(Exchange* exchange, Head* head) noexcept nogil:
    """What an earlier plugin has set."""
    if exchange.flags & (EXCHANGE_AUTHENTICATED | EXCHANGE_ANONYMOUS):
        remove_field(head, b"X-Consumer-ID", 13)
        remove_field(head, b"X-Consumer-Custom-ID", 20)
        remove_field(head, b"X-Consumer-Username", 19)
        remove_field(head, b"X-Credential-Identifier", 23)
        remove_field(head, b"X-Anonymous-Consumer", 20)
    exchange.flags &= ~<uint32_t> (EXCHANGE_AUTHENTICATED | EXCHANGE_ANONYMOUS)
    exchange.consumer = NULL
    exchange.credential = NULL


cdef inline bint tell(Head* head, const char* name, uint32_t name_length, const void* record,
                      RecordText text) noexcept nogil:
    return text.length == 0 or add_own_field(head, name, name_length, record_text(record, text), text.length)


cdef bint tell_consumer(Head* head, const ConsumerRecord* consumer) noexcept nogil:
    """Tell the upstream. False: the id did not fit. A name that cannot stand in a header field (control characters) is
    left out: the id says enough."""
    if not tell(head, b"X-Consumer-ID", 13, consumer, consumer.id):
        return False
    tell(head, b"X-Consumer-Custom-ID", 20, consumer, consumer.custom_id)
    tell(head, b"X-Consumer-Username", 19, consumer, consumer.username)
    return True


cdef int no_room(Exchange* exchange) noexcept nogil:
    log_error(exchange.worker, LOG_ERROR, exchange, b"no room for the header fields that tell the consumer", NULL, 0)
    return STEP_FAIL


cdef int authenticate(Exchange* exchange, const CredentialRecord* credential, const ConsumerRecord* consumer,
                      Text identifier) noexcept nogil:
    cdef Head head = request_head(exchange)
    forget_identity(exchange, &head)
    if consumer != NULL and not tell_consumer(&head, consumer):
        return no_room(exchange)
    if identifier.length:
        add_own_field(&head, b"X-Credential-Identifier", 23, identifier.data, identifier.length)
    exchange.consumer = consumer
    exchange.credential = credential
    exchange.flags |= EXCHANGE_AUTHENTICATED
    return STEP_CONTINUE


cdef int authenticate_anonymous(Exchange* exchange, Text consumer) noexcept nogil:
    cdef const ConsumerRecord* found = NULL
    cdef Head head
    if exchange.identities != NULL:
        found = find_consumer(exchange.identities.base, CONSUMER_ID, consumer.data, consumer.length)
        if found == NULL:
            found = find_consumer(exchange.identities.base, CONSUMER_USERNAME, consumer.data, consumer.length)
    if found == NULL:
        log_error(exchange.worker, LOG_ERROR, exchange, b"the anonymous consumer that is configured does not exist",
                  <const char*> consumer.data, consumer.length)
        return respond_error(exchange, 500, b"An unexpected error occurred")
    head = request_head(exchange)
    forget_identity(exchange, &head)
    if not tell_consumer(&head, found) or not add_own_field(&head, b"X-Anonymous-Consumer", 20, b"true", 4):
        return no_room(exchange)
    exchange.consumer = found
    exchange.flags |= EXCHANGE_ANONYMOUS
    return STEP_CONTINUE


# --- logs ------------------------------------------------------------------------------------------------------------
cdef void hide_from_logs(Exchange* exchange, Text name) noexcept nogil:
    cdef Text values
    cdef uint32_t start, end
    if exchange.request.query_length == 0 or exchange.client.input == NULL \
            or not form_values(request_query(exchange), name, &values):
        return
    start = <uint32_t> (values.data - request_head(exchange).base)
    end = start + values.length
    if exchange.secret_length:
        end = max(end, exchange.secret_offset + exchange.secret_length)
        start = min(start, exchange.secret_offset)
    exchange.secret_offset = start
    exchange.secret_length = end - start


# --- refusing --------------------------------------------------------------------------------------------------------
cdef void demand_credential(Exchange* exchange, Text challenge) noexcept nogil:
    cdef Head head
    if challenge.length:
        head = response_head(exchange)
        set_field(&head, b"WWW-Authenticate", 16, challenge.data, challenge.length)


cdef int unauthorized(Exchange* exchange, const char* message, Text challenge) noexcept nogil:
    demand_credential(exchange, challenge)
    return respond_error(exchange, 401, message)


cdef int not_authenticated(Exchange* exchange, Text anonymous, const char* message, Text challenge) noexcept nogil:
    if anonymous.length:
        return authenticate_anonymous(exchange, anonymous)
    return unauthorized(exchange, message, challenge)
