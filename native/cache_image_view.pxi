# Images and entries from Python: for the plugin thread, the Admin API and tests.


cdef str key_text(const uint64_t* words):
    return "".join(f"{words[i]:016x}" for i in range(4))


cdef CacheKey key_of(str text) except *:
    cdef CacheKey key
    cdef int i
    if len(text) != 64:
        raise ValueError("a key has 64 hex digits")
    for i in range(4):
        key.words[i] = int(text[16 * i:16 * i + 16], 16)
    return key


cdef list fields_of(const uint8_t* text, const HeaderField* fields, uint32_t count):
    found = []
    cdef uint32_t i
    for i in range(count):
        name = (<const char*> text + fields[i].name_offset)[:fields[i].name_length]
        found.append((name, (<const char*> text + fields[i].value_offset)[:fields[i].value_length]))
    return found


cdef list tags_of(const uint8_t* text, const ResponseHead* response):
    cdef Text word
    cdef uint32_t i, place
    found = []
    for i in range(response.header_count):
        if is_tag_list(text, &response.headers[i]):
            place = 0
            while next_word(text_of(text + response.headers[i].value_offset, response.headers[i].value_length), &place,
                            &word):
                found.append((<const char*> word.data)[:word.length])
    return found


def read_image(bytes data not None) -> dict | None:
    """What an image says; None: it is broken."""
    cdef ImageHead image
    cdef ResponseHead response
    cdef const uint8_t* text = data
    if not open_image(text, <uint64_t> len(data), &image, &response):
        return None
    body = sizeof(ImageHead) + image.key_length + image.head_length + image.rest_length
    text += sizeof(ImageHead) + image.key_length
    return {
        "key": key_text(image.key),
        "full_key": data[sizeof(ImageHead):sizeof(ImageHead) + image.key_length],
        "status": response.status,
        "fields": fields_of(text, response.headers, response.header_count),
        "tags": tags_of(text, &response),
        "body": data[body:],
        "stored_ms": image.stored_ms,
        "keep_until_ms": image.keep_until_ms,
        "vary_count": image.vary_count,
        "fresh_until_ms": image.fresh_until_ms,
        "initial_age_ms": image.initial_age_ms,
    }


def read_full_key(bytes data not None) -> bytes | None:
    """The full key that the beginning of an image says, which is not checked any further. None: it is not there."""
    cdef ImageHead image
    cdef const char* text = data
    if len(data) < <Py_ssize_t> sizeof(ImageHead):
        return None
    memcpy(&image, text, sizeof(ImageHead))
    if memcmp(image.magic, MAGIC, 8) != 0 or image.key_length > len(data) - sizeof(ImageHead):
        return None
    return data[sizeof(ImageHead):sizeof(ImageHead) + image.key_length]


def split_question(bytes payload not None) -> tuple:
    """What VERB_FIND asks for: key as hex digits, full key."""
    cdef CacheKey key
    cdef const char* text = payload
    if len(payload) < <Py_ssize_t> sizeof(CacheKey):
        raise ValueError("a question begins with a key")
    memcpy(key.words, text, sizeof(CacheKey))
    return key_text(key.words), payload[sizeof(CacheKey):]


def read_fields(bytes prelude not None, uint32_t count) -> list | None:
    """The fields at the beginning of a stored prelude, names and values. None: it is broken."""
    cdef HeaderField fields[MAX_HEADERS]
    cdef const char* text = prelude
    cdef uint64_t table = count * sizeof(HeaderField)
    cdef uint64_t length
    cdef uint32_t i
    if count > MAX_HEADERS or table > <uint64_t> len(prelude):
        return None
    memcpy(fields, text, table)
    length = len(prelude) - table
    for i in range(count):
        if <uint64_t> fields[i].name_offset + fields[i].name_length > length \
                or <uint64_t> fields[i].value_offset + fields[i].value_length > length:
            return None
    return fields_of(<const uint8_t*> text + table, fields, count)


cdef class ImageStore:
    """The store of a gateway, as its control process uses it, whose pid must be known."""
    cdef CacheStore store
    cdef BufferStock stock
    cdef object shared

    def __init__(self, SharedState shared not None):
        self.shared = shared
        if not cache_open(shared_control(shared.base), CACHE_CONTROL, shared.control_restarts, &self.store):
            raise ValueError("there is no store")

    def __dealloc__(self):
        buffer_stock_clear(&self.stock)

    def put(self, str key not None, bytes full_key not None, bytes head not None, bytes body not None, *,
            bytes rest=b"", bint with_cookies=False, **times) -> bool:
        """Store a response whose head is this text, as if it had come from an upstream."""
        cdef CacheKey words = key_of(key)
        cdef EntryHead entry
        cdef Filling filling
        cdef ResponseHead response
        cdef HeadLimits limits
        cdef const uint8_t* text = head
        cdef const char* key_octets = full_key
        cdef const char* rest_octets = rest
        cdef const char* body_octets = body
        memset(&entry, 0, sizeof(entry))
        memset(&filling, 0, sizeof(filling))
        limits.max_line = limits.max_head = MAX_IMAGE
        response_head_reset(&response)
        if parse_response_head(text, <uint32_t> len(head), &response, &limits) != HEAD_COMPLETE:
            raise ValueError("that is no head of a response")
        entry.stored_ms = times.pop("stored_ms", 0)
        entry.keep_until_ms = times.pop("keep_until_ms")
        entry.fresh_until_ms = times.pop("fresh_until_ms", 0)
        entry.stale_while_revalidate_ms = times.pop("stale_while_revalidate_ms", 0)
        entry.stale_if_error_ms = times.pop("stale_if_error_ms", 0)
        entry.initial_age_ms = times.pop("initial_age_ms", 0)
        entry.last_modified = times.pop("last_modified", 0)
        entry.flags = times.pop("flags", 0)
        entry.vary_count = times.pop("vary_count", 0)
        entry.scope = times.pop("scope", 0)
        if times:
            raise TypeError(f"unknown: {', '.join(times)}")
        if not cache_begin(&self.store, &filling, &words, key_octets, <uint32_t> len(full_key),
                           cache_sequence(&self.store)):
            return False
        if not mark_tags(&self.store, text, &response, &entry):
            cache_discard(&self.store, &filling)
            return False
        if not store_head(&self.store, &self.stock, text, &response, &filling, &entry, with_cookies):
            return False
        entry.prelude_length += <uint32_t> len(rest)
        return cache_append(&self.store, &filling, rest_octets, <uint64_t> len(rest)) \
            and cache_append(&self.store, &filling, body_octets, <uint64_t> len(body)) \
            and cache_publish(&self.store, &filling, &entry)

    def image(self, str key not None, bytes full_key not None, int64_t keep_until_ms, int64_t now_ms=1) -> bytes | None:
        """The image of an entry. None: there is no such entry, or it is too large."""
        cdef CacheKey words = key_of(key)
        cdef StoredEntry entry
        cdef const char* key_octets = full_key
        cdef uint32_t key_length = <uint32_t> len(full_key)
        cdef Buffer* out
        cdef uint32_t room
        if not cache_find(&self.store, &words, key_octets, key_length, now_ms, &entry):
            return None
        room = image_room(&entry.head)
        out = buffer_take(&self.stock, room) if room else NULL
        if out == NULL:
            return None
        try:
            if not cache_image(&self.store, &entry, key_octets, key_length, keep_until_ms, out):
                return None
            return (<const char*> &out.data[0] + out.start)[:buffer_length(out)]
        finally:
            buffer_give(&self.stock, out)

    def take(self, bytes image not None, str key not None, bytes full_key not None, *, int64_t now_ms=1,
             int64_t life_ms=FIRST_LEVEL_MS, bint with_cookies=False, sequence=None, scope=0, marks=()) -> bool:
        """Make an image an entry."""
        cdef CacheKey words = key_of(key)
        cdef EntryHead entry
        cdef const uint8_t* octets = image
        cdef const char* key_octets = full_key
        memset(&entry, 0, sizeof(entry))
        entry.sequence = cache_sequence(&self.store) if sequence is None else sequence
        entry.scope = scope
        for place in marks:
            add_mark(&entry, place)
        return cache_import(&self.store, &self.stock, octets, <uint64_t> len(image), &words, key_octets,
                            <uint32_t> len(full_key), &entry, with_cookies, now_ms, life_ms)


# Tests compare them.
IMAGE_HEAD = sizeof(ImageHead)
LONGEST_IMAGE = MAX_IMAGE
FIRST_LEVEL_SECONDS = FIRST_LEVEL_MS / 1000
