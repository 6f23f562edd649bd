# XXH3 with 128 bits, written from its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md, "XXH3") and tested
# against `xxhash`. Part of hashing.pyx. Names of steps are those of the specification.

cdef extern from *:
    """
    /* Both halves of a product. */
    static inline uint64_t gateway_multiply(uint64_t a, uint64_t b, uint64_t *high) {
        unsigned __int128 product = (unsigned __int128) a * b;
        *high = (uint64_t) (product >> 64);
        return (uint64_t) product;
    }
    #define XXH3_PRIME32_1 0x9E3779B1ULL
    #define XXH3_PRIME32_2 0x85EBCA77ULL
    #define XXH3_PRIME32_3 0xC2B2AE3DULL
    #define XXH3_PRIME_MX1 0x165667919E3779F9ULL
    #define XXH3_PRIME_MX2 0x9FB21C651E98DF25ULL
    /* The specification's default secret, as little-endian words. */
    static const uint64_t xxh3_secret_words[24] = {
        0xbe4ba423396cfeb8ULL, 0x1cad21f72c81017cULL, 0xdb979083e96dd4deULL, 0x1f67b3b7a4a44072ULL,
        0x78e5c0cc4ee679cbULL, 0x2172ffcc7dd05a82ULL, 0x8e2443f7744608b8ULL, 0x4c263a81e69035e0ULL,
        0xcb00c391bb52283cULL, 0xa32e531b8b65d088ULL, 0x4ef90da297486471ULL, 0xd8acdea946ef1938ULL,
        0x3f349ce33f76faa8ULL, 0x1d4f0bc7c7bbdcf9ULL, 0x3159b4cd4be0518aULL, 0x647378d9c97e9fc8ULL,
        0xc3ebd33483acc5eaULL, 0xeb6313faffa081c5ULL, 0x49daf0b751dd0d17ULL, 0x9e68d429265516d3ULL,
        0xfca1477d58be162bULL, 0xce31d07ad1b8f88fULL, 0x280416958f3acb45ULL, 0x7e404bbbcafbd7afULL,
    };
    """
    uint64_t multiply "gateway_multiply"(uint64_t a, uint64_t b, uint64_t* high) noexcept nogil
    uint32_t swap32 "__builtin_bswap32"(uint32_t value) noexcept nogil
    uint64_t swap64 "__builtin_bswap64"(uint64_t value) noexcept nogil
    const uint64_t PRIME32_1 "XXH3_PRIME32_1"
    const uint64_t PRIME32_2 "XXH3_PRIME32_2"
    const uint64_t PRIME32_3 "XXH3_PRIME32_3"
    const uint64_t PRIME_MX1 "XXH3_PRIME_MX1"
    const uint64_t PRIME_MX2 "XXH3_PRIME_MX2"
    const uint64_t[24] SECRET "xxh3_secret_words"

cdef enum:
    SECRET_LENGTH = 192
    STRIPE = 64                  # bytes
    BLOCK_STRIPES = (SECRET_LENGTH - STRIPE) // 8
    BLOCK = STRIPE * BLOCK_STRIPES


cdef inline const uint8_t* secret() noexcept nogil:
    return <const uint8_t*> SECRET


cdef inline uint64_t avalanche(uint64_t value) noexcept nogil:
    value = (value ^ (value >> 37)) * PRIME_MX1
    return value ^ (value >> 32)


cdef inline uint64_t avalanche_xxh64(uint64_t value) noexcept nogil:
    value = (value ^ (value >> 33)) * PRIME_2
    value = (value ^ (value >> 29)) * PRIME_3
    return value ^ (value >> 32)


cdef inline uint64_t multiply_fold(uint64_t a, uint64_t b) noexcept nogil:
    cdef uint64_t high
    cdef uint64_t low = multiply(a, b, &high)
    return low ^ high


# --- small inputs ----------------------------------------------------------------------------------------------------
cdef inline void hash_1_to_3(const uint8_t* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint32_t combined = (<uint32_t> data[length - 1] | <uint32_t> length << 8 | <uint32_t> data[0] << 16
                              | <uint32_t> data[length >> 1] << 24)
    cdef uint32_t swapped = swap32(combined)
    cdef uint64_t low_key = <uint64_t> (read32(secret()) ^ read32(secret() + 4)) + seed
    cdef uint64_t high_key = <uint64_t> (read32(secret() + 8) ^ read32(secret() + 12)) - seed
    out[0] = avalanche_xxh64(low_key ^ combined)
    out[1] = avalanche_xxh64(high_key ^ <uint32_t> (swapped << 13 | swapped >> 19))


cdef inline void hash_4_to_8(const uint8_t* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint64_t modified_seed = seed ^ (<uint64_t> swap32(<uint32_t> seed) << 32)
    cdef uint64_t combined = <uint64_t> read32(data) | <uint64_t> read32(data + length - 4) << 32
    cdef uint64_t high
    cdef uint64_t low = multiply(((SECRET[2] ^ SECRET[3]) + modified_seed) ^ combined, PRIME_1 + (length << 2), &high)
    high += low << 1
    low ^= high >> 3
    low = (low ^ (low >> 35)) * PRIME_MX2
    out[0] = low ^ (low >> 28)
    out[1] = avalanche(high)


cdef inline void hash_9_to_16(const uint8_t* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint64_t first = read64(data)
    cdef uint64_t last = read64(data + length - 8)
    cdef uint64_t other = ((SECRET[6] ^ SECRET[7]) + seed) ^ last
    cdef uint64_t high, carried
    cdef uint64_t low = multiply(((SECRET[4] ^ SECRET[5]) - seed) ^ first ^ last, PRIME_1, &high)
    low += (length - 1) << 54
    high += other + <uint64_t> <uint32_t> other * (PRIME32_2 - 1)
    low = multiply(low ^ swap64(high), PRIME_2, &carried)
    out[0] = avalanche(low)
    out[1] = avalanche(carried + high * PRIME_2)


# --- medium inputs ---------------------------------------------------------------------------------------------------
cdef inline uint64_t mix_step(const uint8_t* data, const uint8_t* key, uint64_t seed) noexcept nogil:
    return multiply_fold(read64(data) ^ (read64(key) + seed), read64(data + 8) ^ (read64(key + 8) - seed))


cdef inline void mix_two_chunks(uint64_t* accumulators, const uint8_t* one, const uint8_t* two, const uint8_t* key,
                                uint64_t seed) noexcept nogil:
    accumulators[0] = (accumulators[0] + mix_step(one, key, seed)) ^ (read64(two) + read64(two + 8))
    accumulators[1] = (accumulators[1] + mix_step(two, key + 16, seed)) ^ (read64(one) + read64(one + 8))


cdef inline void finish_medium(const uint64_t* accumulators, uint64_t length, uint64_t seed,
                               uint64_t* out) noexcept nogil:
    out[0] = avalanche(accumulators[0] + accumulators[1])
    out[1] = 0 - avalanche(accumulators[0] * PRIME_1 + accumulators[1] * PRIME_4 + (length - seed) * PRIME_2)


cdef void hash_17_to_128(const uint8_t* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint64_t[2] accumulators
    cdef uint64_t round_number = ((length - 1) >> 5) + 1
    accumulators[0] = length * PRIME_1
    accumulators[1] = 0
    while round_number:
        round_number -= 1
        mix_two_chunks(accumulators, data + 16 * round_number, data + length - 16 * round_number - 16,
                       secret() + 32 * round_number, seed)
    finish_medium(accumulators, length, seed, out)


cdef void hash_129_to_240(const uint8_t* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint64_t[2] accumulators
    cdef uint64_t chunk
    accumulators[0] = length * PRIME_1
    accumulators[1] = 0
    for chunk in range(4):
        mix_two_chunks(accumulators, data + 32 * chunk, data + 32 * chunk + 16, secret() + 32 * chunk, seed)
    accumulators[0] = avalanche(accumulators[0])
    accumulators[1] = avalanche(accumulators[1])
    for chunk in range(4, length >> 5):
        mix_two_chunks(accumulators, data + 32 * chunk, data + 32 * chunk + 16, secret() + 32 * (chunk - 4) + 3, seed)
    # the last half comes first, and with the seed turned round
    mix_two_chunks(accumulators, data + length - 16, data + length - 32, secret() + 103, 0 - seed)
    finish_medium(accumulators, length, seed, out)


# --- large inputs ----------------------------------------------------------------------------------------------------
cdef inline void accumulate(uint64_t* accumulators, const uint8_t* stripe, const uint8_t* key) noexcept nogil:
    cdef uint64_t lane, value
    cdef uint32_t at
    for at in range(8):
        lane = read64(stripe + 8 * at)
        value = lane ^ read64(key + 8 * at)
        accumulators[at ^ 1] += lane
        accumulators[at] += <uint64_t> <uint32_t> value * (value >> 32)


cdef inline void scramble(uint64_t* accumulators, const uint8_t* key) noexcept nogil:
    cdef uint32_t at
    for at in range(8):
        accumulators[at] = (accumulators[at] ^ (accumulators[at] >> 47) ^ read64(key + 8 * at)) * PRIME32_1


cdef inline uint64_t final_merge(const uint64_t* accumulators, uint64_t value, const uint8_t* key) noexcept nogil:
    cdef uint32_t at
    for at in range(0, 8, 2):
        value += multiply_fold(accumulators[at] ^ read64(key + 8 * at), accumulators[at + 1] ^ read64(key + 8 * at + 8))
    return avalanche(value)


cdef void hash_large(const uint8_t* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef uint64_t[24] words
    cdef uint64_t[8] accumulators = [PRIME32_3, PRIME_1, PRIME_2, PRIME_3, PRIME_4, PRIME32_2, PRIME_5, PRIME32_1]
    cdef const uint8_t* key = <const uint8_t*> words
    cdef const uint8_t* last_stripe = data + length - STRIPE
    cdef uint64_t left = length
    cdef uint64_t stripe
    cdef uint32_t at
    for at in range(0, 24, 2):
        words[at] = SECRET[at] + seed
        words[at + 1] = SECRET[at + 1] - seed
    while left > BLOCK:              # the last block is left for later, also when it is a full one
        for stripe in range(<uint64_t> BLOCK_STRIPES):
            accumulate(accumulators, data + STRIPE * stripe, key + 8 * stripe)
        scramble(accumulators, key + SECRET_LENGTH - STRIPE)
        data += BLOCK
        left -= BLOCK
    for stripe in range((left - 1) // STRIPE):
        accumulate(accumulators, data + STRIPE * stripe, key + 8 * stripe)
    accumulate(accumulators, last_stripe, key + SECRET_LENGTH - 71)
    out[0] = final_merge(accumulators, length * PRIME_1, key + 11)
    out[1] = final_merge(accumulators, ~(length * PRIME_2), key + SECRET_LENGTH - 75)


cdef void xxh3_128(const void* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> data
    if length == 0:
        out[0] = avalanche_xxh64(seed ^ SECRET[8] ^ SECRET[9])
        out[1] = avalanche_xxh64(seed ^ SECRET[10] ^ SECRET[11])
    elif length <= 3:
        hash_1_to_3(at, length, seed, out)
    elif length <= 8:
        hash_4_to_8(at, length, seed, out)
    elif length <= 16:
        hash_9_to_16(at, length, seed, out)
    elif length <= 128:
        hash_17_to_128(at, length, seed, out)
    elif length <= 240:
        hash_129_to_240(at, length, seed, out)
    else:
        hash_large(at, length, seed, out)


def xxh3_128_digest(data, uint64_t seed=0) -> tuple[int, int]:
    """XXH3-128 of a bytes-like object, the same that native code gets: its lower and its upper half."""
    cdef const uint8_t[::1] view = data
    cdef uint64_t[2] digest
    xxh3_128(&view[0] if view.shape[0] else NULL, <uint64_t> view.shape[0], seed, digest)
    return digest[0], digest[1]
