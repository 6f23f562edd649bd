"""jwt: the consumer is who signed the token (gateway/plugins/jwt.py).

    find the token ─► known? ──────────────────────────────► identify
                        │ no                                    ▲
                        ▼                                       │
                   READ: what names the credential? ─► look it up ─► VERIFY: is it signed with its key? ─► keep it

READ and VERIFY are jobs of the plugin thread (gateway/plugins/_jwt_handler.py, which describes their form). What is
known of a token (token_cache.pxd) is only that its signature holds for a credential with a certain content. Everything
else is looked up at every use, in the identities that the request is pinned to, by the very function that is used for
an unknown token: *resolve* says which credentials may count for what the token names. Only if the credential with that
content is among them is the token good without being verified; so a token is forgotten with the next request after

- its credential was deleted, or changed in anything: its content has another hash, or there is none;
- its consumer was deleted: its credentials lead nowhere;
- its consumer was renamed, and it was known by that name: the name leads to no consumer any more, or to another one;
- another credential got the key that it names: that one comes first.

The content's hash has the secret seed of the cache, and begins with the credential's identity: nobody can make up a
credential that is taken for another one.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from native.arguments cimport Argument, Arguments, arguments_begin, arguments_find, arguments_parse
from native.connection cimport Exchange, Job
from native.fields cimport Head, Text, find_field, same_text, text_of
from native.hashing cimport xxh64
from native.headers cimport same_name
from native.http1 cimport METHOD_OPTIONS
from native.identities cimport (
    CONSUMER_CUSTOM_ID,
    CONSUMER_USERNAME,
    JWT,
    ConsumerRecord,
    CredentialRecord,
    consumer_credential,
    consumer_of,
    find_consumer,
    has_expired,
    record_text,
)
from native.jobs cimport JOB_DONE, job_new, job_submit
from native.log cimport LOG_ERROR, log_error
from native.memory cimport buffer_length
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_CONTINUE,
    STEP_FAIL,
    StepFunctions,
    exchange_memory,
    register_step,
    request_head,
    request_query,
    respond_body,
    respond_message,
    step_config,
)
from native.scratch cimport Scratch, scratch_begin
from native.shm cimport ControlWords
from native.snapshot cimport PluginRecord
from native.steps.authentication cimport (
    already_authenticated,
    authenticate,
    authenticate_anonymous,
    current_credential,
    demand_credential,
    hide_from_logs,
)
from native.text cimport put
from native.token_cache cimport (
    CLAIM_LENGTH,
    TOKEN_OF_CREDENTIAL,
    TOKEN_OF_KEY_SET,
    TokenFacts,
    token_find,
    token_hash,
    token_store,
)

cdef enum:
    MOST_CANDIDATES = 16         # credentials of one consumer that a token may be signed with; oldest first
    MOST_KEY_BYTES = 32768       # of all their keys together
    MAX_TOKEN = 32768            # bytes; longer ones are refused
    VERIFIED_SIZE = 29           # bytes of a result VERIFIED before the name

cpdef enum JwtVerb:
    JWT_READ = 1
    JWT_VERIFY = 2

cpdef enum JwtOutcome:
    JWT_REFUSED = 0
    JWT_NAMED = 1                # the result of JWT_READ
    JWT_VERIFIED = 2
    JWT_UNAVAILABLE = 3

ctypedef struct JwtConfig:
    uint64_t rules[2]            # hash of all that decides whether a token is good
    uint32_t header_names, header_count      # PackedText
    uint32_t query_names, query_count
    uint32_t cookie_names, cookie_count
    PackedText anonymous
    PackedText challenge         # WWW-Authenticate for requests without a token
    PackedText challenge_invalid     # with one that is refused
    PackedText unknown           # the message for a name that leads to no credential
    uint8_t run_on_preflight
    uint8_t key_set              # there is a jwks_uri


def pack_config(*, bytes rules, list header_names, list query_names, list cookie_names, str anonymous, str challenge,
                str challenge_invalid, str unknown, bint run_on_preflight, bint key_set) -> bytes:
    """`rules`: 16 bytes, gateway.plugins._jwt_rules.Rules.digest(). `anonymous` empty: none."""
    cdef JwtConfig config
    cdef const char* digest = rules
    if len(rules) != sizeof(config.rules):
        raise ValueError("the digest of the rules has 16 bytes")
    memset(&config, 0, sizeof(config))
    memcpy(config.rules, digest, sizeof(config.rules))
    packer = Packer(sizeof(JwtConfig))
    config.header_names = pack_names(packer, header_names)
    config.header_count = <uint32_t> len(header_names)
    config.query_names = pack_names(packer, query_names)
    config.query_count = <uint32_t> len(query_names)
    config.cookie_names = pack_names(packer, cookie_names)
    config.cookie_count = <uint32_t> len(cookie_names)
    config.anonymous = packer.text(anonymous)
    config.challenge = packer.text(challenge)
    config.challenge_invalid = packer.text(challenge_invalid)
    config.unknown = packer.text(unknown)
    config.run_on_preflight = run_on_preflight
    config.key_set = key_set
    return packer.finish(&config)


cdef uint32_t pack_names(Packer packer, list names) except 0:
    cdef PackedText place
    cdef bytearray places = bytearray()
    for name in names:
        place = packer.text(name)
        places += (<char*> &place)[:sizeof(place)]
    return packer.array(bytes(places))


cdef inline Text packed_name(const JwtConfig* config, uint32_t names, uint32_t index) noexcept nogil:
    return packed_text(config, (<const PackedText*> (<const uint8_t*> config + names))[index])


# --- where tokens are ------------------------------------------------------------------------------------------------
# What was found: all places are looked at, and must agree.
ctypedef struct Found:
    Text token
    uint32_t distinct            # 0: none; more than 1: which one was meant?
    uint8_t bare                 # an argument without "=": no text


cdef void note_token(Found* found, Text token) noexcept nogil:
    if token.length == 0:
        return
    if found.distinct == 0:
        found.token = token
        found.distinct = 1
    elif found.bare or not same_text(found.token, token):
        found.distinct = 2


cdef void note_bare(Found* found) noexcept nogil:
    if found.distinct == 0:
        found.distinct = 1
        found.bare = 1
    elif not found.bare:
        found.distinct = 2


cdef Text bearer_token(Text value) noexcept nogil:
    """What follows "Bearer "; empty: something else."""
    cdef uint32_t start = 6
    if value.length <= start or (value.data[0] | 0x20) != 98 or not same_name(value.data + 1, b"earer", 5):
        return text_of(b"", 0)
    while start < value.length and (value.data[start] == 32 or value.data[start] == 9):
        start += 1
    if start == 6:
        return text_of(b"", 0)
    return text_of(value.data + start, value.length - start)


cdef void find_in_headers(Exchange* exchange, const JwtConfig* config, Found* found) noexcept nogil:
    """The first field of each name."""
    cdef Head head = request_head(exchange)
    cdef Text name, value
    cdef uint32_t i
    for i in range(config.header_count):
        name = packed_name(config, config.header_names, i)
        if find_field(&head, <const char*> name.data, name.length, 0, &value):
            note_token(found, bearer_token(value))


cdef bint find_cookie(Text line, Text name, Text* value) noexcept nogil:
    """The first cookie of that name in a Cookie field (RFC 6265 §4.2.1)."""
    cdef uint32_t start = 0
    cdef uint32_t end
    while start < line.length:
        if line.data[start] == 32 or line.data[start] == 59:
            start += 1
            continue
        end = start
        while end < line.length and line.data[end] != 59:
            end += 1
        if end - start > name.length and line.data[start + name.length] == 61 \
                and same_name(line.data + start, name.data, name.length):
            value[0] = text_of(line.data + start + name.length + 1, end - start - name.length - 1)
            return True
        start = end
    return False


cdef void find_in_cookies(Exchange* exchange, const JwtConfig* config, Found* found) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text name, line, value
    cdef uint32_t i, nth
    for i in range(config.cookie_count):
        name = packed_name(config, config.cookie_names, i)
        nth = 0
        while find_field(&head, b"Cookie", 6, nth, &line):
            if find_cookie(line, name, &value):
                note_token(found, value)
                break
            nth += 1


cdef inline bint may_be_named(Text argument, Text name) noexcept nogil:
    """Whether an argument as it is written may have this name."""
    cdef uint32_t i
    for i in range(argument.length):
        if argument.data[i] == 37 or argument.data[i] == 43:     # "%" and "+": not as it is written
            return True
        if argument.data[i] == 61:
            break
        if i >= name.length or argument.data[i] != name.data[i]:
            return False
    else:
        i = argument.length
    return i == name.length


cdef bint find_in_query(Exchange* exchange, const JwtConfig* config, Found* found) noexcept nogil:
    """False: memory is out."""
    cdef Text query = request_query(exchange)
    cdef uint8_t* memory = NULL
    cdef uint32_t size = 0
    cdef uint32_t kept = 0
    cdef uint32_t start = 0
    cdef const uint8_t* ampersand
    cdef const Argument* argument
    cdef Arguments arguments
    cdef Scratch scratch
    cdef Text written, name
    cdef uint32_t i
    while start < query.length and found.distinct < 2:
        ampersand = <const uint8_t*> memchr(query.data + start, 38, query.length - start)
        written = text_of(query.data + start, query.length - start)
        if ampersand != NULL:
            written.length = <uint32_t> (ampersand - written.data)
        start += written.length + 1
        for i in range(config.query_count):
            name = packed_name(config, config.query_names, i)
            if not may_be_named(written, name):
                continue
            if memory == NULL:
                # one argument decoded takes its own length and a list; two are held at a time
                size = 2 * query.length + 4096
                memory = exchange_memory(exchange, size)
                if memory == NULL:
                    return False
            scratch_begin(&scratch, memory + kept, size - kept)
            arguments_begin(&arguments, &scratch)
            arguments_parse(&arguments, written)
            argument = arguments_find(&arguments, name, 0)
            if arguments.overflow:
                return False
            if argument == NULL:
                continue
            if argument.bare:
                note_bare(found)
            else:
                note_token(found, argument.value)
                if found.token.data == argument.value.data:      # the first one: it stays
                    kept = scratch.used
    return True


cdef void hide_tokens_from_logs(Exchange* exchange, const JwtConfig* config) noexcept nogil:
    cdef uint32_t i
    if exchange.request.query_length:
        for i in range(config.query_count):
            hide_from_logs(exchange, packed_name(config, config.query_names, i))


# --- who it is -------------------------------------------------------------------------------------------------------
# What a name leads to.
ctypedef struct Resolution:
    const CredentialRecord* credentials[MOST_CANDIDATES]
    uint32_t count
    const ConsumerRecord* consumer       # without credentials: whom the issuer of a key set may speak for


cdef void resolve(Exchange* exchange, const JwtConfig* config, Text name, Resolution* found) noexcept nogil:
    """The credential with this key, else all of the consumer with this user name, else, where there is a key set, the
    consumer with this user name or custom id."""
    cdef const ConsumerRecord* consumer
    cdef const CredentialRecord* credential = current_credential(exchange, JWT, name.data, name.length)
    cdef int64_t now
    cdef uint32_t i
    found.count = 0
    found.consumer = NULL
    if credential != NULL:
        found.credentials[0] = credential
        found.count = 1
        return
    consumer = find_consumer(exchange.identities.base, CONSUMER_USERNAME, name.data, name.length)
    if consumer != NULL:
        now = exchange.worker.loop.wall_seconds * 1000
        for i in range(consumer.credential_count):
            credential = consumer_credential(exchange.identities.base, consumer, i)
            if credential.head.kind == JWT and found.count < MOST_CANDIDATES and not has_expired(credential, now):
                found.credentials[found.count] = credential
                found.count += 1
    elif config.key_set:
        consumer = find_consumer(exchange.identities.base, CONSUMER_CUSTOM_ID, name.data, name.length)
    if found.count == 0 and config.key_set:
        found.consumer = consumer


cdef uint64_t content_hash(const ControlWords* control, const CredentialRecord* credential) noexcept nogil:
    """Of all that is in a credential's record, but where its consumer lies in this file."""
    cdef const uint8_t* record = <const uint8_t*> credential
    cdef size_t before = <size_t> (<const uint8_t*> &credential.consumer - record)
    cdef size_t behind = <size_t> (<const uint8_t*> &credential.consumer_id - record)
    cdef uint64_t hash = xxh64(record, before, control.token_cache_seed)
    return xxh64(record + behind, credential.head.size - behind, hash)


cdef int identify(Exchange* exchange, const CredentialRecord* credential, const ConsumerRecord* consumer,
                  Text name) noexcept nogil:
    """`credential` NULL: of a key set; the name is all that there is to tell."""
    if credential == NULL:
        return authenticate(exchange, NULL, consumer, name)
    return authenticate(exchange, credential, consumer_of(exchange.identities.base, credential),
                        text_of(record_text(credential, credential.key), credential.key.length))


# --- refusals --------------------------------------------------------------------------------------------------------
cdef int refuse_with(Exchange* exchange, const JwtConfig* config, Text body) noexcept nogil:
    """Without a body: no token at all."""
    if config.anonymous.length:
        return authenticate_anonymous(exchange, packed_text(config, config.anonymous))
    if body.length == 0:
        demand_credential(exchange, packed_text(config, config.challenge))
        return respond_message(exchange, 401, b"Unauthorized")
    demand_credential(exchange, packed_text(config, config.challenge_invalid))
    return respond_body(exchange, 401, text_of(b"application/json; charset=utf-8", 31), body)


cdef int refuse(Exchange* exchange, const JwtConfig* config, const char* message) noexcept nogil:
    if config.anonymous.length:
        return authenticate_anonymous(exchange, packed_text(config, config.anonymous))
    demand_credential(exchange, packed_text(config, config.challenge_invalid))
    return respond_message(exchange, 401, message)


# --- tokens that are known -------------------------------------------------------------------------------------------
cdef bint still_counts(Exchange* exchange, const JwtConfig* config, const TokenFacts* facts,
                       const CredentialRecord** credential, const ConsumerRecord** consumer) noexcept nogil:
    """Whether what was found out about a token still says who sends it."""
    cdef int64_t now = exchange.worker.loop.wall_seconds
    cdef Resolution resolution
    cdef uint32_t i
    if now < facts.begins or now >= facts.known_until:
        return False
    resolve(exchange, config, text_of(facts.claim, facts.claim_length), &resolution)
    credential[0] = NULL
    consumer[0] = resolution.consumer
    if facts.source == TOKEN_OF_KEY_SET:
        return resolution.consumer != NULL
    for i in range(resolution.count):
        if content_hash(exchange.worker.control, resolution.credentials[i]) == facts.credential:
            credential[0] = resolution.credentials[i]
            return True
    return False


cdef int ask(Exchange* exchange, const PluginRecord* plugin, Text token) noexcept nogil:
    """What does it name its credential by?"""
    cdef Job* job = job_new(exchange, plugin, JWT_READ, token.length)
    if job == NULL:
        return STEP_FAIL
    put(job.request, token.data, token.length)
    return job_submit(exchange, job)


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const JwtConfig* config = <const JwtConfig*> step_config(exchange, plugin)
    cdef ControlWords* control = exchange.worker.control
    cdef int64_t now = exchange.worker.loop.wall_seconds
    cdef const CredentialRecord* credential
    cdef const ConsumerRecord* consumer
    cdef TokenFacts facts
    cdef Found found
    if exchange.request.method == METHOD_OPTIONS and not config.run_on_preflight:
        return STEP_CONTINUE
    if already_authenticated(exchange, config.anonymous.length != 0):
        return STEP_CONTINUE
    hide_tokens_from_logs(exchange, config)
    memset(&found, 0, sizeof(found))
    find_in_headers(exchange, config, &found)
    find_in_cookies(exchange, config, &found)
    if not find_in_query(exchange, config, &found):
        return STEP_FAIL
    if found.distinct == 0:
        return refuse_with(exchange, config, text_of(b"", 0))
    if found.distinct > 1:
        return refuse(exchange, config, b"Multiple tokens provided")
    if found.bare:
        return refuse(exchange, config, b"Unrecognizable token")
    if found.token.length > MAX_TOKEN:
        return refuse(exchange, config, b"Bad token; too long")

    if token_find(control, token_hash(control, config.rules, found.token.data, found.token.length), config.rules,
                  found.token.data, found.token.length, now, &facts) \
            and still_counts(exchange, config, &facts, &credential, &consumer):
        exchange.worker.block.token_cache_hits += 1
        if now >= facts.expires:
            return refuse_with(exchange, config, text_of(b'{"exp":"token expired"}', 23))
        return identify(exchange, credential, consumer, text_of(facts.claim, facts.claim_length))
    exchange.worker.block.token_cache_misses += 1
    return ask(exchange, plugin, found.token)


# --- what the plugin thread says -------------------------------------------------------------------------------------
cdef inline Text asked_for(const Job* job) noexcept nogil:
    """The token of a job."""
    cdef Text request = text_of(&job.request.data[0] + job.request.start, buffer_length(job.request))
    cdef uint32_t count, length
    cdef uint32_t at = 4
    if job.verb == JWT_READ:
        return request
    memcpy(&count, request.data, 4)
    while count:
        memcpy(&length, request.data + at + 1, 4)
        at += 5 + length
        count -= 1
    return text_of(request.data + at, request.length - at)


cdef inline Text key_of(const CredentialRecord* credential) noexcept nogil:
    """What its tokens are verified with: the secret of HS…, else the public key."""
    if credential.head.algorithm <= 3:
        return text_of(record_text(credential, credential.secret), credential.secret.length)
    return text_of(record_text(credential, credential.more), credential.more.length)


cdef int verify(Exchange* exchange, const PluginRecord* plugin, const JwtConfig* config, Text name,
                Text token) noexcept nogil:
    """The credential's name is known: have the signature verified with what it leads to."""
    cdef Resolution found
    cdef Text key
    cdef uint32_t size = 0
    cdef uint32_t count = 0
    cdef Job* job
    cdef uint32_t i
    resolve(exchange, config, name, &found)
    if found.count == 0 and found.consumer == NULL:
        return refuse(exchange, config, <const char*> packed_text(config, config.unknown).data)
    while count < found.count and size + key_of(found.credentials[count]).length <= MOST_KEY_BYTES:
        size += key_of(found.credentials[count]).length
        count += 1
    if count < found.count and count == 0:
        return refuse(exchange, config, b"Invalid key/secret")
    job = job_new(exchange, plugin, JWT_VERIFY, 4 + 5 * count + size + token.length)
    if job == NULL:
        return STEP_FAIL
    put(job.request, &count, 4)
    for i in range(count):
        key = key_of(found.credentials[i])
        put(job.request, &found.credentials[i].head.algorithm, 1)
        put(job.request, &key.length, 4)
        put(job.request, key.data, key.length)
    put(job.request, token.data, token.length)
    return job_submit(exchange, job)


cdef int conclude(Exchange* exchange, const JwtConfig* config, Text result, Text token) noexcept nogil:
    """The signature holds, and the claims do: keep that, and say who it is."""
    cdef ControlWords* control = exchange.worker.control
    cdef const CredentialRecord* credential = NULL
    cdef Resolution found
    cdef TokenFacts facts
    cdef uint32_t place
    cdef Text name = text_of(result.data + VERIFIED_SIZE, result.length - VERIFIED_SIZE)
    memset(&facts, 0, sizeof(facts))
    memcpy(&facts.begins, result.data + 1, 8)
    memcpy(&facts.expires, result.data + 9, 8)
    memcpy(&facts.known_until, result.data + 17, 8)
    memcpy(&place, result.data + 25, 4)
    resolve(exchange, config, name, &found)          # the same as before: the identities are pinned
    if found.count:
        if place >= found.count:
            return STEP_FAIL
        credential = found.credentials[place]
        facts.source = TOKEN_OF_CREDENTIAL
        facts.credential = content_hash(control, credential)
    elif found.consumer != NULL:
        facts.source = TOKEN_OF_KEY_SET
    else:
        return STEP_FAIL
    if name.length <= CLAIM_LENGTH:
        facts.rules[0], facts.rules[1] = config.rules[0], config.rules[1]
        facts.claim_length = name.length
        memcpy(facts.claim, name.data, name.length)
        token_store(control, token_hash(control, config.rules, token.data, token.length), token.data, token.length,
                    &facts, exchange.worker.loop.wall_seconds)
    return identify(exchange, credential, found.consumer, name)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const JwtConfig* config = <const JwtConfig*> step_config(exchange, plugin)
    cdef Job* job = exchange.job
    cdef Text result = text_of(job.result, job.result_length)
    if job.state != JOB_DONE or result.length == 0:
        log_error(exchange.worker, LOG_ERROR, exchange, b"a token could not be verified in time", NULL, 0)
        return STEP_FAIL
    if result.data[0] == JWT_NAMED and job.verb == JWT_READ:
        return verify(exchange, plugin, config, text_of(result.data + 1, result.length - 1), asked_for(job))
    if result.data[0] == JWT_VERIFIED and job.verb == JWT_VERIFY and result.length > VERIFIED_SIZE:
        return conclude(exchange, config, result, asked_for(job))
    if result.data[0] == JWT_REFUSED:
        return refuse_with(exchange, config, text_of(result.data + 1, result.length - 1))
    # the key set could not be fetched, which says nothing about the client
    return respond_message(exchange, 503, b"The keys of the token's issuer are not available")


cdef void log(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    hide_tokens_from_logs(exchange, <const JwtConfig*> step_config(exchange, plugin))


cdef StepFunctions functions
functions.access = access
functions.resume = resume
functions.log = log
register_step("jwt", functions)
