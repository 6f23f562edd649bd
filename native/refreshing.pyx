"""See refreshing.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from native.cache_control cimport tag_is_listed
from native.cache_image cimport mark_tags
from native.cache_store cimport (
    CacheStore,
    StoredEntry,
    cache_append,
    cache_begin,
    cache_discard,
    cache_find,
    cache_freshen,
    cache_pieces,
    cache_publish,
    cache_read,
    cache_remove,
    cache_unpin,
)
from native.caching cimport ENTRY_HAS_TAG
from native.fields cimport Head, Text, find_field, next_field, text_of
from native.headers cimport HEADER_HOP_BY_HOP, HeaderField
from native.http1 cimport HEAD_COMPLETE, MAX_HEADERS, HeadLimits, ResponseHead, parse_response_head, response_head_reset
from native.memory cimport Buffer, BufferStock, buffer_give, buffer_take
from native.sockets cimport iovec
from native.stored_response cimport store_head, stored_field
from native.storing cimport find_names, received_head, set_times
from native.text cimport is_text, put, put_number, put_text

cdef enum:
    PIECES = 64                  # of a body that are copied at a time
    LONGEST_COPIED = 4194304     # bytes of body; longer ones only get new times: copying would keep others waiting
    STATUS_LINE_ROOM = 64


cdef bint describes_body(Text name) noexcept nogil:
    """Fields that a 304 does not change (RFC 9111 §3.2): they are true of the body that is stored."""
    return is_text(name.data, name.length, b"content-encoding", 16) \
        or is_text(name.data, name.length, b"content-type", 12) \
        or is_text(name.data, name.length, b"content-range", 13) \
        or is_text(name.data, name.length, b"content-length", 14)


cdef bint has_same_name(Text one, Text other) noexcept nogil:
    cdef uint32_t i
    if one.length != other.length:
        return False
    for i in range(one.length):
        if one.data[i] | 32 != other.data[i] | 32:
            return False
    return True


cdef bint is_replaced(const Head* head, Text name) noexcept nogil:
    cdef Text other, ignored
    cdef uint32_t place = 0
    while next_field(head, &place, &other, &ignored):
        if has_same_name(other, name):
            return not describes_body(name)
    return False


cdef void put_fresh_fields(const Head* head, Buffer* out) noexcept nogil:
    cdef const HeaderField* field
    cdef Text name
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        name = text_of(head.base + field.name_offset, field.name_length)
        if not field.flags & HEADER_HOP_BY_HOP and not describes_body(name):
            put(out, name.data, name.length)
            put_text(out, b": ")
            put(out, head.base + field.value_offset, field.value_length)
            put_text(out, b"\r\n")


cdef void put_kept_fields(const Head* head, const HeaderField* fields, uint32_t count, const uint8_t* lines,
                          Buffer* out) noexcept nogil:
    cdef Text name
    cdef uint32_t i
    for i in range(count):
        name = text_of(lines + fields[i].name_offset, fields[i].name_length)
        if not is_replaced(head, name):
            put(out, name.data, name.length)
            put_text(out, b": ")
            put(out, lines + fields[i].value_offset, fields[i].value_length)
            put_text(out, b"\r\n")


cdef bint write_head(Exchange* exchange, CacheUse* use, const Head* head, Buffer* prelude, Buffer* out) noexcept nogil:
    """The head of the response with the 304's fields in it. The prelude is read into its buffer."""
    cdef uint32_t length = use.entry.head.prelude_length
    cdef uint32_t table = <uint32_t> (use.entry.head.field_count * sizeof(HeaderField))
    if table > length or not cache_read(&exchange.worker.cache, &use.entry, 0, &prelude.data[0], length):
        return False
    put_text(out, b"HTTP/1.1 ")
    put_number(out, use.entry.head.status)
    put_text(out, b" \r\n")
    put_kept_fields(head, <const HeaderField*> &prelude.data[0], use.entry.head.field_count, &prelude.data[0] + table,
                    out)
    put_fresh_fields(head, out)
    put_text(out, b"\r\n")
    return not out.overflow


cdef bint copy_body(CacheStore* store, CacheUse* use) noexcept nogil:
    """From the pinned entry to the one that is being filled."""
    cdef iovec[PIECES] pieces
    cdef uint64_t offset = use.entry.head.prelude_length
    cdef uint64_t left = use.entry.head.body_length
    cdef int count, i
    while left:
        count = cache_pieces(store, &use.entry, offset, left, pieces, PIECES)
        if count == 0:
            cache_discard(store, &use.filling)
            return False
        for i in range(count):
            if not cache_append(store, &use.filling, pieces[i].iov_base, pieces[i].iov_len):
                return False
            offset += pieces[i].iov_len
            left -= pieces[i].iov_len
    return True


cdef bint parse_merged(Exchange* exchange, const Buffer* text, ResponseHead* response, Head* head) noexcept nogil:
    cdef HeadLimits limits
    limits.max_line = text.end
    limits.max_head = text.end
    response_head_reset(response)
    if parse_response_head(&text.data[0], text.end, response, &limits) != HEAD_COMPLETE:
        return False
    head[0] = received_head(exchange)
    head.base = &text.data[0]
    head.fields = response.headers
    head.count = response.header_count
    return True


cdef bint publish_anew(Exchange* exchange, CacheUse* use, const Buffer* text,
                       const ResponseHead* response) noexcept nogil:
    cdef CacheStore* store = &exchange.worker.cache
    use.head.marks[0] = use.entry.head.marks[0]          # its address
    use.head.mark_count = 1
    use.head.scope = use.config.scope
    return use.entry.head.body_length <= LONGEST_COPIED \
        and mark_tags(store, &text.data[0], response, &use.head) \
        and cache_begin(store, &use.filling, &use.key, use.variant.data, use.variant.length, use.sequence) \
        and store_head(store, &exchange.worker.buffers, &text.data[0], response, &use.filling, &use.head,
                       use.config.stores_cookies) \
        and copy_body(store, use) \
        and cache_publish(store, &use.filling, &use.head)


cdef void take_published(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    """Answer with the new entry rather than with the one that was confirmed."""
    cdef CacheStore* store = &exchange.worker.cache
    cdef StoredEntry published
    if cache_find(store, &use.key, use.variant.data, use.variant.length, now_ms, &published):
        cache_unpin(store, &use.entry)
        use.entry = published
        use.entry.pin = 0
        use.confirms = False


cdef bint speaks_of_another(Exchange* exchange, const CacheUse* use, const Head* received) noexcept nogil:
    """Whether a 304 has the tag of another response than the one that is stored: then its fields are not those of this."""
    cdef Text said, stored
    return use.entry.head.flags & ENTRY_HAS_TAG and find_field(received, b"ETag", 4, 0, &said) \
        and stored_field(exchange, &use.entry, b"ETag", 4, &stored) and not tag_is_listed(said, stored)


cdef bint varies_as_before(Exchange* exchange, CacheUse* use, const Head* merged) noexcept nogil:
    """False: on more, which requests would have to be told apart by."""
    cdef uint32_t before = use.names.length
    return find_names(exchange, use, merged) and use.names.length == before


cdef bint renew(Exchange* exchange, CacheUse* use, Buffer* prelude, Buffer* text, int64_t now_ms) noexcept nogil:
    cdef Head received = received_head(exchange)
    cdef ResponseHead response
    cdef Head merged
    if not write_head(exchange, use, &received, prelude, text) \
            or not parse_merged(exchange, text, &response, &merged):
        return False
    memset(&use.head, 0, sizeof(use.head))
    if speaks_of_another(exchange, use, &received) or not varies_as_before(exchange, use, &merged) \
            or not set_times(use, &merged, now_ms):
        cache_remove(&exchange.worker.cache, &use.key)   # it is not to be stored any more
        return False
    if publish_anew(exchange, use, text, &response):
        take_published(exchange, use, now_ms)
        return True
    return cache_freshen(&exchange.worker.cache, &use.entry, &use.head)


cdef bint confirm_entry(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef BufferStock* stock = &exchange.worker.buffers
    cdef uint32_t length = use.entry.head.prelude_length
    cdef Buffer* prelude = buffer_take(stock, length)
    # lines may be written with a blank that they did not have
    cdef Buffer* text = buffer_take(stock, STATUS_LINE_ROOM + length + exchange.response.parsed + 4 * MAX_HEADERS)
    cdef bint renewed = prelude != NULL and text != NULL and renew(exchange, use, prelude, text, now_ms)
    buffer_give(stock, prelude)
    buffer_give(stock, text)
    return renewed
