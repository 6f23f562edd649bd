"""hmac-auth: consumers are known by the signature of a request (gateway/plugins/hmac_auth.py).

    Authorization: hmac username="…", algorithm="hmac-sha256", headers="date request-line", signature="<base64>"

What is signed is one line for each name in `headers`: `name: value`, or the request line itself for `request-line`, or
`@request-target: get /path?query`. A header that is missing counts as empty; one that comes several times has its values
joined with ", " (RFC 9110 §5.3), so that nobody can add a line to a signed one.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from native.clock cimport wall_clock_ms
from native.connection cimport Exchange
from native.crypto cimport (
    LONGEST_DIGEST,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    DigestKind,
    Octets,
    decode_base64,
    digest,
    digest_length,
    encode_base64,
    equal_octets,
    hmac,
)
from native.fields cimport Head, Text, find_field, find_known_field, remove_field, same_text, text_of
from native.headers cimport HEADER_AUTHORIZATION, HEADER_PROXY_AUTHORIZATION
from native.http_date cimport parse_http_date
from native.identities cimport HMAC_AUTH, CredentialRecord, record_text
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    StepFunctions,
    exchange_memory,
    register_step,
    request_body,
    request_body_complete,
    request_head,
    request_method,
    request_path,
    request_query,
    step_config,
)
from native.snapshot cimport PluginRecord
from native.steps.authentication cimport (
    already_authenticated,
    authenticate,
    credential_consumer,
    current_credential,
    equal_secrets,
    not_authenticated,
)
from native.text cimport is_text

cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t length, const void* wanted, size_t wanted_length)

cdef enum:
    ALGORITHMS = 4               # of DigestKind
    MAX_PIECES = 512             # of what is signed: three or four per header
    LONGEST_ENCODED = 88         # base64 of the longest digest

ctypedef struct HmacAuthConfig:
    PackedText anonymous         # empty: none
    PackedText challenge
    uint32_t enforced_offset, enforced_count     # PackedText: headers that must be signed
    int64_t clock_skew           # seconds
    uint8_t[4] allowed           # by DigestKind
    uint8_t hide_credentials
    uint8_t checks_body

# What a header says of the signature.
ctypedef struct Signature:
    Text header                  # where it was found; empty: nowhere
    Text username
    Text algorithm
    Text headers
    Text encoded

# What is signed, in pieces.
ctypedef struct Signed:
    uint32_t count
    Octets[MAX_PIECES] pieces

cdef const char* TOO_OLD = (b"HMAC signature cannot be verified, a valid date or x-date header is required for HMAC "
                            b"Authentication")
cdef const char* NOT_VERIFIABLE = b"HMAC signature cannot be verified"
cdef const char* NO_MATCH = b"HMAC signature does not match"

cdef Text[ALGORITHMS] ALGORITHM_NAMES        # by DigestKind
ALGORITHM_NAMES[<int> SHA1] = text_of(b"hmac-sha1", 9)
ALGORITHM_NAMES[<int> SHA256] = text_of(b"hmac-sha256", 11)
ALGORITHM_NAMES[<int> SHA384] = text_of(b"hmac-sha384", 11)
ALGORITHM_NAMES[<int> SHA512] = text_of(b"hmac-sha512", 11)


def pack_config(*, str anonymous, str challenge, list enforced, list algorithms, clock_skew, bint hide_credentials,
                bint checks_body) -> bytes:
    """`challenge`: of WWW-Authenticate. `enforced`: names of headers. `clock_skew`: seconds."""
    cdef HmacAuthConfig config
    cdef PackedText name
    cdef int kind
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(HmacAuthConfig))
    names = b""
    for header in enforced:
        name = packer.text(header.lower())
        names += (<const char*> &name)[:sizeof(name)]
    config.enforced_offset = packer.array(names)
    config.enforced_count = <uint32_t> len(enforced)
    config.anonymous = packer.text(anonymous)
    config.challenge = packer.text(challenge)
    # as whole seconds are compared, whole seconds of skew make the same difference
    config.clock_skew = min(int(clock_skew), 2**53)
    for kind in range(ALGORITHMS):
        config.allowed[kind] = ALGORITHM_NAMES[kind].data[:ALGORITHM_NAMES[kind].length].decode() in algorithms
    config.hide_credentials = hide_credentials
    config.checks_body = checks_body
    return packer.finish(&config)


# --- reading the header ----------------------------------------------------------------------------------------------
cdef void skip_white(Text text, uint32_t* place) noexcept nogil:
    while place[0] < text.length and (text.data[place[0]] == 32 or text.data[place[0]] == 9):
        place[0] += 1


cdef bint skip_text(Text text, uint32_t* place, const char* expected, uint32_t length) noexcept nogil:
    skip_white(text, place)
    if text.length - place[0] < length or memcmp(text.data + place[0], expected, length) != 0:
        return False
    place[0] += length
    return True


cdef bint take_quoted(Text text, uint32_t* place, Text* value) noexcept nogil:
    """Up to the quote that a comma follows: what is between may have quotes. Empty values are none."""
    cdef const uint8_t* found
    found = <const uint8_t*> memmem(text.data + place[0], text.length - place[0], b'",', 2)
    if found == NULL:
        return False
    value[0] = text_of(text.data + place[0], <uint32_t> (found - text.data) - place[0])
    place[0] += value.length + 2
    return value.length > 0


cdef bint read_signature(Text value, Signature* signature) noexcept nogil:
    """The parameters, in this order, as in Kong."""
    cdef uint32_t place = 1
    cdef uint32_t end = value.length
    if value.length == 0 or (value.data[0] | 32) != c"h" or not skip_text(value, &place, b"mac", 3):
        return False
    if not skip_text(value, &place, b'username="', 10) or not take_quoted(value, &place, &signature.username):
        return False
    if not skip_text(value, &place, b'algorithm="', 11) or not take_quoted(value, &place, &signature.algorithm):
        return False
    if not skip_text(value, &place, b'headers="', 9) or not take_quoted(value, &place, &signature.headers):
        return False
    if not skip_text(value, &place, b'signature="', 11):
        return False
    while end > place and value.data[end - 1] != c'"':
        end -= 1
    if end < place + 2:
        return False
    signature.encoded = text_of(value.data + place, end - 1 - place)
    return True


cdef bint find_signature(const Head* head, Signature* signature) noexcept nogil:
    cdef Text value
    if find_known_field(head, HEADER_PROXY_AUTHORIZATION, &value) and read_signature(value, signature):
        signature.header = text_of(b"Proxy-Authorization", 19)
        return True
    if find_known_field(head, HEADER_AUTHORIZATION, &value) and read_signature(value, signature):
        signature.header = text_of(b"Authorization", 13)
        return True
    signature.header = text_of(NULL, 0)
    return False


# --- what is required of a signature ---------------------------------------------------------------------------------
cdef bint next_name(Text names, uint32_t* place, Text* name) noexcept nogil:
    """Walk over names between single blanks; two in a row have an empty one between them. Begin with 0."""
    cdef uint32_t start = place[0]
    if start > names.length:
        return False
    while place[0] < names.length and names.data[place[0]] != 32:
        place[0] += 1
    name[0] = text_of(names.data + start, place[0] - start)
    place[0] += 1
    return True


cdef bint is_signed(Text names, Text wanted) noexcept nogil:
    cdef uint32_t place = 0
    cdef Text name
    while next_name(names, &place, &name):
        if is_text(name.data, name.length, <const char*> wanted.data, wanted.length):
            return True
    return False


cdef bint signs_enough(const HmacAuthConfig* config, Text names) noexcept nogil:
    cdef const PackedText* enforced = <const PackedText*> (<const uint8_t*> config + config.enforced_offset)
    cdef uint32_t i
    for i in range(config.enforced_count):
        if not is_signed(names, packed_text(config, enforced[i])):
            return False
    return True


cdef bint find_algorithm(const HmacAuthConfig* config, Text name, DigestKind* kind) noexcept nogil:
    cdef int i
    for i in range(ALGORITHMS):
        if config.allowed[i] and same_text(name, ALGORITHM_NAMES[i]):
            kind[0] = <DigestKind> i
            return True
    return False


cdef bint is_recent(const HmacAuthConfig* config, const Head* head, const char* name, uint32_t length) noexcept nogil:
    cdef Text value
    cdef int64_t date, difference
    if not find_field(head, name, length, 0, &value):
        return False
    date = parse_http_date(value)
    difference = wall_clock_ms() // 1000 - date
    return date >= 0 and -config.clock_skew <= difference <= config.clock_skew


cdef bint signs_recent_dates(const HmacAuthConfig* config, const Head* head, Text names) noexcept nogil:
    """Whether each of the two dates that is signed is recent: an old request would be good again with a new date, which
    nobody has signed, in the other header."""
    return (not is_signed(names, text_of(b"x-date", 6)) or is_recent(config, head, b"x-date", 6)) \
        and (not is_signed(names, text_of(b"date", 4)) or is_recent(config, head, b"date", 4))


# --- the signature ---------------------------------------------------------------------------------------------------
cdef void add_piece(Signed* signed_, Text text) noexcept nogil:
    """What does not fit is counted: the signature cannot be verified then."""
    if text.length == 0:
        return
    if signed_.count < MAX_PIECES:
        signed_.pieces[signed_.count].data = text.data
        signed_.pieces[signed_.count].length = text.length
    signed_.count += 1


cdef Text lower_method(Exchange* exchange) noexcept nogil:
    cdef Text method = request_method(exchange)
    cdef uint8_t* lower = exchange_memory(exchange, method.length)
    cdef uint32_t i
    if lower == NULL:
        return method
    for i in range(method.length):
        lower[i] = method.data[i] | 32 if 65 <= method.data[i] <= 90 else method.data[i]
    return text_of(lower, method.length)


cdef void add_target(Exchange* exchange, Signed* signed_) noexcept nogil:
    add_piece(signed_, request_path(exchange))
    if exchange.request.has_query:
        add_piece(signed_, text_of(b"?", 1))
        add_piece(signed_, request_query(exchange))


cdef void add_line(Exchange* exchange, const Head* head, Text name, Signed* signed_) noexcept nogil:
    cdef uint32_t nth = 0
    cdef Text value
    if same_text(name, text_of(b"request-line", 12)):
        add_piece(signed_, request_method(exchange))
        add_piece(signed_, text_of(b" ", 1))
        add_target(exchange, signed_)
        add_piece(signed_, text_of(b" HTTP/1.1" if exchange.request.minor_version else b" HTTP/1.0", 9))
        return
    add_piece(signed_, name)
    add_piece(signed_, text_of(b":", 1))
    if same_text(name, text_of(b"@request-target", 15)):
        add_piece(signed_, text_of(b" ", 1))
        add_piece(signed_, lower_method(exchange))
        add_piece(signed_, text_of(b" ", 1))
        add_target(exchange, signed_)
        return
    while name.length and find_field(head, <const char*> name.data, name.length, nth, &value):
        add_piece(signed_, text_of(b", ", 2) if nth else text_of(b" ", 1))
        add_piece(signed_, value)
        nth += 1
        if signed_.count > MAX_PIECES:
            return


cdef bint collect_signed(Exchange* exchange, const Head* head, Text names, Signed* signed_) noexcept nogil:
    """What is signed, according to the header. False: it is too much."""
    cdef uint32_t place = 0
    cdef Text name
    signed_.count = 0
    while signed_.count <= MAX_PIECES and next_name(names, &place, &name):
        if signed_.count:
            add_piece(signed_, text_of(b"\n", 1))
        add_line(exchange, head, name, signed_)
    return signed_.count <= MAX_PIECES


cdef bint is_genuine(Exchange* exchange, const Head* head, const Signature* signature, DigestKind kind,
                     const CredentialRecord* credential) noexcept nogil:
    cdef uint8_t[LONGEST_DIGEST] expected
    cdef uint8_t[LONGEST_ENCODED + 4] received
    cdef int32_t length
    cdef Signed signed_
    if signature.encoded.length > LONGEST_ENCODED or not collect_signed(exchange, head, signature.headers, &signed_):
        return False
    length = decode_base64(signature.encoded.data, signature.encoded.length, False, received)
    hmac(kind, record_text(credential, credential.secret), credential.secret.length, signed_.pieces, signed_.count,
         expected)
    return length == <int32_t> digest_length(kind) and equal_octets(received, expected, <uint32_t> length)


# --- the body --------------------------------------------------------------------------------------------------------
cdef bint has_its_digest(Exchange* exchange, const Head* head) noexcept nogil:
    """Digest: SHA-256=<base64>. A body that is longer than steps may see has none that could be checked."""
    cdef uint8_t[32] octets
    cdef uint8_t[48] expected
    cdef Octets piece
    cdef Text body, received
    cdef uint32_t length
    if not request_body(exchange, &body):
        return False
    if not find_field(head, b"digest", 6, 0, &received):
        return body.length == 0
    if received.length < 8 or memcmp(received.data, <const char*> b"SHA-256=", 8) != 0:
        return False
    piece.data = body.data
    piece.length = body.length
    digest(SHA256, &piece, 1 if body.length else 0, octets)
    length = encode_base64(octets, 32, expected)
    return equal_secrets(text_of(received.data + 8, received.length - 8), text_of(expected, length))


# --- the step --------------------------------------------------------------------------------------------------------
cdef const char* problem_of(Exchange* exchange, const HmacAuthConfig* config, const Head* head,
                            const Signature* signature, const CredentialRecord** credential) noexcept nogil:
    """What is wrong with the signature; NULL: nothing, and `credential` is whose it is."""
    cdef DigestKind kind
    if signature.header.length == 0 or not signs_enough(config, signature.headers) \
            or not find_algorithm(config, signature.algorithm, &kind):
        return NOT_VERIFIABLE
    credential[0] = current_credential(exchange, HMAC_AUTH, signature.username.data, signature.username.length)
    if credential[0] == NULL:
        return NOT_VERIFIABLE
    if not is_genuine(exchange, head, signature, kind, credential[0]):
        return NO_MATCH
    if not signs_recent_dates(config, head, signature.headers):
        return TOO_OLD
    return NULL


cdef int refuse(Exchange* exchange, const HmacAuthConfig* config, const char* message) noexcept nogil:
    return not_authenticated(exchange, packed_text(config, config.anonymous), message,
                             packed_text(config, config.challenge))


cdef int verify(Exchange* exchange, const HmacAuthConfig* config, Head* head) noexcept nogil:
    cdef const CredentialRecord* credential = NULL
    cdef const char* problem
    cdef Signature signature
    find_signature(head, &signature)
    problem = problem_of(exchange, config, head, &signature, &credential)
    if problem == NULL and config.checks_body:
        # only now: nobody gets a body held here who cannot sign
        if not request_body_complete(exchange):
            return STEP_BODY
        if not has_its_digest(exchange, head):
            problem = NO_MATCH
    if config.hide_credentials and signature.header.length:
        remove_field(head, <const char*> signature.header.data, signature.header.length)
    if problem != NULL:
        return refuse(exchange, config, problem)
    return authenticate(exchange, credential, credential_consumer(exchange, credential),
                        text_of(record_text(credential, credential.key), credential.key.length))


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const HmacAuthConfig* config = <const HmacAuthConfig*> step_config(exchange, plugin)
    cdef Head head = request_head(exchange)
    cdef Text ignored
    if already_authenticated(exchange, config.anonymous.length != 0):
        return STEP_CONTINUE
    if not find_known_field(&head, HEADER_AUTHORIZATION, &ignored) \
            and not find_known_field(&head, HEADER_PROXY_AUTHORIZATION, &ignored):
        return refuse(exchange, config, b"Unauthorized")
    if not is_recent(config, &head, b"x-date", 6) and not is_recent(config, &head, b"date", 4):
        return refuse(exchange, config, TOO_OLD)
    return verify(exchange, config, &head)


cdef StepFunctions functions
functions.access = access
register_step("hmac_auth", functions)
