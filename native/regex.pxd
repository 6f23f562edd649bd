"""Regular expressions through the system's PCRE2 (libpcre2-8.so.0, opened at run time, JIT where there is one).

Every match runs under a match limit, so that no pattern and no input can hold a worker.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    REGEX_MAX_GROUPS = 32

ctypedef struct Regex            # a compiled pattern; one per worker, made and freed on the main thread

cpdef enum RegexResult:
    REGEX_NO_MATCH = 0
    REGEX_MATCH = 1
    REGEX_LIMIT = 2              # gave up at the match limit: counts as no match, and is counted

# Compile `pattern` (UTF-8 off: bytes). NULL on error.
cdef Regex* regex_compile(const uint8_t* pattern, uint32_t length) noexcept nogil
cdef void regex_free(Regex* regex) noexcept nogil
# Match at the start of `subject` only when the pattern says so ("^"). On REGEX_MATCH fills `groups` with
# start, end pairs (0xffffffff for an unset group) and `group_count`.
cdef int regex_match(Regex* regex, const uint8_t* subject, uint32_t length,
                     uint32_t* groups, uint32_t* group_count) noexcept nogil
