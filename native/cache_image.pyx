"""See cache_image.pxd."""

from libc.string cimport memcmp, memcpy, memset

from native.cache_control cimport next_word
from native.cache_store cimport (
    CACHE_CONTROL,
    MAX_MARKS,
    Filling,
    cache_append,
    cache_begin,
    cache_discard,
    cache_find,
    cache_mark_place,
    cache_open,
    cache_publish,
    cache_read,
    cache_sequence,
)
from native.connection cimport Job
from native.fields cimport Text, text_of
from native.hashing cimport xxh64
from native.headers cimport HeaderField, same_name
from native.http1 cimport HEAD_COMPLETE, MAX_HEADERS, HeadLimits, parse_response_head, response_head_reset
from native.jobs cimport JOB_DONE, job_free, job_new, job_send, job_submit
from native.memory cimport buffer_give, buffer_length, buffer_stock_clear, buffer_take
from native.plan cimport STEP_CONTINUE, STEP_PARK
from native.shm cimport SharedState, shared_control
from native.stored_response cimport store_head
from native.text cimport put, put_number, put_text

include "cache_image_view.pxi"

cdef enum:
    STATUS_LINE_ROOM = 64        # status line and the empty line at the end

cdef const char* MAGIC = b"sluicec\x01"


# --- marks -----------------------------------------------------------------------------------------------------------
cdef bint is_tag_list(const uint8_t* text, const HeaderField* field) noexcept nogil:
    cdef const uint8_t* name = text + field.name_offset
    return field.name_length == 13 and same_name(name, <const uint8_t*> b"surrogate-key", 13) \
        or field.name_length == 9 and same_name(name, <const uint8_t*> b"cache-tag", 9)


cdef bint add_mark(EntryHead* head, uint32_t place) noexcept nogil:
    cdef uint32_t i
    for i in range(head.mark_count):
        if head.marks[i] == place:
            return True
    if head.mark_count >= MAX_MARKS:
        return False
    head.marks[head.mark_count] = place
    head.mark_count += 1
    return True


cdef bint mark_tags(CacheStore* store, const uint8_t* text, const ResponseHead* response, EntryHead* head) noexcept nogil:
    cdef const HeaderField* field
    cdef Text word
    cdef uint32_t i, place
    for i in range(response.header_count):
        field = &response.headers[i]
        if not is_tag_list(text, field):
            continue
        place = 0
        while next_word(text_of(text + field.value_offset, field.value_length), &place, &word):
            if not add_mark(head, cache_mark_place(store, MARK_TAG, word.data, word.length)):
                return False
    return True


# --- an entry becomes an image ---------------------------------------------------------------------------------------
cdef uint32_t image_room(const EntryHead* head) noexcept nogil:
    cdef uint64_t length = sizeof(ImageHead) + STATUS_LINE_ROOM + head.key_length
    length += <uint64_t> head.prelude_length + head.body_length
    return 0 if head.body_length > MAX_IMAGE or length > MAX_IMAGE else <uint32_t> length


cdef bint lines_of(CacheStore* store, const StoredEntry* entry, uint32_t* table_length,
                   uint32_t* lines_length) noexcept nogil:
    """How long the parts of a prelude are that stored_response.pxd has made."""
    cdef HeaderField last
    cdef uint32_t table = <uint32_t> (entry.head.field_count * sizeof(HeaderField))
    cdef uint64_t end
    table_length[0] = table
    lines_length[0] = 0
    if entry.head.field_count > MAX_HEADERS or table > entry.head.prelude_length:
        return False
    if table == 0:
        return True
    if not cache_read(store, entry, table - sizeof(HeaderField), &last, sizeof(HeaderField)):
        return False
    end = <uint64_t> last.value_offset + last.value_length + 2
    if end > entry.head.prelude_length - table:
        return False
    lines_length[0] = <uint32_t> end
    return True


cdef bint copy_into(CacheStore* store, const StoredEntry* entry, uint64_t offset, uint64_t length,
                    Buffer* out) noexcept nogil:
    if length > out.capacity - out.end or not cache_read(store, entry, offset, &out.data[0] + out.end, length):
        return False
    out.end += <uint32_t> length
    return True


cdef bint cache_image(CacheStore* store, const StoredEntry* entry, const void* full_key, uint32_t key_length,
                      int64_t keep_until_ms, Buffer* out) noexcept nogil:
    cdef uint32_t begin = out.end
    cdef uint32_t table, lines, head_begin
    cdef ImageHead image
    if not lines_of(store, entry, &table, &lines):
        return False
    memset(&image, 0, sizeof(image))
    memcpy(image.magic, MAGIC, 8)
    memcpy(image.key, entry.head.key.words, sizeof(image.key))
    image.body_length = entry.head.body_length
    image.stored_ms = entry.head.stored_ms
    image.keep_until_ms = keep_until_ms
    image.fresh_until_ms = entry.head.fresh_until_ms
    image.stale_while_revalidate_ms = entry.head.stale_while_revalidate_ms
    image.stale_if_error_ms = entry.head.stale_if_error_ms
    image.initial_age_ms = entry.head.initial_age_ms
    image.last_modified = entry.head.last_modified
    image.flags = entry.head.flags
    image.key_length = key_length
    image.rest_length = entry.head.prelude_length - table - lines
    image.vary_count = entry.head.vary_count
    put(out, &image, sizeof(image))
    put(out, full_key, key_length)
    head_begin = out.end
    put_text(out, b"HTTP/1.1 ")
    put_number(out, entry.head.status)
    put_text(out, b" \r\n")
    if not copy_into(store, entry, table, lines, out):
        return False
    put_text(out, b"\r\n")
    image.head_length = out.end - head_begin
    if not copy_into(store, entry, table + lines, image.rest_length + image.body_length, out) or out.overflow:
        return False
    memcpy(&out.data[0] + begin, &image, sizeof(image))
    image.checksum = xxh64(&out.data[0] + begin + 16, out.end - begin - 16, 0)
    memcpy(&out.data[0] + begin + 8, &image.checksum, 8)
    return True


# --- an image becomes an entry ---------------------------------------------------------------------------------------
cdef bint is_time(int64_t time_ms) noexcept nogil:
    """Whether sums with it do not run over; a time that is longer is none."""
    return 0 <= time_ms < <int64_t> 1 << 53


cdef bint open_image(const uint8_t* data, uint64_t length, ImageHead* image, ResponseHead* response) noexcept nogil:
    """Read and check all of an image but whose it is."""
    cdef HeadLimits limits
    cdef uint64_t whole
    cdef const uint8_t* head
    if length < sizeof(ImageHead) or length > MAX_IMAGE:
        return False
    memcpy(image, data, sizeof(ImageHead))
    if memcmp(image.magic, MAGIC, 8) != 0 or image.body_length > MAX_IMAGE:
        return False
    whole = sizeof(ImageHead) + <uint64_t> image.key_length + image.head_length
    whole += image.rest_length + image.body_length
    if whole != length or xxh64(data + 16, length - 16, 0) != image.checksum:
        return False
    if not (is_time(image.stored_ms) and is_time(image.keep_until_ms) and is_time(image.fresh_until_ms)
            and is_time(image.stale_while_revalidate_ms) and is_time(image.stale_if_error_ms)
            and is_time(image.initial_age_ms)):
        return False
    head = data + sizeof(ImageHead) + image.key_length
    limits.max_line = MAX_IMAGE
    limits.max_head = MAX_IMAGE
    response_head_reset(response)
    return parse_response_head(head, image.head_length, response, &limits) == HEAD_COMPLETE \
        and response.parsed == image.head_length and response.status >= 200


cdef bint is_of(const ImageHead* image, const uint8_t* data, const CacheKey* key, const void* full_key,
                uint32_t key_length) noexcept nogil:
    return memcmp(image.key, key.words, sizeof(image.key)) == 0 and image.key_length == key_length \
        and memcmp(data + sizeof(ImageHead), full_key, key_length) == 0


cdef bint cache_import(CacheStore* store, BufferStock* stock, const uint8_t* image, uint64_t length, const CacheKey* key,
                       const void* full_key, uint32_t key_length, EntryHead* head, bint with_cookies, int64_t now_ms,
                       int64_t life_ms) noexcept nogil:
    cdef ImageHead read
    cdef ResponseHead response
    cdef Filling filling
    cdef const uint8_t* text
    if not open_image(image, length, &read, &response) or not is_of(&read, image, key, full_key, key_length) \
            or read.keep_until_ms <= now_ms:
        return False
    text = image + sizeof(ImageHead) + read.key_length
    if not mark_tags(store, text, &response, head):
        return False
    head.stored_ms = read.stored_ms
    head.keep_until_ms = min(read.keep_until_ms, now_ms + life_ms)
    head.fresh_until_ms = read.fresh_until_ms
    head.stale_while_revalidate_ms = read.stale_while_revalidate_ms
    head.stale_if_error_ms = read.stale_if_error_ms
    head.initial_age_ms = read.initial_age_ms
    head.last_modified = read.last_modified
    head.flags = read.flags
    head.vary_count = read.vary_count
    memset(&filling, 0, sizeof(filling))
    if not cache_begin(store, &filling, key, full_key, key_length, head.sequence):
        return False
    if not store_head(store, stock, text, &response, &filling, head, with_cookies):
        return False
    head.prelude_length += read.rest_length
    if not cache_append(store, &filling, text + read.head_length, read.rest_length + read.body_length):
        return False
    return cache_publish(store, &filling, head)


# --- requests --------------------------------------------------------------------------------------------------------
cdef int shared_cache_ask(Exchange* exchange, const PluginRecord* plugin, const CacheKey* key, const void* full_key,
                          uint32_t key_length) noexcept nogil:
    cdef Job* job = job_new(exchange, plugin, VERB_FIND, <uint32_t> sizeof(CacheKey) + key_length)
    if job == NULL:
        return STEP_CONTINUE
    put(job.request, key.words, sizeof(CacheKey))
    put(job.request, full_key, key_length)
    return STEP_PARK if job_submit(exchange, job) == STEP_PARK else STEP_CONTINUE


cdef SharedCacheAnswer shared_cache_answer(Exchange* exchange, const CacheKey* key, const void* full_key,
                                           uint32_t key_length, EntryHead* head, bint with_cookies,
                                           int64_t now_ms) noexcept nogil:
    cdef Job* job = exchange.job
    cdef SharedCacheAnswer answer = SHARED_DOWN
    if job == NULL:
        return SHARED_DOWN
    if job.state == JOB_DONE and job.result_length > 0:
        if job.result[0] == SHARED_MISSING:
            answer = SHARED_MISSING
        elif job.result[0] == SHARED_FOUND:
            answer = SHARED_MISSING
            if cache_import(&exchange.worker.cache, &exchange.worker.buffers, job.result + 1, job.result_length - 1,
                            key, full_key, key_length, head, with_cookies, now_ms, FIRST_LEVEL_MS):
                answer = SHARED_FOUND
    job_free(job)
    return answer


cdef void shared_cache_tell(Exchange* exchange, const PluginRecord* plugin, const StoredEntry* entry, const void* full_key,
                            uint32_t key_length, int64_t keep_until_ms) noexcept nogil:
    cdef uint32_t room = image_room(&entry.head)
    cdef Job* job = job_new(exchange, plugin, VERB_STORE, room) if room else NULL
    if job == NULL:
        return
    if cache_image(&exchange.worker.cache, entry, full_key, key_length, keep_until_ms, job.request):
        job_send(exchange.worker, job)
    else:
        job_free(job)


cdef void shared_cache_void(Exchange* exchange, const PluginRecord* plugin, const void* address,
                            uint32_t length) noexcept nogil:
    cdef Job* job = job_new(exchange, plugin, VERB_VOID, length)
    if job != NULL:
        put(job.request, address, length)
        job_send(exchange.worker, job)
