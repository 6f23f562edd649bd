"""Tokens that have been verified; see token_cache.pxd.

The region is divided into four parts of equal size for tokens of four lengths. A part is an array of buckets, a bucket
a head with eight hints and eight slots. Hints only save looking into slots: a wrong one costs a miss.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

# Words shared with other processes, in any order; see the header for why no order is needed.
from native.atomics cimport load_relaxed, load_relaxed32, store_relaxed, store_relaxed32
from native.hashing cimport xxh64
from native.shm cimport ControlWords, SharedState, shared_control

cdef enum:
    WAYS = 8                     # slots of a bucket
    PARTS = 4
    SMALLEST_SLOT = 512          # bytes; those of each further part are twice as large
    USED_AGAIN = 60              # seconds by which a token that has been seen twice stays longer than others
    REFRESH = 8                  # seconds after which a use is noted again, so that readers seldom write

# What lies in front of a token. 64-bit words only, so that it can be copied word by word.
ctypedef struct SlotHead:
    uint64_t hash
    uint64_t token_length
    TokenFacts facts
    uint64_t checksum            # of all before it

cdef enum:
    HEAD_WORDS = 24              # of SlotHead
    LARGEST_SLOT = SMALLEST_SLOT << (PARTS - 1)
    SLOT_WORDS = LARGEST_SLOT // 8

# The slots follow it.
ctypedef struct Bucket:
    uint64_t hashes[WAYS]        # hints; 0: the slot was never used
    uint32_t worth[WAYS]         # the least goes first: the second of its last use, later by USED_AGAIN after the second
    uint32_t padding[WAYS]

globals()["LONGEST_TOKEN"] = LONGEST_TOKEN
globals()["CLAIM_LENGTH"] = CLAIM_LENGTH
assert sizeof(SlotHead) == 8 * HEAD_WORDS and sizeof(Bucket) % 64 == 0
assert LONGEST_TOKEN == LARGEST_SLOT - sizeof(SlotHead)


# --- places ----------------------------------------------------------------------------------------------------------
cdef inline uint32_t slot_size(uint32_t length) noexcept nogil:
    """Of the part for tokens of this length, which is not beyond LONGEST_TOKEN."""
    cdef uint32_t size = SMALLEST_SLOT
    while size < length + sizeof(SlotHead):
        size *= 2
    return size


cdef inline Bucket* bucket_of(ControlWords* control, uint64_t hash, uint32_t slot) noexcept nogil:
    """The bucket for a hash in the part with slots of this size; NULL when the region is too small to have one."""
    cdef uint64_t part_size = control.token_cache_size // PARTS // 64 * 64
    cdef uint32_t bucket_size = sizeof(Bucket) + WAYS * slot
    cdef uint64_t count = part_size // bucket_size
    cdef uint64_t part = 0
    if count == 0:
        return NULL
    while (<uint32_t> SMALLEST_SLOT << part) < slot:
        part += 1
    # count < 2^32: the upper half of the hash is spread over them
    return <Bucket*> (<uint8_t*> control + control.token_cache_offset + part * part_size
                      + (((hash >> 32) * count) >> 32) * bucket_size)


cdef inline uint64_t* slot_of(Bucket* bucket, uint32_t way, uint32_t slot) noexcept nogil:
    return <uint64_t*> (<uint8_t*> (bucket + 1) + <uint64_t> way * slot)


cdef inline uint64_t head_checksum(const ControlWords* control, const SlotHead* head) noexcept nogil:
    return xxh64(head, sizeof(SlotHead) - 8, control.token_cache_seed)


cdef uint64_t token_hash(const ControlWords* control, const uint64_t* rules, const uint8_t* token,
                         uint32_t length) noexcept nogil:
    cdef uint64_t hash = xxh64(token, length, control.token_cache_seed ^ rules[0])
    return hash if hash else 1   # 0 is the hint of an unused slot


# --- reading ---------------------------------------------------------------------------------------------------------
cdef inline bint same_token(const uint64_t* stored, const uint8_t* token, uint32_t length) noexcept nogil:
    """Whether a slot holds these bytes, zeros behind them."""
    cdef uint32_t words = length // 8
    cdef uint32_t left = length % 8
    cdef uint64_t expected
    cdef uint64_t difference = 0
    cdef uint32_t at
    for at in range(words):
        memcpy(&expected, token + 8 * at, 8)
        difference |= expected ^ load_relaxed(stored + at)
    if left:
        expected = 0
        memcpy(&expected, token + 8 * words, left)
        difference |= expected ^ load_relaxed(stored + words)
    return difference == 0


cdef bint read_slot(const ControlWords* control, const uint64_t* slot, uint64_t hash, const uint64_t* rules,
                    const uint8_t* token, uint32_t length, TokenFacts* facts) noexcept nogil:
    cdef SlotHead head
    cdef uint32_t at
    for at in range(HEAD_WORDS):
        (<uint64_t*> &head)[at] = load_relaxed(slot + at)
    if head.hash != hash or head.token_length != length or head.checksum != head_checksum(control, &head):
        return False
    if head.facts.rules[0] != rules[0] or head.facts.rules[1] != rules[1] or head.facts.claim_length > CLAIM_LENGTH:
        return False
    if not same_token(slot + HEAD_WORDS, token, length):
        return False
    facts[0] = head.facts
    return True


cdef inline void note_use(uint32_t* worth, int64_t now) noexcept nogil:
    cdef uint32_t value = <uint32_t> now + USED_AGAIN
    cdef uint32_t known = load_relaxed32(worth)
    if value - known >= REFRESH:     # also when it is from the future: the clock was put back
        store_relaxed32(worth, value)


cdef bint token_find(ControlWords* control, uint64_t hash, const uint64_t* rules, const uint8_t* token, uint32_t length,
                     int64_t now, TokenFacts* facts) noexcept nogil:
    cdef uint32_t slot, way
    cdef Bucket* bucket
    if length == 0 or length > LONGEST_TOKEN:
        return False
    slot = slot_size(length)
    bucket = bucket_of(control, hash, slot)
    if bucket is NULL:
        return False
    for way in range(WAYS):
        if load_relaxed(&bucket.hashes[way]) == hash:
            if read_slot(control, slot_of(bucket, way, slot), hash, rules, token, length, facts):
                if now < facts.expires:
                    note_use(&bucket.worth[way], now)
                return True
    return False


# --- writing ---------------------------------------------------------------------------------------------------------
cdef inline uint32_t choose_way(const Bucket* bucket, uint64_t hash) noexcept nogil:
    """The slot to write: the token's own, an unused one, or the one of the least worth."""
    cdef uint32_t least = 0
    cdef uint32_t way
    cdef uint64_t hint
    for way in range(WAYS):
        hint = load_relaxed(&bucket.hashes[way])
        if hint == hash:
            return way
        if hint == 0:
            least = way          # worth 0 until it is used
        elif load_relaxed32(&bucket.worth[way]) < load_relaxed32(&bucket.worth[least]):
            least = way
    return least


cdef bint store_words(ControlWords* control, uint64_t hash, const uint8_t* token, uint32_t length,
                      const TokenFacts* facts, int64_t now, uint32_t most_words) noexcept nogil:
    """token_store() that ends after so many words, as a process does that is killed."""
    cdef uint64_t image[SLOT_WORDS]
    cdef SlotHead* head = <SlotHead*> image
    cdef uint32_t slot, way, words, at
    cdef Bucket* bucket
    cdef uint64_t* target
    if length == 0 or length > LONGEST_TOKEN or facts.claim_length > CLAIM_LENGTH:
        return False
    slot = slot_size(length)
    bucket = bucket_of(control, hash, slot)
    if bucket is NULL:
        return False
    words = HEAD_WORDS + (length + 7) // 8
    image[words - 1] = 0         # the zeros behind the token
    head.hash = hash
    head.token_length = length
    head.facts = facts[0]
    memset(head.facts.claim + facts.claim_length, 0, CLAIM_LENGTH - facts.claim_length)
    head.checksum = head_checksum(control, head)
    memcpy(image + HEAD_WORDS, token, length)

    way = choose_way(bucket, hash)
    target = slot_of(bucket, way, slot)
    for at in range(words):
        if at == most_words:
            return False
        store_relaxed(target + at, image[at])
    # If somebody else used the slot meanwhile, hint and slot may differ: a miss.
    store_relaxed32(&bucket.worth[way], <uint32_t> now)
    store_relaxed(&bucket.hashes[way], hash)
    return True


cdef bint token_store(ControlWords* control, uint64_t hash, const uint8_t* token, uint32_t length,
                      const TokenFacts* facts, int64_t now) noexcept nogil:
    return store_words(control, hash, token, length, facts, now, <uint32_t> -1)


include "token_cache_testing.pxi"
