from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memmove

from native.cache_store cimport cache_pieces
from native.caching cimport cache_body, cache_complete
from native.connection cimport (
    EXCHANGE_BACKGROUND,
    EXCHANGE_CHUNK_RESPONSE,
    EXCHANGE_CLOSE_CLIENT,
    EXCHANGE_HOLDS_RESPONSE,
    EXCHANGE_RECORDS,
    EXCHANGE_REQUEST_SENT,
    EXCHANGE_RESPONSE_COMPLETE,
    EXCHANGE_RESPONSE_OVER,
    Upstream,
)
from native.http1 cimport (
    BODY_CHUNKED,
    BODY_LENGTH,
    BODY_NONE,
    BODY_UNTIL_CLOSE,
    CHUNK_DONE,
    CHUNK_ERROR,
    HEAD_COMPLETE,
    HEAD_INCOMPLETE,
    METHOD_HEAD,
    HeadLimits,
    chunk_decode,
    parse_response_head,
    response_head_reset,
)
from native.memory cimport (
    LARGE_BUFFER,
    SMALL_BUFFER,
    Buffer,
    BufferStock,
    buffer_give,
    buffer_length,
    buffer_room,
    buffer_take,
)
from native.response_head cimport reserve_out
from native.sockets cimport iovec
from native.stream cimport stream_receive, stream_send_pieces
from native.text cimport format_hex, put, put_text

cdef enum:
    MAX_RESPONSE_LINE = 8192
    MAX_RESPONSE_HEAD = 32768
    MAX_PIECES = 256             # sent in one system call
    COPIED_BODY = 4096           # up to so much body is copied behind the head: cheaper than a second piece

cdef int64_t receive_more(Exchange* exchange) noexcept nogil:
    """recv into upstream.input. Bytes, 0 at the end of the stream, or -errno; -EAGAIN when there is nothing."""
    cdef Upstream* upstream = exchange.upstream
    cdef Buffer* input = upstream.input
    cdef int64_t count
    if not upstream.endpoint.readable:
        return -EAGAIN
    if input == NULL:
        upstream.input = input = buffer_take(&exchange.worker.buffers, LARGE_BUFFER)
        if input == NULL:
            return -1
    count = stream_receive(&upstream.endpoint, &input.data[0] + input.end, buffer_room(input))
    if count > 0:
        input.end += <uint32_t> count
    return count


# --- head ------------------------------------------------------------------------------------------------------------
cdef int receive_response_head(Exchange* exchange) noexcept nogil:
    cdef Upstream* upstream = exchange.upstream
    cdef Buffer* input
    cdef HeadLimits limits
    cdef int64_t count
    cdef int result
    limits.max_line = MAX_RESPONSE_LINE
    limits.max_head = MAX_RESPONSE_HEAD
    while True:
        input = upstream.input
        if input != NULL and buffer_length(input) > exchange.response.scanned:
            result = parse_response_head(&input.data[0] + input.start, buffer_length(input),
                                         &exchange.response, &limits)
            if result == HEAD_COMPLETE:
                return RESPONSE_HEAD
            if result != HEAD_INCOMPLETE:
                return RESPONSE_MALFORMED
            if buffer_room(input) == 0:
                return RESPONSE_MALFORMED
        count = receive_more(exchange)
        if count == -EAGAIN:
            return RESPONSE_WAITING
        if count <= 0:
            return RESPONSE_CLOSED


cdef void drop_interim(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.upstream.input
    cdef uint32_t length
    input.start += exchange.response.parsed
    length = buffer_length(input)
    if length:
        memmove(&input.data[0], &input.data[0] + input.start, length)
    input.start = 0
    input.end = length
    response_head_reset(&exchange.response)


cdef void frame_response(Exchange* exchange) noexcept nogil:
    """Which body the message has (RFC 9112 §6.3), and whether the client gets it in chunks, by length or until close."""
    exchange.response_body = exchange.response.body_kind
    exchange.response_left = exchange.response.content_length
    if exchange.sent_method == METHOD_HEAD or exchange.response.status == 204 or exchange.response.status == 304:
        exchange.response_body = BODY_NONE
        if exchange.request.method != METHOD_HEAD and exchange.sent_method == METHOD_HEAD:
            exchange.response.has_content_length = 1     # what a plugin asked for has no body, whatever the length says
            exchange.response.content_length = 0
    elif exchange.request.method == METHOD_HEAD:
        # a plugin asked for more than the client: the body goes no further, and neither does the connection
        exchange.response_body = BODY_NONE
        exchange.response.keep_alive = 0
    elif exchange.response_body == BODY_LENGTH and exchange.response_left == 0:
        exchange.response_body = BODY_NONE
    if exchange.response_body == BODY_CHUNKED or exchange.response_body == BODY_UNTIL_CLOSE:
        if exchange.request.minor_version == 1:
            exchange.flags |= EXCHANGE_CHUNK_RESPONSE
        else:
            exchange.flags |= EXCHANGE_CLOSE_CLIENT
    if exchange.response_body == BODY_NONE:
        exchange.flags |= EXCHANGE_RESPONSE_COMPLETE


# --- body ------------------------------------------------------------------------------------------------------------
cdef bint frame_piece(Exchange* exchange, uint32_t length) noexcept nogil:
    """Queue `length` body bytes at the front of upstream.input for the client, with chunk framing if it gets chunks."""
    cdef Buffer* input = exchange.upstream.input
    cdef uint8_t size_line[24]
    cdef uint32_t size_length
    cdef bint last = (exchange.flags & EXCHANGE_RESPONSE_COMPLETE) != 0
    cdef bint copied = length <= COPIED_BODY
    if not reserve_out(exchange, 64 + (length if copied else 0)):
        return False
    if exchange.flags & EXCHANGE_CHUNK_RESPONSE and length:
        size_length = format_hex(length, size_line)
        size_line[size_length] = 13
        size_line[size_length + 1] = 10
        put(exchange.out, size_line, size_length + 2)
    exchange.body_sent += length
    exchange.relay_suffix = NULL
    exchange.relay_suffix_length = 0
    if copied:
        if length:
            put(exchange.out, &input.data[0] + input.start, length)
            input.start += length
        if exchange.flags & EXCHANGE_CHUNK_RESPONSE:
            if length:
                put_text(exchange.out, b"\r\n")
            if last:
                put_text(exchange.out, b"0\r\n\r\n")
        return True
    exchange.relay_length = length
    if exchange.flags & EXCHANGE_CHUNK_RESPONSE:
        exchange.relay_suffix = b"\r\n0\r\n\r\n" if last else b"\r\n"
        exchange.relay_suffix_length = 7 if last else 2
    return True


cdef void record_piece(Exchange* exchange, uint32_t length) noexcept nogil:
    """Store `length` body bytes at the front of upstream.input on their way."""
    cdef Buffer* input = exchange.upstream.input
    if length:
        cache_body(exchange, &input.data[0] + input.start, length)
    if exchange.flags & EXCHANGE_RESPONSE_COMPLETE and exchange.flags & EXCHANGE_RECORDS:
        cache_complete(exchange)


cdef bint decode_body(Exchange* exchange, uint32_t* size) noexcept nogil:
    """Make body bytes of what lies in upstream.input: `size` of them at its front. False: not what it should be."""
    cdef Buffer* input = exchange.upstream.input
    cdef uint32_t length = buffer_length(input)
    cdef uint32_t consumed = 0
    cdef uint32_t produced = 0
    cdef int result
    if exchange.response_body == BODY_LENGTH:
        produced = length
        if produced >= exchange.response_left:
            produced = <uint32_t> exchange.response_left
            exchange.flags |= EXCHANGE_RESPONSE_COMPLETE
        exchange.response_left -= produced
    elif exchange.response_body == BODY_CHUNKED:
        result = chunk_decode(&exchange.response_chunks, &input.data[0] + input.start, length, &consumed, &produced)
        if result == CHUNK_ERROR:
            return False
        if result == CHUNK_DONE:
            exchange.flags |= EXCHANGE_RESPONSE_COMPLETE
            if consumed < length:
                # bytes behind the message: this connection is not used again
                exchange.response.keep_alive = 0
        input.end = input.start + produced
    else:
        produced = length
    size[0] = produced
    if exchange.flags & EXCHANGE_RECORDS:
        record_piece(exchange, produced)
    return True


cdef int take_body(Exchange* exchange) noexcept nogil:
    """Turn what lies in upstream.input into a piece for the client."""
    cdef uint32_t produced = 0
    if not decode_body(exchange, &produced):
        return RESPONSE_MALFORMED
    if produced == 0 and not exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
        return RESPONSE_WAITING
    return RESPONSE_DATA if frame_piece(exchange, produced) else RESPONSE_CLOSED


cdef int relay_first(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.upstream.input
    input.start += exchange.response.parsed
    if exchange.flags & EXCHANGE_RESPONSE_COMPLETE:      # no body
        return RESPONSE_DATA
    if buffer_length(input) == 0:
        return RESPONSE_WAITING
    return take_body(exchange)


cdef inline int receive_piece(Exchange* exchange) noexcept nogil:
    """Read more of the body; nothing that is in the buffer is needed any more. RESPONSE_DATA: there is some, or the
    message has ended with the stream (EXCHANGE_RESPONSE_COMPLETE)."""
    cdef Buffer* input = exchange.upstream.input
    cdef int64_t count
    if input != NULL:
        input.start = 0
        input.end = 0
    count = receive_more(exchange)
    if count == -EAGAIN:
        return RESPONSE_WAITING
    if count < 0:
        return RESPONSE_CLOSED
    if count == 0:
        # a reset looks like an end when sending has met with it before: the kernel tells an error once
        if exchange.response_body != BODY_UNTIL_CLOSE or exchange.upstream.endpoint.failed:
            return RESPONSE_CLOSED
        exchange.flags |= EXCHANGE_RESPONSE_COMPLETE
        if exchange.flags & EXCHANGE_RECORDS:
            cache_complete(exchange)
    return RESPONSE_DATA


cdef int relay_response(Exchange* exchange) noexcept nogil:
    cdef int result
    while True:
        # everything before has been flushed
        result = receive_piece(exchange)
        if result != RESPONSE_DATA:
            return result
        if exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
            return RESPONSE_DATA if frame_piece(exchange, 0) else RESPONSE_CLOSED
        result = take_body(exchange)
        if result != RESPONSE_WAITING:
            return result


# --- holding the body for a step -------------------------------------------------------------------------------------
cdef bint begin_hold(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.upstream.input
    cdef BufferStock* stock = &exchange.worker.buffers
    exchange.held_head = buffer_take(stock, exchange.response.parsed)
    exchange.held = buffer_take(stock, <uint32_t> exchange.response_left + 1 if exchange.response_body == BODY_LENGTH
                                else SMALL_BUFFER)
    if exchange.held_head == NULL or exchange.held == NULL:
        return False
    put(exchange.held_head, &input.data[0] + input.start, exchange.response.parsed)
    input.start += exchange.response.parsed
    exchange.flags |= EXCHANGE_HOLDS_RESPONSE
    return True


cdef bint keep_piece(Exchange* exchange, uint32_t length) noexcept nogil:
    """Move `length` body bytes from the front of upstream.input to what is held. False: memory is out."""
    cdef Buffer* input = exchange.upstream.input
    cdef Buffer* held = exchange.held
    if buffer_room(held) < length:
        held = buffer_take(&exchange.worker.buffers, 2 * held.end + length)
        if held == NULL:
            return False
        put(held, &exchange.held.data[0], exchange.held.end)
        buffer_give(&exchange.worker.buffers, exchange.held)
        exchange.held = held
    put(held, &input.data[0] + input.start, length)
    input.start += length
    if held.end > exchange.settings.plugin_body_limit:
        exchange.flags |= EXCHANGE_RESPONSE_OVER
    return True


cdef int hold_response(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.upstream.input
    cdef uint32_t produced
    cdef int result
    while not exchange.flags & (EXCHANGE_RESPONSE_COMPLETE | EXCHANGE_RESPONSE_OVER):
        if input != NULL and buffer_length(input):
            produced = 0
            if not decode_body(exchange, &produced):
                return RESPONSE_MALFORMED
            if produced and not keep_piece(exchange, produced):
                return RESPONSE_CLOSED
            if exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
                return RESPONSE_DATA
            input.start = 0
            input.end = 0
            continue
        result = receive_piece(exchange)
        if result != RESPONSE_DATA:
            return result
        input = exchange.upstream.input
    return RESPONSE_DATA


cdef bint may_have_body(Exchange* exchange) noexcept nogil:
    return exchange.request.method != METHOD_HEAD and exchange.response.status != 204 \
        and exchange.response.status != 304


cdef void frame_held(Exchange* exchange) noexcept nogil:
    """The length of a body that is held is known, unless more of it is to come."""
    if not may_have_body(exchange) \
            or (exchange.flags & EXCHANGE_RESPONSE_OVER and not exchange.flags & EXCHANGE_RESPONSE_COMPLETE):
        return
    exchange.response.has_content_length = 1
    exchange.response.content_length = buffer_length(exchange.held)
    exchange.flags &= ~<uint32_t> EXCHANGE_CHUNK_RESPONSE


cdef void frame_changed(Exchange* exchange) noexcept nogil:
    """Steps may have taken the body, or changed the status from one that has a body to one that has none, or back."""
    if exchange.response.status == 101 or exchange.request.method == METHOD_HEAD:
        return
    if not may_have_body(exchange):
        # what the upstream sends as a body would be read as the next response
        if not exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
            exchange.response.keep_alive = 0
        exchange.response_body = BODY_NONE
        exchange.flags |= EXCHANGE_RESPONSE_COMPLETE
        exchange.flags &= ~<uint32_t> EXCHANGE_CHUNK_RESPONSE
    elif exchange.held_head != NULL:
        frame_held(exchange)
    elif exchange.response_body == BODY_NONE:
        exchange.response.has_content_length = 1
        exchange.response.content_length = 0


cdef int relay_held(Exchange* exchange) noexcept nogil:
    cdef Buffer* held = exchange.held
    cdef uint32_t length = buffer_length(held) if may_have_body(exchange) else 0
    cdef uint8_t size_line[24]
    cdef bint chunks = exchange.flags & EXCHANGE_CHUNK_RESPONSE and length
    if not reserve_out(exchange, 64 + length):
        return RESPONSE_CLOSED
    if chunks:
        put(exchange.out, size_line, format_hex(length, size_line))
        put_text(exchange.out, b"\r\n")
    put(exchange.out, &held.data[0] + held.start, length)
    if chunks:
        put_text(exchange.out, b"\r\n")
    exchange.body_sent += length
    return RESPONSE_DATA


cdef bint upstream_reusable(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.upstream.input
    return exchange.flags & EXCHANGE_RESPONSE_COMPLETE and exchange.flags & EXCHANGE_REQUEST_SENT \
        and exchange.response.keep_alive and exchange.response_body != BODY_UNTIL_CLOSE \
        and (input == NULL or buffer_length(input) == 0)


# --- to the client ---------------------------------------------------------------------------------------------------
cdef bint flush_pending(Exchange* exchange) noexcept nogil:
    return (exchange.out != NULL and buffer_length(exchange.out) > 0) \
        or exchange.relay_length > 0 or exchange.relay_suffix_length > 0 or exchange.stored_left > 0


cdef int collect_pieces(Exchange* exchange, iovec* pieces) noexcept nogil:
    """What waits for the client, in its order. Of a stored body as much as there are pieces for."""
    cdef int count = 0
    cdef Buffer* input
    cdef uint32_t out_length = buffer_length(exchange.out) if exchange.out != NULL else 0
    if out_length:
        pieces[0].iov_base = &exchange.out.data[0] + exchange.out.start
        pieces[0].iov_len = out_length
        count = 1
    if exchange.relay_length:
        input = exchange.upstream.input
        pieces[count].iov_base = &input.data[0] + input.start
        pieces[count].iov_len = exchange.relay_length
        count += 1
    if exchange.relay_suffix_length:
        pieces[count].iov_base = <void*> exchange.relay_suffix
        pieces[count].iov_len = exchange.relay_suffix_length
        count += 1
    if exchange.stored_left:
        count += cache_pieces(&exchange.worker.cache, exchange.stored, exchange.stored_offset, exchange.stored_left,
                              pieces + count, MAX_PIECES - count)
    return count


cdef void advance_pieces(Exchange* exchange, uint64_t sent) noexcept nogil:
    """The client has taken so many bytes."""
    cdef uint32_t out_length = buffer_length(exchange.out) if exchange.out != NULL else 0
    exchange.response_bytes += sent
    if sent < out_length:
        exchange.out.start += <uint32_t> sent
        return
    if out_length:
        exchange.out.start = 0
        exchange.out.end = 0
        sent -= out_length
    if sent < exchange.relay_length:
        exchange.upstream.input.start += <uint32_t> sent
        exchange.relay_length -= <uint32_t> sent
        return
    if exchange.relay_length:
        exchange.upstream.input.start += exchange.relay_length
        sent -= exchange.relay_length
        exchange.relay_length = 0
    if sent < exchange.relay_suffix_length:
        exchange.relay_suffix += sent
        exchange.relay_suffix_length -= <uint32_t> sent
        return
    sent -= exchange.relay_suffix_length
    exchange.relay_suffix_length = 0
    exchange.stored_offset += sent
    exchange.stored_left -= sent


cdef void drop_pieces(Exchange* exchange) noexcept nogil:
    """Nobody is there to take what waits."""
    if exchange.out != NULL:
        exchange.out.start = 0
        exchange.out.end = 0
    if exchange.relay_length:
        exchange.upstream.input.start += exchange.relay_length
    exchange.relay_length = 0
    exchange.relay_suffix_length = 0
    exchange.stored_left = 0


cdef int flush_client(Exchange* exchange) noexcept nogil:
    cdef iovec pieces[MAX_PIECES]
    cdef int64_t sent
    cdef int count
    if exchange.flags & EXCHANGE_BACKGROUND:
        drop_pieces(exchange)
        return FLUSH_DONE
    while flush_pending(exchange):
        if not exchange.client.endpoint.writable:
            return FLUSH_BLOCKED
        count = collect_pieces(exchange, pieces)
        if count == 0:                                   # a stored body that cannot be found: cannot be, being pinned
            return FLUSH_FAILED
        sent = stream_send_pieces(&exchange.client.endpoint, pieces, count)
        if sent == -EAGAIN:
            return FLUSH_BLOCKED
        if sent < 0:
            return FLUSH_FAILED
        advance_pieces(exchange, <uint64_t> sent)
    return FLUSH_DONE
