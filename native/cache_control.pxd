"""What HTTP says about storing and reusing responses (RFC 9111, RFC 5861, RFC 9110 §13 §14), without requests or stores:
texts in, numbers out.

    Cache-Control     directives of requests and of responses
    freshness, age    how long a response may be used, and how old it is
    entity tags       If-None-Match, If-Range
    Range             one range of bytes
    Vary, tags        lists of names
    media types       compared with what a plugin stores
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t

from native.fields cimport Text

cdef enum:
    # Seconds: what is longer is as good as for ever (RFC 9111 §1.2.2), and no sum of a few of them runs over.
    LONGEST_SECONDS = 2147483648
    NOT_GIVEN = -1
    MAX_MEDIA_TYPE = 256         # bytes of a content type; longer ones are none
    MAX_MEDIA_PARAMETERS = 16

cpdef enum DirectiveFlag:
    CONTROL_NO_STORE = 1
    CONTROL_NO_CACHE = 2
    CONTROL_ONLY_IF_CACHED = 4
    CONTROL_PRIVATE = 8
    CONTROL_PUBLIC = 16
    CONTROL_MUST_REVALIDATE = 32
    CONTROL_PROXY_REVALIDATE = 64
    CONTROL_MUST_UNDERSTAND = 128
    CONTROL_ANY_STALE = 256      # max-stale without a number

# All that the Cache-Control fields of a message say. Seconds, or NOT_GIVEN.
ctypedef struct Directives:
    uint32_t flags               # DirectiveFlag set
    uint32_t count               # of directives, known or not
    int64_t max_age
    int64_t s_maxage
    int64_t max_stale
    int64_t min_fresh
    int64_t stale_while_revalidate
    int64_t stale_if_error

cdef void directives_reset(Directives* directives) noexcept nogil
# Add what one field says. Where a directive is repeated, the stricter one holds; a number that is none counts as 0
# (max-stale: as not given).
cdef void parse_cache_control(Text value, Directives* directives) noexcept nogil

# --- time ------------------------------------------------------------------------------------------------------------
# Seconds for which a response is fresh in a shared cache (RFC 9111 §4.2.1): s-maxage, else max-age, else Expires less
# Date. `expires`, `date`: Unix seconds; NOT_GIVEN: there is none; an Expires that is no date is 0. Without Date, `now` is
# taken. NOT_GIVEN: the response does not say.
cdef int64_t freshness_lifetime(const Directives* directives, int64_t expires, int64_t date, int64_t now) noexcept nogil
# How old a response was when it came (RFC 9111 §4.2.3), milliseconds. `age`: of its Age field, seconds; `date`: Unix
# seconds, both or NOT_GIVEN; `requested_ms`, `received_ms`: Unix time.
cdef int64_t initial_age_ms(int64_t age, int64_t date, int64_t requested_ms, int64_t received_ms) noexcept nogil
# delta-seconds; NOT_GIVEN: it is none.
cdef int64_t parse_seconds(Text text) noexcept nogil

# --- lists -----------------------------------------------------------------------------------------------------------
# Walk over the elements of a list with commas (RFC 9110 §5.6.1); commas within quotes separate nothing. Empty elements
# are passed over. Begin with 0; False at the end.
cdef bint next_element(Text value, uint32_t* place, Text* element) noexcept nogil
# Walk over words that are separated by white space and commas: Surrogate-Key, Cache-Tag.
cdef bint next_word(Text value, uint32_t* place, Text* word) noexcept nogil
# Accept-Encoding with what makes no difference left out, into `out` (room for its length + 1): the codings that are
# accepted, in order, once each; those that are refused (q=0) behind "-". Returns the length.
cdef uint32_t normalise_codings(Text value, uint8_t* out) noexcept nogil

# --- validators and ranges -------------------------------------------------------------------------------------------
# Whether an entity tag is in the list of If-None-Match, by weak comparison (RFC 9110 §8.8.3.2); "*" matches any.
cdef bint tag_is_listed(Text tags, Text tag) noexcept nogil
# Whether two are equal by strong comparison: neither is weak.
cdef bint tags_are_same(Text one, Text other) noexcept nogil

cpdef enum RangeResult:
    RANGE_WHOLE = 0              # there is no range to answer with: none, several, another unit, or no range at all
    RANGE_PART = 1
    RANGE_NOT_SATISFIABLE = 2

# What Range asks for of a body with `size` bytes.
cdef RangeResult parse_range(Text value, uint64_t size, uint64_t* offset, uint64_t* length) noexcept nogil

# --- media types -----------------------------------------------------------------------------------------------------
# "type/subtype;name=value", in lower case, without white space and quotes, parameters in order; into `out` (room for
# MAX_MEDIA_TYPE). Returns the length; 0: it is no media type.
cdef uint32_t canonical_type(Text value, uint8_t* out) noexcept nogil
# Whether a canonical type is one that a pattern (canonical, too) stands for: "*" is any type or subtype; the parameters are
# the same.
cdef bint type_matches(Text pattern, Text media_type) noexcept nogil
