"""What tells stored responses apart: the key of a request, as a text that is compared, and as the hash it is found by.

The *full key* is lines, each ended by LF, which no part of a request can contain. The path comes first, so that what is
below a path has a common beginning:

    /path                            as the client sent it; in lower case with ignore_uri_case
    a=1&b=2                          the query's arguments, sorted; with vary_query_params only those
    https://host:port                as the client sent it, in lower case
    GET
    <plugin's id> <fingerprint>      of the part of its configuration that the rest depends on
    <route's id>
    consumer <id>                    who asks: or "anonymous <id>", "credential <id>", "identifier …", or empty
    <hex>                            SHA-256 of the secrets that the upstream sees and the line above does not stand for

and then, if there are such, lines that begin with a letter:

    m p q o u                        method, path, query, Host and upstream that a plugin has put in the place of the client's
    x                                X-Forwarded-Host, -Port, -Prefix of a trusted peer
    s name: value                    fields that frameworks take for the method or the path (X-HTTP-Method-Override …)
    h name: value                    fields of vary_headers; without ":" when the request does not have it, with " -" when
                                     the client keeps it from the upstream (Connection)
    v name: value                    fields that the response varies on (`variant_key`)

Who the client is goes into the key in such a way that nobody is answered with what was made for another: see
`KeySafety`.
"""

from libc.stdint cimport uint32_t

from native.cache_store cimport CacheKey
from native.caching cimport CacheConfig
from native.connection cimport Exchange
from native.fields cimport Text

cdef enum:
    MAX_KEY = 16384              # bytes of a full key; requests that need more are not answered from the cache
    MAX_ARGUMENTS = 128          # of a query; longer ones are not sorted
    MAX_VARY = 16                # fields that a response may vary on

cpdef enum KeySafety:
    KEY_SAFE = 0                 # responses may be shared by all requests with this key
    # The upstream sees an Authorization that is not in the key: only responses that say so may be shared (RFC 9111 §3.5).
    KEY_PUBLIC_ONLY = 1
    KEY_NONE = 2                 # there is no key: too long, or nobody can say who the client is

# The full key of a request, in the exchange's memory. `address`: the beginning of it that all requests for the same thing
# have in common (path and query), and the authority behind it: what unsafe requests invalidate.
cdef KeySafety build_key(Exchange* exchange, const CacheConfig* config, Text* full_key, Text* address) noexcept nogil
# The key of a variant: that of the request, and the values that it has of the fields `names` (in lower case, each ended by
# LF). False: too long, or memory is out.
cdef bint variant_key(Exchange* exchange, Text full_key, Text names, Text* variant) noexcept nogil
# Add the names in a Vary field to `names` (as above, sorted; in the exchange's memory). `codings_only`: none but
# Accept-Encoding counts. False: it is "*", or there are too many.
cdef bint add_vary_names(Exchange* exchange, Text vary, bint codings_only, Text* names) noexcept nogil
cdef void hash_key(const CacheConfig* config, Text full_key, CacheKey* key) noexcept nogil
# The address of another resource on the same authority as that of the request, such as Location names: in the exchange's
# memory. False: it is elsewhere, or cannot be told.
cdef bint address_of(Exchange* exchange, const CacheConfig* config, Text reference, Text* address) noexcept nogil
