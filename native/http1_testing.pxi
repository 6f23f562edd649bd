# What unit tests and the fuzzer call; included by http1.pyx.

from libc.stdlib cimport free, malloc


cdef bytes part(bytes data, uint32_t offset, uint32_t length, uint32_t parsed):
    """data[offset:offset + length], which must lie in the head."""
    if <uint64_t> offset + length > parsed or parsed > <size_t> len(data):
        raise AssertionError(f"bytes {offset}+{length} lie outside a head of {parsed} bytes in {len(data)}")
    return data[offset:offset + length]


cdef list listed_headers(bytes data, uint32_t parsed, const HeaderField* headers, uint16_t count):
    return [
        {
            "name": part(data, headers[i].name_offset, headers[i].name_length, parsed),
            "value": part(data, headers[i].value_offset, headers[i].value_length, parsed),
            "known": headers[i].known,
            "flags": headers[i].flags,
        }
        for i in range(count)
    ]


cdef list piece_ends(Py_ssize_t length, chunk_sizes):
    """Where each piece of a message ends when it arrives in pieces of these sizes and then the rest at once."""
    ends = []
    end = 0
    for size in chunk_sizes or ():
        end = min(end + size, length)
        ends.append(end)
    if end < length or not ends:
        ends.append(length)
    return ends


cdef uint8_t* copy_exactly(bytes data, Py_ssize_t start, Py_ssize_t end) except NULL:
    """A copy without a spare byte after it, so that AddressSanitizer sees any read beyond. The caller frees it."""
    cdef const uint8_t* source = data
    cdef uint8_t* copy = <uint8_t*> malloc(end - start if end > start else 1)
    if copy == NULL:
        raise MemoryError
    memcpy(copy, source + start, end - start)
    return copy


def parse_request(data: bytes, chunk_sizes=None, max_line: int = 8192, max_head: int = 32768) -> dict | int:
    """Feed `data` in pieces, each time as a new copy of all bytes so far; the head, or what the parser answered."""
    cdef RequestHead head
    cdef HeadLimits limits = HeadLimits(max_line, max_head)
    cdef uint8_t* copy
    cdef Py_ssize_t end
    cdef int result = HEAD_INCOMPLETE
    request_head_reset(&head)
    for end in piece_ends(len(data), chunk_sizes):
        copy = copy_exactly(data, 0, end)
        with nogil:
            result = parse_request_head(copy, <uint32_t> end, &head, &limits)
        free(copy)
        if result != HEAD_INCOMPLETE:
            break
    if result != HEAD_COMPLETE:
        return result
    return {
        "parsed": head.parsed,
        "method": part(data, head.method_offset, head.method_length, head.parsed),
        "method_id": Method(head.method),
        "target": part(data, head.target_offset, head.target_length, head.parsed),
        "target_form": TargetForm(head.target_form),
        "path": part(data, head.path_offset, head.path_length, head.parsed),
        "query": part(data, head.query_offset, head.query_length, head.parsed) if head.has_query else None,
        "minor_version": head.minor_version,
        "host": part(data, head.host_offset, head.host_length, head.parsed) if head.has_host else None,
        "authority": part(data, head.authority_offset, head.authority_length, head.parsed) if head.has_host else None,
        "port": head.port,
        "body_kind": BodyKind(head.body_kind),
        "content_length": head.content_length if head.has_content_length else None,
        "keep_alive": bool(head.keep_alive),
        "expect_continue": bool(head.expect_continue),
        "upgrade": bool(head.upgrade),
        "upgrade_websocket": bool(head.upgrade_websocket),
        "te_trailers": bool(head.te_trailers),
        "headers": listed_headers(data, head.parsed, head.headers, head.header_count),
    }


def parse_response(data: bytes, chunk_sizes=None, max_line: int = 8192, max_head: int = 32768) -> dict | int:
    """As parse_request(), for a response head."""
    cdef ResponseHead head
    cdef HeadLimits limits = HeadLimits(max_line, max_head)
    cdef uint8_t* copy
    cdef Py_ssize_t end
    cdef int result = HEAD_INCOMPLETE
    response_head_reset(&head)
    for end in piece_ends(len(data), chunk_sizes):
        copy = copy_exactly(data, 0, end)
        with nogil:
            result = parse_response_head(copy, <uint32_t> end, &head, &limits)
        free(copy)
        if result != HEAD_INCOMPLETE:
            break
    if result != HEAD_COMPLETE:
        return result
    return {
        "parsed": head.parsed,
        "minor_version": head.minor_version,
        "status": head.status,
        "reason": part(data, head.reason_offset, head.reason_length, head.parsed),
        "body_kind": BodyKind(head.body_kind),
        "content_length": head.content_length if head.has_content_length else None,
        "keep_alive": bool(head.keep_alive),
        "upgrade": bool(head.upgrade),
        "headers": listed_headers(data, head.parsed, head.headers, head.header_count),
    }


def decode_chunked(data: bytes, chunk_sizes=None) -> tuple[int, bytes, int]:
    """Feed `data` in pieces of these sizes: (ChunkResult, body, bytes consumed)."""
    cdef ChunkDecoder decoder
    cdef uint32_t consumed = 0
    cdef uint32_t produced = 0
    cdef uint8_t* copy
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end
    cdef int result = CHUNK_MORE
    total = 0
    body = []
    chunk_decoder_reset(&decoder)
    for end in piece_ends(len(data), chunk_sizes):
        copy = copy_exactly(data, start, end)
        with nogil:
            result = chunk_decode(&decoder, copy, <uint32_t> (end - start), &consumed, &produced)
        body.append((<char*> copy)[:produced])
        free(copy)
        total += consumed
        if result != CHUNK_MORE:
            break
        if consumed != end - start:
            raise AssertionError("chunk_decode wants more without having used all input")
        start = end
    return result, b"".join(body), total
