"""Tokens that have been verified: which ones, and what was found out about them; shared by the workers of a node.

Verifying a signature is the plugin thread's work and takes it some 30 to 200 microseconds; a client sends the same token
again for minutes or hours. So what was found out is kept in the shared mapping, where every worker finds it in well
under a microsecond.

A place is found by the hash of the token, and counts only if the *whole* token lies there. There is no lock and no
owner, and yet nobody can be locked out or misled, because an entry proves itself:

- its facts end with a checksum over all of them and over the token's hash. Readers copy the facts first and check the
  copy, so facts that somebody is writing, that two wrote at a time, or that a killed process wrote half, are no facts;
- the token's bytes are compared with the reader's own, so they need no protection: half-written ones are different;
- facts and token belong together because both must have the hash of the reader's token.

The hash is XXH64 with a seed that the master draws at the start and that never leaves the mapping: nobody outside can
look for two tokens with the same hash. What cannot be read is a miss; the token is verified again and the place is
written anew. That is all the repair there is.

An entry says what follows from the token and the key material alone. Whether the credential still is what it was, and
whose it is, is the reader's business (steps/jwt.pyx).

Only good tokens are kept: with bad ones, which cost nothing to make, anybody could push the good ones out. Who makes
many good tokens pushes out those that nobody has used for the longest time, and single-use tokens before those that
have been seen twice.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.shm cimport ControlWords

cdef enum:
    CLAIM_LENGTH = 112           # longest name of a credential that is kept
    LONGEST_TOKEN = 3904         # longest token that is kept

cpdef enum TokenSource:
    TOKEN_OF_CREDENTIAL = 1      # verified with the key or secret of a credential
    TOKEN_OF_KEY_SET = 2         # verified with a key of an issuer's key set

# What is known of a token. Times are Unix seconds. All of it is 64-bit words.
ctypedef struct TokenFacts:
    uint64_t rules[2]            # hash of the rules that it was verified by
    int64_t begins               # it holds from this second on; INT64_MIN: always has
    int64_t expires              # it no longer holds from this second on; INT64_MAX: never
    int64_t known_until          # verify again from this second on (key sets change); INT64_MAX: never
    uint64_t credential          # TOKEN_OF_CREDENTIAL: hash of the credential's content, see steps/jwt.pyx
    uint32_t source              # TokenSource
    uint32_t claim_length
    uint8_t claim[CLAIM_LENGTH]  # what the token names the credential by, zeros behind it

# The hash that a token has under these rules.
cdef uint64_t token_hash(const ControlWords* control, const uint64_t* rules, const uint8_t* token,
                         uint32_t length) noexcept nogil
# Whether this token, with this hash under these rules, is known; fills in `facts`. Whether it still holds at `now` is
# left to the caller.
cdef bint token_find(ControlWords* control, uint64_t hash, const uint64_t* rules, const uint8_t* token, uint32_t length,
                     int64_t now, TokenFacts* facts) noexcept nogil
# Keep what is known of a token. False: it is too long, or there is no cache.
cdef bint token_store(ControlWords* control, uint64_t hash, const uint8_t* token, uint32_t length,
                      const TokenFacts* facts, int64_t now) noexcept nogil
