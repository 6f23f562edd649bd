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
from libc.string cimport memcpy, memset

from native.bearer_tokens cimport FoundToken, TokenPlaces, find_tokens, hide_tokens, pack_places
from native.connection cimport Exchange, Job
from native.fields cimport Text, text_of
from native.hashing cimport xxh64
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
    register_step,
    share_text,
    respond_body,
    respond_message,
    step_config,
)
from native.shm cimport ControlWords
from native.snapshot cimport PluginRecord
from native.steps.authentication cimport (
    already_authenticated,
    authenticate,
    authenticate_anonymous,
    current_credential,
    demand_credential,
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
    TokenPlaces places
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
    config.places = pack_places(packer, header_names, query_names, cookie_names)
    config.anonymous = packer.text(anonymous)
    config.challenge = packer.text(challenge)
    config.challenge_invalid = packer.text(challenge_invalid)
    config.unknown = packer.text(unknown)
    config.run_on_preflight = run_on_preflight
    config.key_set = key_set
    return packer.finish(&config)


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
                  Text name, Text token) noexcept nogil:
    """`credential` NULL: of a key set; the name is all that there is to tell. The plugins after this one find the token
    where Kong's do: shared.authenticated_jwt_token."""
    share_text(exchange, text_of(b"authenticated_jwt_token", 23), token)
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
    cdef FoundToken found
    if exchange.request.method == METHOD_OPTIONS and not config.run_on_preflight:
        return STEP_CONTINUE
    if already_authenticated(exchange, config.anonymous.length != 0):
        return STEP_CONTINUE
    hide_tokens(exchange, config, &config.places)
    if not find_tokens(exchange, config, &config.places, &found):
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
        return identify(exchange, credential, consumer, text_of(facts.claim, facts.claim_length), found.token)
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
    return identify(exchange, credential, found.consumer, name, token)


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
    cdef const JwtConfig* config = <const JwtConfig*> step_config(exchange, plugin)
    hide_tokens(exchange, config, &config.places)


cdef StepFunctions functions
functions.access = access
functions.resume = resume
functions.log = log
register_step("jwt", functions)
