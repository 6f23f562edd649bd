"""basic-auth: consumers are known by a user name and a password (gateway/plugins/basic_auth.py)."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr, memset

from native.connection cimport Exchange
from native.crypto cimport SHA1, Octets, decode_base64, digest, hex_text
from native.fields cimport Head, Text, find_known_field, remove_field, text_of
from native.headers cimport HEADER_AUTHORIZATION, HEADER_PROXY_AUTHORIZATION
from native.identities cimport BASIC_AUTH, CredentialRecord, RecordText, record_text
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport STEP_CONTINUE, StepFunctions, exchange_memory, register_step, request_head, step_config
from native.snapshot cimport PluginRecord
from native.steps.authentication cimport (
    already_authenticated,
    authenticate,
    credential_consumer,
    current_credential,
    equal_secrets,
    not_authenticated,
)

cdef enum:
    HEX_SHA1 = 40

ctypedef struct BasicAuthConfig:
    PackedText anonymous         # empty: none
    PackedText challenge
    uint8_t hide_credentials

# What a client claims to be.
ctypedef struct Claim:
    Text username
    Text password


def pack_config(*, str anonymous, str challenge, bint hide_credentials) -> bytes:
    """`challenge`: of WWW-Authenticate."""
    cdef BasicAuthConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(BasicAuthConfig))
    config.anonymous = packer.text(anonymous)
    config.challenge = packer.text(challenge)
    config.hide_credentials = hide_credentials
    return packer.finish(&config)


# --- reading the header ----------------------------------------------------------------------------------------------
cdef Text encoded_claim(Text value) noexcept nogil:
    """What follows the scheme; empty: it is another one. "Basic" and "basic" are taken, as in Kong."""
    cdef uint32_t place = 5
    if value.length < 5 or (value.data[0] | 32) != c"b" or value.data[1] != c"a" or value.data[2] != c"s" \
            or value.data[3] != c"i" or value.data[4] != c"c":
        return text_of(NULL, 0)
    while place < value.length and (value.data[place] == 32 or value.data[place] == 9):
        place += 1
    return text_of(value.data + place, value.length - place)


cdef bint read_claim(Exchange* exchange, Text encoded, Claim* claim) noexcept nogil:
    """Decode `user:password`. False: it is none."""
    cdef uint8_t* plain = exchange_memory(exchange, encoded.length + 3)
    cdef const uint8_t* colon
    cdef int32_t length
    if plain == NULL:
        return False
    length = decode_base64(encoded.data, encoded.length, False, plain)
    if length <= 0:
        return False
    colon = <const uint8_t*> memchr(plain, c":", <uint32_t> length)
    if colon == NULL or colon == plain:
        return False
    claim.username = text_of(plain, <uint32_t> (colon - plain))
    claim.password = text_of(colon + 1, <uint32_t> length - claim.username.length - 1)
    return True


cdef bint take_claim(Exchange* exchange, const BasicAuthConfig* config, Head* head, uint8_t known, const char* name,
                     uint32_t name_length, Claim* claim) noexcept nogil:
    """The claim in a header. One of this scheme is hidden whether it is good or not."""
    cdef Text value, encoded
    if not find_known_field(head, known, &value):
        return False
    encoded = encoded_claim(value)
    if encoded.data == NULL:
        return False
    if config.hide_credentials:
        remove_field(head, name, name_length)
    return encoded.length and read_claim(exchange, encoded, claim)


# --- the password ----------------------------------------------------------------------------------------------------
cdef bint is_password(const CredentialRecord* credential, Text password) noexcept nogil:
    """Stored is hex(sha1(password + consumer id)). An unknown user name costs the same as a wrong password."""
    cdef uint8_t[20] octets
    cdef uint8_t[HEX_SHA1] salted
    cdef Octets[2] pieces
    cdef Text secret
    pieces[0].data = password.data
    pieces[0].length = password.length
    if credential == NULL:
        pieces[1].data = <const char*> b"00000000-0000-0000-0000-000000000000"
        pieces[1].length = 36
        secret = text_of(b"0000000000000000000000000000000000000000", HEX_SHA1)
    else:
        pieces[1].data = record_text(credential, credential.consumer_id)
        pieces[1].length = credential.consumer_id.length
        secret = text_of(record_text(credential, credential.secret), credential.secret.length)
    digest(SHA1, pieces, 2, octets)
    hex_text(octets, 20, salted)
    return equal_secrets(text_of(salted, HEX_SHA1), secret) and credential != NULL


# --- the step --------------------------------------------------------------------------------------------------------
cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const BasicAuthConfig* config = <const BasicAuthConfig*> step_config(exchange, plugin)
    cdef const CredentialRecord* credential = NULL
    cdef RecordText key
    cdef Head head
    cdef Claim claim
    cdef bint claimed
    if already_authenticated(exchange, config.anonymous.length != 0):
        return STEP_CONTINUE
    head = request_head(exchange)
    claimed = take_claim(exchange, config, &head, HEADER_PROXY_AUTHORIZATION, b"Proxy-Authorization", 19, &claim)
    if claimed:
        credential = current_credential(exchange, BASIC_AUTH, claim.username.data, claim.username.length)
    # Who is unknown there is perhaps a user of a proxy: as in Kong, the other header counts then.
    if credential == NULL and take_claim(exchange, config, &head, HEADER_AUTHORIZATION, b"Authorization", 13, &claim):
        claimed = True
        credential = current_credential(exchange, BASIC_AUTH, claim.username.data, claim.username.length)
    if claimed and is_password(credential, claim.password):
        key = credential.key
        return authenticate(exchange, credential, credential_consumer(exchange, credential),
                            text_of(record_text(credential, key), key.length))
    return not_authenticated(exchange, packed_text(config, config.anonymous), b"Unauthorized",
                             packed_text(config, config.challenge))


cdef StepFunctions functions
functions.access = access
register_step("basic_auth", functions)
