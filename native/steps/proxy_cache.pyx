"""proxy-cache, response-caching: responses are stored, and later requests answered with them
(gateway/plugins/_caching.py)."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from native.caching cimport CacheConfig
from native.hashing cimport xxh3_128
from native.packed cimport PackedText, Packer
from native.plan cimport StepFunctions, register_step

METHOD_NAMES = {"GET": 1, "HEAD": 2, "POST": 3, "PUT": 4, "PATCH": 9}


def pack_config(*, str scope, list statuses, list methods, list media_types, int cache_ttl, int storage_ttl,
                list arguments, list headers, bint cache_control, bint ignore_case, bint shared, bint show_age,
                bint show_status, bint show_key, bint with_cookies, bint ignore_cookies, int coalesce_ms) -> bytes:
    """`scope`: the plugin's id; `statuses` and `headers` (lower case) sorted; seconds, but for `coalesce_ms`."""
    cdef CacheConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(CacheConfig))
    octets = scope.encode()
    config.scope = packer.octets(octets)
    xxh3_128(<const char*> octets, <uint64_t> len(octets), 0, config.seeds)
    config.status_offset = packer.array(b"".join((<uint16_t> status).to_bytes(2, "little") for status in statuses))
    config.status_count = <uint32_t> len(statuses)
    for method in methods:
        config.methods |= 1 << <uint32_t> METHOD_NAMES[method]
    config.media_type_offset, config.media_type_count = pack_texts(packer, media_types)
    config.argument_offset, config.argument_count = pack_texts(packer, arguments)
    config.header_offset, config.header_count = pack_texts(packer, headers)
    config.cache_ttl = <uint32_t> cache_ttl
    config.storage_ttl = <uint32_t> storage_ttl
    config.coalesce_ms = <uint32_t> coalesce_ms
    config.obeys_control = cache_control
    config.ignores_case = ignore_case
    config.is_shared = shared
    config.shows_age = show_age
    config.shows_status = show_status
    config.shows_key = show_key
    config.stores_cookies = with_cookies
    config.ignores_cookies = ignore_cookies
    return packer.finish(&config)


cdef tuple pack_texts(Packer packer, list texts):
    cdef PackedText place
    places = b""
    for text in texts:
        place = packer.octets(text)
        places += (<const char*> &place)[:sizeof(place)]
    return packer.array(places), len(texts)


cdef StepFunctions functions
memset(&functions, 0, sizeof(functions))
register_step("proxy_cache", functions)
