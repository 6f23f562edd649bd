"""Digests, HMAC, base64; see crypto.pxd.

Of OpenSSL's two interfaces this uses the older one, SHA256_Init(3) and its kin: its state lies on the stack. The newer
one (EVP_Digest) takes 85 to 120 ns and one or two heap allocations for what takes 50 ns and none here (OpenSSL 3.0,
50 bytes), EVP_MAC 380 ns and five. OpenSSL 3 calls the older one deprecated, but has it in every build that does not
ask for leaving it out; both are the same code underneath.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stddef cimport size_t
from libc.string cimport memcpy, memset

cdef extern from "dlfcn.h" nogil:
    void* dlopen(const char* name, int flags)
    void* dlsym(void* library, const char* symbol)
    const int RTLD_NOW
    const int RTLD_LOCAL

cdef extern from *:
    """
    #include <stdint.h>
    /* Room for SHA_CTX, SHA256_CTX and SHA512_CTX (96, 112 and 216 bytes). */
    typedef struct { _Alignas(16) unsigned char octets[256]; } gateway_digest_state;

    /* The compiler may neither stop early nor know the result. */
    static inline int gateway_equal(const uint8_t* one, const uint8_t* other, uint32_t length) {
        uint8_t difference = 0;
        for (uint32_t i = 0; i < length; i++) {
            difference |= one[i] ^ other[i];
            __asm__ volatile("" : "+r"(difference));
        }
        return difference == 0;
    }

    /* Overwrite a secret that is not used any more. */
    static inline void gateway_forget(void* data, size_t length) {
        __builtin_memset(data, 0, length);
        __asm__ volatile("" : : "r"(data) : "memory");
    }
    """
    ctypedef struct DigestState "gateway_digest_state":
        uint8_t octets[256]
    bint gateway_equal(const uint8_t* one, const uint8_t* other, uint32_t length) noexcept nogil
    void gateway_forget(void* data, size_t length) noexcept nogil

ctypedef int (*InitFunction)(DigestState*) noexcept nogil
ctypedef int (*UpdateFunction)(DigestState*, const void*, size_t) noexcept nogil
ctypedef int (*FinalFunction)(uint8_t*, DigestState*) noexcept nogil

cdef struct Algorithm:
    uint32_t length              # bytes of a digest
    uint32_t block               # bytes of a block
    InitFunction init
    UpdateFunction update
    FinalFunction final

cdef Algorithm[4] ALGORITHMS


cdef void* symbol(void* library, str name) except NULL:
    cdef void* found = dlsym(library, name.encode())
    if found is NULL:
        raise ImportError(f"libcrypto.so.3 has no {name}; the gateway needs a build of OpenSSL 3 with it "
                          "(Debian package libssl3)")
    return found


cdef int load_algorithm(void* library, DigestKind kind, str name, uint32_t length, uint32_t block) except -1:
    ALGORITHMS[<int> kind].length = length
    ALGORITHMS[<int> kind].block = block
    ALGORITHMS[<int> kind].init = <InitFunction> symbol(library, f"{name}_Init")
    ALGORITHMS[<int> kind].update = <UpdateFunction> symbol(library, f"{name}_Update")
    ALGORITHMS[<int> kind].final = <FinalFunction> symbol(library, f"{name}_Final")
    return 0


cdef int load_library() except -1:
    cdef void* library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL)
    if library is NULL:
        raise ImportError("libcrypto.so.3 is not installed; passwords and signatures of requests are checked with it "
                          "(Debian and Ubuntu: apt-get install libssl3)")
    load_algorithm(library, SHA1, "SHA1", 20, 64)
    load_algorithm(library, SHA256, "SHA256", 32, 64)
    load_algorithm(library, SHA384, "SHA384", 48, 128)
    load_algorithm(library, SHA512, "SHA512", 64, 128)
    return 0


load_library()


# --- digests ---------------------------------------------------------------------------------------------------------
cdef uint32_t digest_length(DigestKind kind) noexcept nogil:
    return ALGORITHMS[<int> kind].length


cdef void digest(DigestKind kind, const Octets* pieces, uint32_t count, uint8_t* out) noexcept nogil:
    cdef const Algorithm* algorithm = &ALGORITHMS[<int> kind]
    cdef DigestState state
    cdef uint32_t i
    algorithm.init(&state)
    for i in range(count):
        algorithm.update(&state, pieces[i].data, pieces[i].length)
    # wipes the state as well
    algorithm.final(out, &state)


cdef void hmac(DigestKind kind, const void* key, uint32_t key_length, const Octets* pieces, uint32_t count,
               uint8_t* out) noexcept nogil:
    cdef const Algorithm* algorithm = &ALGORITHMS[<int> kind]
    cdef DigestState state
    cdef Octets long_key
    cdef uint8_t padded[LONGEST_BLOCK]
    cdef uint32_t i
    memset(padded, 0, LONGEST_BLOCK)
    if key_length > algorithm.block:
        long_key.data = key
        long_key.length = key_length
        digest(kind, &long_key, 1, padded)
    else:
        memcpy(padded, key, key_length)

    for i in range(algorithm.block):
        padded[i] ^= 0x36
    algorithm.init(&state)
    algorithm.update(&state, padded, algorithm.block)
    for i in range(count):
        algorithm.update(&state, pieces[i].data, pieces[i].length)
    algorithm.final(out, &state)

    for i in range(algorithm.block):
        padded[i] ^= 0x36 ^ 0x5c
    algorithm.init(&state)
    algorithm.update(&state, padded, algorithm.block)
    algorithm.update(&state, out, algorithm.length)
    algorithm.final(out, &state)
    gateway_forget(padded, LONGEST_BLOCK)


cdef bint equal_octets(const uint8_t* one, const uint8_t* other, uint32_t length) noexcept nogil:
    return gateway_equal(one, other, length)


# --- text forms of bytes ---------------------------------------------------------------------------------------------
cdef uint8_t[512] HEX_PAIRS      # two digits for each byte
cdef int _byte
for _byte in range(256):
    HEX_PAIRS[2 * _byte] = b"0123456789abcdef"[_byte >> 4]
    HEX_PAIRS[2 * _byte + 1] = b"0123456789abcdef"[_byte & 15]

cdef const uint8_t* BASE64_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

cdef enum:
    NO_DIGIT = 64

# What a character stands for in base64 (0) and base64url (1).
cdef uint8_t[2][256] BASE64_VALUES
cdef int _alphabet, _value
memset(BASE64_VALUES, NO_DIGIT, sizeof(BASE64_VALUES))
for _alphabet in range(2):
    for _value in range(62):
        BASE64_VALUES[_alphabet][BASE64_CHARACTERS[_value]] = _value
BASE64_VALUES[0][c"+"] = BASE64_VALUES[1][c"-"] = 62
BASE64_VALUES[0][c"/"] = BASE64_VALUES[1][c"_"] = 63


cdef void hex_text(const uint8_t* data, uint32_t length, uint8_t* out) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        memcpy(out + 2 * i, HEX_PAIRS + 2 * data[i], 2)


cdef int32_t decode_base64(const uint8_t* text, uint32_t length, bint url, uint8_t* out) noexcept nogil:
    cdef const uint8_t* values = BASE64_VALUES[1 if url else 0]
    cdef uint32_t bits = 0
    cdef uint32_t held = 0
    cdef int32_t written = 0
    cdef uint32_t i, _padding
    cdef uint8_t value
    if length > 0x40000000:
        return -1
    if length % 4 == 0:
        # padding, which fills up to whole groups
        for _padding in range(2):
            if length and text[length - 1] == c"=":
                length -= 1
    if length % 4 == 1:
        return -1
    for i in range(length):
        value = values[text[i]]
        if value == NO_DIGIT:
            return -1
        bits = bits << 6 | value
        held += 6
        if held >= 8:
            held -= 8
            out[written] = <uint8_t> (bits >> held)
            written += 1
    return written


cdef uint32_t encode_base64(const uint8_t* data, uint32_t length, uint8_t* out) noexcept nogil:
    cdef uint32_t written = 0
    cdef uint32_t i = 0
    cdef uint32_t left, group
    while i < length:
        left = length - i
        group = data[i] << 16 | (data[i + 1] << 8 if left > 1 else 0) | (data[i + 2] if left > 2 else 0)
        out[written] = BASE64_CHARACTERS[group >> 18]
        out[written + 1] = BASE64_CHARACTERS[group >> 12 & 63]
        out[written + 2] = BASE64_CHARACTERS[group >> 6 & 63] if left > 1 else c"="
        out[written + 3] = BASE64_CHARACTERS[group & 63] if left > 2 else c"="
        written += 4
        i += 3
    return written


# --- for unit tests --------------------------------------------------------------------------------------------------
cdef Octets octets_of(bytes data):
    cdef Octets piece
    piece.data = <const char*> data
    piece.length = <uint32_t> len(data)
    return piece


def digest_of(DigestKind kind, *pieces: bytes) -> bytes:
    """The digest of up to 16 pieces."""
    cdef Octets[16] all_pieces
    cdef uint8_t[LONGEST_DIGEST] out
    for index, piece in enumerate(pieces):
        all_pieces[<uint32_t> index] = octets_of(piece)
    digest(kind, all_pieces, <uint32_t> len(pieces), out)
    return out[:digest_length(kind)]


def hmac_of(DigestKind kind, key: bytes, *pieces: bytes) -> bytes:
    """The HMAC of up to 16 pieces."""
    cdef Octets[16] all_pieces
    cdef uint8_t[LONGEST_DIGEST] out
    cdef Octets key_octets = octets_of(key)
    for index, piece in enumerate(pieces):
        all_pieces[<uint32_t> index] = octets_of(piece)
    hmac(kind, key_octets.data, key_octets.length, all_pieces, <uint32_t> len(pieces), out)
    return out[:digest_length(kind)]


def octets_are_equal(one: bytes, other: bytes) -> bool:
    """equal_octets() of two of the same length."""
    if len(one) != len(other):
        raise ValueError("of different lengths")
    return equal_octets(<const uint8_t*> <const char*> one, <const uint8_t*> <const char*> other, <uint32_t> len(one))


def base64_decoded(text: bytes, *, bint url=False) -> bytes | None:
    """decode_base64(); None where it refuses."""
    out = bytearray(len(text) // 4 * 3 + 3)
    cdef uint8_t* start = out
    cdef int32_t length = decode_base64(<const uint8_t*> <const char*> text, <uint32_t> len(text), url, start)
    return None if length < 0 else bytes(out[:length])


def base64_encoded(data: bytes) -> bytes:
    """encode_base64()."""
    out = bytearray((len(data) + 2) // 3 * 4)
    cdef uint8_t* start = out
    cdef uint32_t length = encode_base64(<const uint8_t*> <const char*> data, <uint32_t> len(data), start)
    return bytes(out[:length])


def hex_encoded(data: bytes) -> bytes:
    """hex_text()."""
    out = bytearray(2 * len(data))
    cdef uint8_t* start = out
    hex_text(<const uint8_t*> <const char*> data, <uint32_t> len(data), start)
    return bytes(out)
