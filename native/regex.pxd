"""Regular expressions through the system's PCRE2 (libpcre2-8.so.0, opened at run time, JIT where there is one).

Every match runs under a match limit, so that no pattern and no input can hold a worker. The dialect is PCRE2's, set
up to read Kong's patterns (Rust's regex crate) the same way: "$" matches only at the very end, "." does not match a
line feed, `(?<name>…)` and `(?P<name>…)` name groups. A pattern of ASCII characters works on bytes; one with other
characters is read as UTF-8 and works on characters.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    REGEX_MAX_GROUPS = 32

ctypedef struct Regex:           # a compiled pattern; one per worker, made and freed on the main thread
    void* code                   # pcre2_code
    void* match_data             # pcre2_match_data: a Regex is matched by one thread at a time
    size_t* offsets              # inside match_data
    uint32_t users               # runtimes that hold it: the last one frees it

cpdef enum RegexResult:
    REGEX_NO_MATCH = 0
    REGEX_MATCH = 1
    REGEX_LIMIT = 2              # gave up at the match limit: counts as no match, and is counted

# Compile `pattern`. NULL on error, which is also: out of memory.
cdef Regex* regex_compile(const uint8_t* pattern, uint32_t length) noexcept nogil
# The same, but every match must begin at the subject's first byte (all alternatives of the pattern).
cdef Regex* regex_compile_anchored(const uint8_t* pattern, uint32_t length) noexcept nogil
# One user more. On the thread that compiles and frees.
cdef inline Regex* regex_share(Regex* regex) noexcept nogil:
    regex.users += 1
    return regex

# One user less; frees it when that was the last one. NULL is fine.
cdef void regex_free(Regex* regex) noexcept nogil
# Match at the start of `subject` only when the pattern says so ("^") or was compiled so. On REGEX_MATCH fills
# `groups` (REGEX_MAX_GROUPS pairs) with start, end offsets (0xffffffff for an unset group) and `group_count`; groups
# after the last one that took part are left out. Both may be NULL.
cdef int regex_match(Regex* regex, const uint8_t* subject, uint32_t length,
                     uint32_t* groups, uint32_t* group_count) noexcept nogil
# Number of the group called `name` (NUL terminated), or 0.
cdef uint32_t regex_group_number(const Regex* regex, const char* name) noexcept nogil
# The group name that comes as number `index` (0: the first) in alphabetical order, NUL terminated, and the number of its
# group. False: there are no more.
cdef bint regex_group_name(const Regex* regex, uint32_t index, const char** name, uint32_t* number) noexcept nogil
# regex_match() under a smaller match limit (steps of backtracking), for a caller that tries many patterns in a row.
cdef int regex_match_within(Regex* regex, const uint8_t* subject, uint32_t length, uint32_t* groups,
                            uint32_t* group_count, uint32_t match_limit) noexcept nogil
