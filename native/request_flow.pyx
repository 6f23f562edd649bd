from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from native.connection cimport (
    EXCHANGE_ANY_SENT,
    EXCHANGE_BODY_COMPLETE,
    EXCHANGE_CHUNK_REQUEST,
    EXCHANGE_REPLAYABLE,
    EXCHANGE_REQUEST_SENT,
    EXCHANGE_WANTS_BODY,
    Downstream,
    Upstream,
)
from native.downstream cimport ensure_input_room
from native.http1 cimport BODY_CHUNKED, BODY_LENGTH, CHUNK_DONE, CHUNK_ERROR, chunk_decode
from native.memory cimport LARGE_BUFFER, Buffer, buffer_length, buffer_room, buffer_take
from native.sockets cimport iovec
from native.stream cimport stream_receive, stream_send_pieces
from native.text cimport format_hex

cdef enum:
    # room kept in client.input for what follows a chunked body in the same packet
    PIPELINE_ROOM = 4096


cdef void body_complete(Exchange* exchange) noexcept nogil:
    exchange.flags |= EXCHANGE_BODY_COMPLETE


cdef bint over_limit(Exchange* exchange) noexcept nogil:
    cdef uint64_t limit = exchange.settings.client_max_body_size
    return exchange.body_received > exchange.body_limit or (limit != 0 and exchange.body_received > limit)


cdef uint64_t held_body_limit(Exchange* exchange) noexcept nogil:
    """How long a body may be that is held as a whole: for a retry, or for a plugin."""
    cdef uint64_t limit = exchange.settings.client_body_buffer_size
    if exchange.flags & EXCHANGE_WANTS_BODY and exchange.settings.plugin_body_limit > limit:
        return exchange.settings.plugin_body_limit
    return limit


cdef bint take_body_buffer(Exchange* exchange, uint64_t expected) noexcept nogil:
    """A buffer for the body: as large as the body if it may be held for a retry, else for relaying."""
    cdef uint64_t held = held_body_limit(exchange)
    cdef uint64_t wanted = expected if expected <= held else held
    if wanted < LARGE_BUFFER and expected > wanted:
        wanted = LARGE_BUFFER
    exchange.body = buffer_take(&exchange.worker.buffers, <uint32_t> wanted)
    return exchange.body != NULL


cdef int start_length_body(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.client.input
    cdef uint64_t expected = exchange.request.content_length
    cdef uint32_t available = buffer_length(input) - exchange.request.parsed
    cdef uint8_t* place = &input.data[0] + input.start + exchange.request.parsed
    if available >= expected:
        exchange.segment = place
        exchange.segment_length = <uint32_t> expected
        exchange.body_received = expected
        exchange.request_bytes += expected
        exchange.input_used += <uint32_t> expected
        body_complete(exchange)
        return BODY_FINISHED
    if not take_body_buffer(exchange, expected):
        return BODY_NO_MEMORY
    # client.input holds the head until the end: only what came with it is copied out
    memcpy(&exchange.body.data[0], place, available)
    exchange.body.end = available
    exchange.segment = &exchange.body.data[0]
    exchange.segment_length = available
    exchange.body_received = available
    exchange.request_bytes += available
    exchange.body_left = expected - available
    input.end -= available
    return receive_body(exchange)


cdef int start_chunked_body(Exchange* exchange) noexcept nogil:
    cdef Buffer* input = exchange.client.input
    cdef uint32_t available = buffer_length(input) - exchange.request.parsed
    cdef uint8_t* place = &input.data[0] + input.start + exchange.request.parsed
    cdef uint32_t consumed = 0
    cdef uint32_t produced = 0
    cdef int result = chunk_decode(&exchange.request_chunks, place, available, &consumed, &produced)
    exchange.request_bytes += consumed
    exchange.body_received = produced
    if result == CHUNK_ERROR:
        return BODY_MALFORMED
    if over_limit(exchange):
        return BODY_TOO_LARGE
    if result == CHUNK_DONE:
        exchange.segment = place
        exchange.segment_length = produced
        exchange.input_used += consumed
        body_complete(exchange)
        return BODY_FINISHED
    # room for the largest body that is held, and for framing around it while it arrives
    if not take_body_buffer(exchange, LARGE_BUFFER + held_body_limit(exchange)):
        return BODY_NO_MEMORY
    memcpy(&exchange.body.data[0], place, produced)
    exchange.body.end = produced
    exchange.segment = &exchange.body.data[0]
    exchange.segment_length = produced
    input.end -= available
    if not ensure_input_room(exchange.client, PIPELINE_ROOM):
        return BODY_NO_MEMORY
    return receive_body(exchange)


cdef int start_body(Exchange* exchange) noexcept nogil:
    if exchange.request.body_kind == BODY_LENGTH:
        return start_length_body(exchange)
    return start_chunked_body(exchange)


cdef int take_chunks(Exchange* exchange, uint32_t count) noexcept nogil:
    """Decode `count` bytes just read to the end of the body buffer. What follows the body goes back to client.input."""
    cdef Buffer* body = exchange.body
    cdef Buffer* input = exchange.client.input
    cdef uint8_t* place = &body.data[0] + body.end
    cdef uint32_t consumed = 0
    cdef uint32_t produced = 0
    cdef int result = chunk_decode(&exchange.request_chunks, place, count, &consumed, &produced)
    exchange.request_bytes += consumed
    exchange.body_received += produced
    if result == CHUNK_ERROR:
        return BODY_MALFORMED
    if over_limit(exchange):
        return BODY_TOO_LARGE
    if result == CHUNK_DONE:
        memcpy(&input.data[0] + input.end, place + consumed, count - consumed)
        input.end += count - consumed
        body_complete(exchange)
    body.end += produced
    exchange.segment_length = body.end
    return BODY_FINISHED if result == CHUNK_DONE else BODY_WAITING


cdef int receive_body(Exchange* exchange) noexcept nogil:
    cdef Downstream* client = exchange.client
    cdef Buffer* body = exchange.body
    cdef uint32_t room
    cdef int64_t count
    cdef int result
    while client.endpoint.readable:
        room = buffer_room(body)
        if exchange.request.body_kind == BODY_LENGTH:
            if room > exchange.body_left:
                room = <uint32_t> exchange.body_left
        elif room > buffer_room(client.input):
            room = buffer_room(client.input)
        # a piece that is being sent in chunked coding must not grow
        if room == 0 or exchange.segment_framed:
            return BODY_FULL
        count = stream_receive(&client.endpoint, &body.data[0] + body.end, room)
        if count == -EAGAIN:
            return BODY_WAITING
        if count <= 0:
            return BODY_CLIENT_GONE
        if exchange.request.body_kind == BODY_CHUNKED:
            result = take_chunks(exchange, <uint32_t> count)
            if result != BODY_WAITING:
                return result
            continue
        body.end += <uint32_t> count
        exchange.segment_length = body.end
        exchange.body_received += <uint64_t> count
        exchange.request_bytes += <uint64_t> count
        exchange.body_left -= <uint64_t> count
        if exchange.body_left == 0:
            body_complete(exchange)
            return BODY_FINISHED
    return BODY_WAITING


# --- sending ---------------------------------------------------------------------------------------------------------
cdef void frame_segment(Exchange* exchange) noexcept nogil:
    """Chunk framing around the current piece: its size in front, CRLF behind, and the last chunk after the last."""
    exchange.prefix_length = 0
    exchange.suffix_length = 0
    if exchange.segment_length > 0:
        exchange.prefix_length = <uint8_t> format_hex(exchange.segment_length, exchange.prefix)
        exchange.prefix[exchange.prefix_length] = 13
        exchange.prefix[exchange.prefix_length + 1] = 10
        exchange.prefix_length += 2
        memcpy(exchange.suffix, b"\r\n", 2)
        exchange.suffix_length = 2
    if exchange.flags & EXCHANGE_BODY_COMPLETE:
        memcpy(exchange.suffix + exchange.suffix_length, b"0\r\n\r\n", 5)
        exchange.suffix_length += 5
    exchange.segment_framed = 1


cdef void add_piece(iovec* pieces, int* count, const uint8_t* data, uint32_t length, uint32_t* skip) noexcept nogil:
    """Append data[skip:] to the pieces; `skip` counts down what was sent before."""
    if skip[0] >= length:
        skip[0] -= length
        return
    pieces[count[0]].iov_base = <void*> (data + skip[0])
    pieces[count[0]].iov_len = length - skip[0]
    skip[0] = 0
    count[0] += 1


cdef int64_t send_pieces(Exchange* exchange) noexcept nogil:
    """One system call for whatever is left of head, prefix, piece and suffix."""
    cdef iovec pieces[4]
    cdef int count = 0
    cdef uint32_t skip = exchange.request_out_sent
    add_piece(pieces, &count, &exchange.request_out.data[0], exchange.request_out.end, &skip)
    skip = exchange.segment_sent
    add_piece(pieces, &count, exchange.prefix, exchange.prefix_length, &skip)
    add_piece(pieces, &count, exchange.segment, exchange.segment_length, &skip)
    add_piece(pieces, &count, exchange.suffix, exchange.suffix_length, &skip)
    return stream_send_pieces(&exchange.upstream.endpoint, pieces, count)


cdef void reuse_body_buffer(Exchange* exchange) noexcept nogil:
    """Everything in the buffer is sent and more is to come: what it held cannot be sent a second time."""
    exchange.flags &= ~<uint32_t> EXCHANGE_REPLAYABLE
    exchange.body.start = 0
    exchange.body.end = 0
    exchange.segment_length = 0
    exchange.segment_sent = 0
    exchange.segment_framed = 0
    exchange.prefix_length = 0
    exchange.suffix_length = 0


cdef bint last_byte_framed(Exchange* exchange) noexcept nogil:
    """The body's last piece is (or needs not be) closed by the last chunk."""
    return not exchange.flags & EXCHANGE_CHUNK_REQUEST or exchange.suffix_length >= 5


cdef int send_request(Exchange* exchange) noexcept nogil:
    cdef Upstream* upstream = exchange.upstream
    cdef uint32_t head_left, body_left
    cdef int64_t count
    while True:
        if exchange.flags & EXCHANGE_CHUNK_REQUEST and not exchange.segment_framed \
                and (exchange.segment_length > 0 or exchange.flags & EXCHANGE_BODY_COMPLETE):
            frame_segment(exchange)
        head_left = exchange.request_out.end - exchange.request_out_sent
        body_left = exchange.prefix_length + exchange.segment_length + exchange.suffix_length - exchange.segment_sent
        if head_left == 0 and body_left == 0:
            if exchange.flags & EXCHANGE_BODY_COMPLETE and last_byte_framed(exchange):
                exchange.flags |= EXCHANGE_REQUEST_SENT
                return SEND_FINISHED
            if exchange.segment_length > 0:
                reuse_body_buffer(exchange)
            if not exchange.flags & EXCHANGE_BODY_COMPLETE:
                return SEND_HUNGRY
            continue
        if not upstream.endpoint.writable:
            return SEND_BLOCKED
        count = send_pieces(exchange)
        if count == -EAGAIN:
            return SEND_BLOCKED
        if count < 0:
            return SEND_FAILED
        exchange.flags |= EXCHANGE_ANY_SENT
        if <uint64_t> count <= head_left:
            exchange.request_out_sent += <uint32_t> count
        else:
            exchange.request_out_sent += head_left
            exchange.segment_sent += <uint32_t> count - head_left


cdef void rewind_request(Exchange* exchange) noexcept nogil:
    exchange.request_out_sent = 0
    exchange.segment_sent = 0
    exchange.segment_framed = 0
    exchange.prefix_length = 0
    exchange.suffix_length = 0
    exchange.flags &= ~<uint32_t> (EXCHANGE_REQUEST_SENT | EXCHANGE_ANY_SENT)
