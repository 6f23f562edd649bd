"""bot-detection: clients that their User-Agent shows to be programs are refused (gateway/plugins/bot_detection.py).

What `allow` matches may pass, what `deny` or a built-in pattern matches may not. An expression that gives up at its match
limit allows nobody and denies: a User-Agent made to exhaust it gains nothing.

Few different User-Agents make most of the requests, so each worker remembers what it found for the last ones.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from native.connection cimport Exchange
from native.fields cimport Head, Text, count_fields, find_known_field
from native.hashing cimport xxh64
from native.headers cimport HEADER_USER_AGENT
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_CONTINUE,
    StepFunctions,
    register_step,
    request_head,
    respond_error,
    step_prepared,
)
from native.regex cimport REGEX_MATCH, REGEX_NO_MATCH, Regex, regex_compile, regex_free, regex_match
from native.snapshot cimport PluginRecord

cdef enum:
    REMEMBERED = 128             # a power of two
    REMEMBERED_LENGTH = 243      # bytes; longer ones are looked at every time

ctypedef struct BotDetectionConfig:
    uint32_t patterns            # PackedText: of `allow`, of `deny`, built-in ones
    uint32_t allow_count
    uint32_t count               # of all

# What was found for a User-Agent. 256 bytes.
ctypedef struct Finding:
    uint64_t hash
    uint32_t length              # 0: free
    uint8_t is_bot
    uint8_t user_agent[REMEMBERED_LENGTH]

ctypedef struct Detector:
    uint32_t allow_count
    uint32_t count
    Finding findings[REMEMBERED]
    Regex* patterns[1]           # `count` of them


def pack_config(*, list allow, list deny, list built_in) -> bytes:
    """Lists of regular expressions (texts)."""
    cdef BotDetectionConfig config
    cdef PackedText place
    cdef bytearray places = bytearray()
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(BotDetectionConfig))
    for pattern in allow + deny + built_in:
        place = packer.text(pattern)
        places += (<char*> &place)[:sizeof(PackedText)]
    config.patterns = packer.array(bytes(places))
    config.allow_count = <uint32_t> len(allow)
    config.count = <uint32_t> len(allow + deny + built_in)
    return packer.finish(&config)


# --- what a worker prepares ------------------------------------------------------------------------------------------
cdef void* prepare(const PluginRecord* plugin, const void* packed) noexcept nogil:
    cdef const BotDetectionConfig* config = <const BotDetectionConfig*> packed
    cdef const PackedText* patterns = <const PackedText*> (<const uint8_t*> packed + config.patterns)
    cdef Detector* detector = <Detector*> calloc(1, sizeof(Detector) + config.count * sizeof(Regex*))
    cdef Text pattern
    cdef uint32_t i
    if detector == NULL:
        return NULL
    detector.allow_count = config.allow_count
    detector.count = config.count
    for i in range(config.count):
        pattern = packed_text(config, patterns[i])
        detector.patterns[i] = regex_compile(pattern.data, pattern.length)
        if detector.patterns[i] == NULL:
            release(detector)
            return NULL
    return detector


cdef void release(void* prepared) noexcept nogil:
    cdef Detector* detector = <Detector*> prepared
    cdef uint32_t i
    for i in range(detector.count):
        regex_free(detector.patterns[i])
    free(detector)


# --- looking at a request --------------------------------------------------------------------------------------------
cdef bint look(Detector* detector, Text user_agent) noexcept nogil:
    cdef uint32_t i
    cdef int found
    for i in range(detector.count):
        found = regex_match(detector.patterns[i], user_agent.data, user_agent.length, NULL, NULL)
        if i < detector.allow_count:
            if found == REGEX_MATCH:
                return False
        elif found != REGEX_NO_MATCH:
            return True
    return False


cdef bint is_bot(Detector* detector, Text user_agent) noexcept nogil:
    cdef uint64_t hash
    cdef Finding* finding
    if user_agent.length > REMEMBERED_LENGTH:
        return look(detector, user_agent)
    hash = xxh64(user_agent.data, user_agent.length, 0)
    finding = &detector.findings[hash & (REMEMBERED - 1)]
    # all of it is compared: two texts of one hash can be made on purpose
    if finding.hash != hash or finding.length != user_agent.length \
            or memcmp(finding.user_agent, user_agent.data, user_agent.length) != 0:
        finding.is_bot = look(detector, user_agent)
        finding.hash = hash
        finding.length = user_agent.length
        memcpy(finding.user_agent, user_agent.data, user_agent.length)
    return finding.is_bot


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef Head request = request_head(exchange)
    cdef Text user_agent
    if not find_known_field(&request, HEADER_USER_AGENT, &user_agent) or user_agent.length == 0:
        return STEP_CONTINUE
    if count_fields(&request, b"user-agent", 10) > 1:
        return respond_error(exchange, 400, b"Only one User-Agent header allowed")
    if is_bot(<Detector*> step_prepared(exchange, plugin), user_agent):
        return respond_error(exchange, 403, b"Forbidden")
    return STEP_CONTINUE


cdef StepFunctions functions
functions.access = access
functions.prepare = prepare
functions.release = release
register_step("bot_detection", functions)
