# Who asks, as far as responses may depend on it; included by cache_key.pyx.


cdef bint says_more_than_consumer(Exchange* exchange) noexcept nogil:
    """Whether what the client has shown is a token: many people may have tokens of one consumer, and the upstream may
    tell them apart."""
    if exchange.credential == NULL:
        return True
    return exchange.credential.head.kind == JWT or exchange.credential.head.kind == OAUTH2


cdef bint is_verified(Exchange* exchange, const Head* head) noexcept nogil:
    """Whether the request's only Authorization is what the gateway knows the consumer by."""
    cdef const HeaderField* field
    cdef uint32_t found = 0
    cdef uint32_t i
    cdef Text scheme = text_of(NULL, 0)
    if not exchange.flags & EXCHANGE_AUTHENTICATED or exchange.credential == NULL:
        return False
    for i in range(head.count):
        field = &head.fields[i]
        if field.known == HEADER_AUTHORIZATION or field.known == HEADER_PROXY_AUTHORIZATION:
            found += 1
            scheme = text_of(head.base + field.value_offset, field.value_length if field.value_length < 6 else 6)
    if found != 1:
        return False
    if exchange.credential.head.kind == BASIC_AUTH:
        return is_text(scheme.data, scheme.length, b"basic ", 6)
    return exchange.credential.head.kind == HMAC_AUTH and scheme.length >= 5 \
        and is_text(scheme.data, 5, b"hmac ", 5)


cdef bint write_identity(Exchange* exchange, KeyWriter* writer, const Head* head) noexcept nogil:
    """False: somebody is identified, but nothing names him."""
    cdef Text identifier
    if exchange.consumer != NULL:
        if exchange.flags & EXCHANGE_AUTHENTICATED:
            write_constant(writer, b"consumer ", 9)
        else:
            write_constant(writer, b"anonymous ", 10)
        write(writer, text_of(record_text(exchange.consumer, exchange.consumer.id), exchange.consumer.id.length))
    elif not exchange.flags & EXCHANGE_AUTHENTICATED:
        pass
    elif exchange.credential != NULL:
        write_constant(writer, b"credential ", 11)
        write(writer, text_of(record_text(exchange.credential, exchange.credential.id),
                              exchange.credential.id.length))
    elif find_field(head, b"X-Credential-Identifier", 23, 0, &identifier):
        write_constant(writer, b"identifier ", 11)
        write(writer, identifier)
    else:
        return False
    end_line(writer)
    return True


cdef bint forwards_authorization(const Head* head) noexcept nogil:
    cdef Text ignored
    return find_field(head, b"Authorization", 13, 0, &ignored) or find_field(head, b"Proxy-Authorization", 19, 0, &ignored)


# What a digest is made of.
ctypedef struct Secrets:
    Octets[2 * MAX_SECRETS] pieces   # each behind its name's length and its own
    uint32_t[2 * MAX_SECRETS] lengths
    uint32_t count
    bint are_too_many


cdef void add_secret(Secrets* secrets, uint32_t kind, Text value) noexcept nogil:
    if secrets.count == MAX_SECRETS:
        secrets.are_too_many = True
        return
    secrets.lengths[2 * secrets.count] = kind
    secrets.lengths[2 * secrets.count + 1] = value.length
    secrets.pieces[2 * secrets.count].data = &secrets.lengths[2 * secrets.count]
    secrets.pieces[2 * secrets.count].length = 8
    secrets.pieces[2 * secrets.count + 1].data = value.data
    secrets.pieces[2 * secrets.count + 1].length = value.length
    secrets.count += 1


cdef void add_received(Secrets* secrets, const Head* head, uint8_t known, bint with_removed) noexcept nogil:
    cdef const HeaderField* field
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        if field.known == known and (with_removed or not field.flags & HEADER_REMOVED):
            add_secret(secrets, known, text_of(head.base + field.value_offset, field.value_length))


cdef void add_given(Secrets* secrets, const Head* head, const char* name, uint32_t length, uint8_t known) noexcept nogil:
    """Of fields that plugins have added, too."""
    cdef Text value
    cdef uint32_t nth = 0
    while not secrets.are_too_many and find_field(head, name, length, nth, &value):
        add_secret(secrets, known, value)
        nth += 1


cdef bint write_secrets(KeyWriter* writer, const Secrets* secrets) noexcept nogil:
    cdef uint8_t[LONGEST_DIGEST] hashed
    cdef uint8_t[2 * LONGEST_DIGEST] shown
    if secrets.are_too_many:
        return False
    if secrets.count:
        digest(SHA256, secrets.pieces, 2 * secrets.count, hashed)
        hex_text(hashed, 32, shown)
        write(writer, text_of(shown, 64))
    end_line(writer)
    return True


cdef KeySafety write_credentials(Exchange* exchange, const CacheConfig* config, KeyWriter* writer,
                                 const Head* head) noexcept nogil:
    """What the upstream sees of the client besides the identity that the gateway has found."""
    cdef Secrets secrets
    cdef KeySafety safety = KEY_SAFE
    cdef bint token = exchange.flags & EXCHANGE_AUTHENTICATED and says_more_than_consumer(exchange)
    secrets.count = 0
    secrets.are_too_many = False
    if token:
        # wherever it was: Authorization, a cookie, or an argument that may not count otherwise
        add_received(&secrets, head, HEADER_AUTHORIZATION, True)
        add_received(&secrets, head, HEADER_PROXY_AUTHORIZATION, True)
        add_received(&secrets, head, HEADER_COOKIE, True)
        add_secret(&secrets, 0, request_query(exchange))
    elif forwards_authorization(head) and not is_verified(exchange, head):
        if config.obeys_control:
            safety = KEY_PUBLIC_ONLY
        else:
            add_given(&secrets, head, b"Authorization", 13, HEADER_AUTHORIZATION)
            add_given(&secrets, head, b"Proxy-Authorization", 19, HEADER_PROXY_AUTHORIZATION)
    if not token and not config.obeys_control and not config.ignores_cookies:
        add_given(&secrets, head, b"Cookie", 6, HEADER_COOKIE)
    return safety if write_secrets(writer, &secrets) else KEY_NONE
