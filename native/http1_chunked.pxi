# Chunked transfer coding (RFC 9112 §7.1); included by http1.pyx.


cdef void chunk_decoder_reset(ChunkDecoder* decoder) noexcept nogil:
    memset(decoder, 0, sizeof(ChunkDecoder))


cdef inline uint8_t hex_value(uint8_t byte) noexcept nogil:
    """The value of a hex digit."""
    return byte - 48 if byte <= 57 else (byte | 0x20) - 87


cdef inline bint read_trailer_byte(ChunkDecoder* decoder, uint8_t byte) noexcept nogil:
    """Step through the trailer section, whose lines have the grammar of field lines; False when it is broken."""
    cdef uint8_t line_state = decoder.line_state
    decoder.trailer_bytes += 1
    if decoder.trailer_bytes > MAX_TRAILER_SECTION:
        return False
    if line_state == TRAILER_VALUE:
        if byte == c"\r":
            decoder.line_state = TRAILER_LINE_LF
            return True
        return BYTE_CLASS[byte] & IS_FIELD_VALUE != 0
    if line_state == TRAILER_NAME:
        if byte == c":":
            decoder.line_state = TRAILER_VALUE
            return True
        return BYTE_CLASS[byte] & IS_TOKEN != 0
    if line_state == TRAILER_LINE_START:
        if byte == c"\r":
            decoder.line_state = TRAILER_LAST_LF
            return True
        decoder.line_state = TRAILER_NAME
        return BYTE_CLASS[byte] & IS_TOKEN != 0
    if byte != c"\n":
        return False
    if line_state == TRAILER_LAST_LF:
        decoder.state = CHUNK_FINISHED
    decoder.line_state = TRAILER_LINE_START
    return True


cdef inline bint read_frame_byte(ChunkDecoder* decoder, uint8_t byte) noexcept nogil:
    """Step through what stands between the chunks' data: CRLF, size, CRLF. False when it is broken."""
    cdef uint8_t state = decoder.state
    if state == CHUNK_SIZE:
        if byte == c"\r":
            decoder.state = CHUNK_SIZE_LF
            return decoder.digits > 0
        # Anything else, such as white space or ";" of an extension, is refused: nobody needs it, and servers that
        # skip it differently disagree about where the message ends.
        if not BYTE_CLASS[byte] & IS_HEX or decoder.digits == MAX_CHUNK_SIZE_DIGITS:
            return False
        decoder.digits += 1
        decoder.remaining = decoder.remaining << 4 | hex_value(byte)
        return decoder.remaining <= MAX_BODY
    if state == CHUNK_SIZE_LF:
        decoder.state = CHUNK_DATA if decoder.remaining > 0 else CHUNK_TRAILER
        decoder.digits = 0
        return byte == c"\n"
    if state == CHUNK_DATA_CR:
        decoder.state = CHUNK_DATA_LF
        return byte == c"\r"
    decoder.state = CHUNK_SIZE
    return byte == c"\n"


cdef int chunk_decode(ChunkDecoder* decoder, uint8_t* data, uint32_t length,
                      uint32_t* consumed, uint32_t* produced) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t kept = 0  # body bytes gathered at the front
    cdef uint32_t size
    cdef bint good = decoder.state != CHUNK_FAILED
    while good and i < length and decoder.state != CHUNK_FINISHED:
        if decoder.state == CHUNK_DATA:
            size = length - i
            if decoder.remaining < size:
                size = <uint32_t> decoder.remaining
            if kept != i:
                memmove(data + kept, data + i, size)
            kept += size
            i += size
            decoder.remaining -= size
            if decoder.remaining == 0:
                decoder.state = CHUNK_DATA_CR
        else:
            if decoder.state == CHUNK_TRAILER:
                good = read_trailer_byte(decoder, data[i])
            else:
                good = read_frame_byte(decoder, data[i])
            i += 1
    consumed[0] = i
    produced[0] = kept
    if not good:
        decoder.state = CHUNK_FAILED
        return CHUNK_ERROR
    return CHUNK_DONE if decoder.state == CHUNK_FINISHED else CHUNK_MORE
