"""key-auth: consumers are known by a key (gateway/plugins/key_auth.py).

For each of the configured names in their order: header, query, body. The first text that is found is the key, be it
good or not. The body is waited for only when its turn has come, or when keys are to be hidden in it.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from native.body_fields cimport (
    FIELD_ABSENT,
    FIELD_SEVERAL,
    FIELD_TEXT,
    FORM_BODY,
    JSON_BODY,
    MULTIPART_BODY,
    BodyKind,
    FieldResult,
    body_kind_of,
    decode_form_text,
    decode_json_text,
    form_field,
    form_without,
    is_encoded,
    is_escaped,
    json_member,
    json_without,
    multipart_boundary,
    multipart_field,
    multipart_without,
)
from native.connection cimport Exchange
from native.fields cimport Head, Text, find_field, find_known_field, remove_field, text_of
from native.headers cimport HEADER_CONTENT_TYPE
from native.http1 cimport METHOD_OPTIONS
from native.identities cimport KEY_AUTH, CredentialRecord, record_text
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    STEP_FAIL,
    StepFunctions,
    change_query,
    change_request_body,
    exchange_memory,
    register_step,
    request_body,
    request_body_complete,
    request_head,
    request_query,
    step_config,
)
from native.snapshot cimport PluginRecord
from native.steps.authentication cimport (
    already_authenticated,
    authenticate,
    credential_consumer,
    current_credential,
    hide_from_logs,
    not_authenticated,
)

ctypedef struct KeyName:
    PackedText name
    PackedText dashed            # with "-" for "_": the header of that name counts, too; empty: there is no "_" in it

ctypedef struct KeyAuthConfig:
    PackedText anonymous         # empty: none
    PackedText challenge
    uint32_t name_offset, name_count         # KeyName
    uint8_t in_header, in_query, in_body
    uint8_t hide_credentials
    uint8_t run_on_preflight


def pack_config(*, list key_names, str anonymous, str challenge, bint in_header, bint in_query, bint in_body,
                bint hide_credentials, bint run_on_preflight) -> bytes:
    """`challenge`: of WWW-Authenticate."""
    cdef KeyAuthConfig config
    cdef KeyName name
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(KeyAuthConfig))
    names = b""
    for key_name in key_names:
        memset(&name, 0, sizeof(name))
        name.name = packer.text(key_name)
        if "_" in key_name:
            name.dashed = packer.text(key_name.replace("_", "-"))
        names += (<const char*> &name)[:sizeof(name)]
    config.name_offset = packer.array(names)
    config.name_count = <uint32_t> len(key_names)
    config.anonymous = packer.text(anonymous)
    config.challenge = packer.text(challenge)
    config.in_header = in_header
    config.in_query = in_query
    config.in_body = in_body
    config.hide_credentials = hide_credentials
    config.run_on_preflight = run_on_preflight
    return packer.finish(&config)


cdef inline const KeyName* key_names(const KeyAuthConfig* config) noexcept nogil:
    return <const KeyName*> (<const uint8_t*> config + config.name_offset)


# --- where a key may be ----------------------------------------------------------------------------------------------
# The functions below give FIELD_TEXT and the key, decoded; `key` is empty when memory is out. It is valid until the
# step returns.

cdef FieldResult key_in_header(const Head* head, Text name, Text* key) noexcept nogil:
    cdef Text second
    if name.length == 0 or not find_field(head, <const char*> name.data, name.length, 0, key):
        return FIELD_ABSENT
    if find_field(head, <const char*> name.data, name.length, 1, &second):
        return FIELD_SEVERAL
    return FIELD_TEXT


cdef FieldResult key_in_form(Exchange* exchange, Text form, Text name, Text* key) noexcept nogil:
    cdef FieldResult result = form_field(form, name, key)
    cdef uint8_t* plain
    if result == FIELD_TEXT and is_encoded(key[0]):
        plain = exchange_memory(exchange, key.length)
        key[0] = text_of(plain, decode_form_text(key[0], plain) if plain != NULL else 0)
    return result


cdef FieldResult key_in_json(Exchange* exchange, Text json, Text name, Text* key) noexcept nogil:
    cdef FieldResult result = json_member(json, name, key)
    cdef uint8_t* plain
    if result == FIELD_TEXT and is_escaped(key[0]):
        plain = exchange_memory(exchange, key.length)
        key[0] = text_of(plain, decode_json_text(key[0], plain) if plain != NULL else 0)
    return result


cdef FieldResult key_in_body(Exchange* exchange, const Head* head, Text name, Text* key) noexcept nogil:
    cdef Text content_type, body
    cdef BodyKind kind
    if not find_known_field(head, HEADER_CONTENT_TYPE, &content_type) or not request_body(exchange, &body) \
            or body.length == 0:
        return FIELD_ABSENT
    kind = body_kind_of(content_type)
    if kind == FORM_BODY:
        return key_in_form(exchange, body, name, key)
    if kind == JSON_BODY:
        return key_in_json(exchange, body, name, key)
    if kind == MULTIPART_BODY:
        return multipart_field(body, multipart_boundary(content_type), name, key)
    return FIELD_ABSENT


cdef Text sent_query(Exchange* exchange) noexcept nogil:
    """What the upstream would get."""
    if exchange.query_override.data != NULL:
        return exchange.query_override
    return request_query(exchange)


# --- finding the key -------------------------------------------------------------------------------------------------
cdef FieldResult key_of_name(Exchange* exchange, const KeyAuthConfig* config, const Head* head, const KeyName* name,
                             Text* key, bint* needs_body) noexcept nogil:
    cdef Text plain_name = packed_text(config, name.name)
    cdef FieldResult result = FIELD_ABSENT
    if config.in_header:
        result = key_in_header(head, plain_name, key)
        if result == FIELD_ABSENT:
            result = key_in_header(head, packed_text(config, name.dashed), key)
    if result == FIELD_ABSENT and config.in_query:
        result = key_in_form(exchange, sent_query(exchange), plain_name, key)
    if config.in_body and (result == FIELD_ABSENT or config.hide_credentials):
        needs_body[0] = not request_body_complete(exchange)
        if not needs_body[0] and result == FIELD_ABSENT:
            result = key_in_body(exchange, head, plain_name, key)
    return result


cdef FieldResult find_key(Exchange* exchange, const KeyAuthConfig* config, const Head* head, Text* key,
                          const KeyName** name, bint* needs_body) noexcept nogil:
    """FIELD_TEXT or FIELD_SEVERAL with the name under which it is, else FIELD_ABSENT."""
    cdef const KeyName* names = key_names(config)
    cdef FieldResult result
    cdef uint32_t i
    needs_body[0] = False
    for i in range(config.name_count):
        result = key_of_name(exchange, config, head, &names[i], key, needs_body)
        if needs_body[0]:
            return FIELD_ABSENT
        if result == FIELD_TEXT or result == FIELD_SEVERAL:
            name[0] = &names[i]
            return result
    return FIELD_ABSENT


# --- hiding it -------------------------------------------------------------------------------------------------------
cdef bint hide_in_query(Exchange* exchange, Text name) noexcept nogil:
    cdef Text query = sent_query(exchange)
    cdef Text ignored
    cdef uint8_t* left
    if query.length == 0 or form_field(query, name, &ignored) == FIELD_ABSENT:
        return True
    left = exchange_memory(exchange, query.length)
    return left != NULL and change_query(exchange, text_of(left, form_without(query, name, left)))


cdef bint hide_in_body(Exchange* exchange, const Head* head, Text name) noexcept nogil:
    """Only bodies that are looked at (key_in_body) can have one."""
    cdef Text content_type, boundary, body, ignored
    cdef BodyKind kind
    cdef uint8_t* left
    cdef uint32_t length
    if not find_known_field(head, HEADER_CONTENT_TYPE, &content_type) or not request_body(exchange, &body) \
            or key_in_body(exchange, head, name, &ignored) == FIELD_ABSENT:
        return True
    left = exchange_memory(exchange, body.length)
    if left == NULL:
        return False
    kind = body_kind_of(content_type)
    if kind == FORM_BODY:
        length = form_without(body, name, left)
    elif kind == JSON_BODY:
        length = json_without(body, name, left)
    else:
        boundary = multipart_boundary(content_type)
        length = multipart_without(body, boundary, name, left)
    return change_request_body(exchange, text_of(left, length))


cdef bint hide_key(Exchange* exchange, const KeyAuthConfig* config, Head* head, const KeyName* name) noexcept nogil:
    """Everywhere, wherever it was found."""
    cdef Text plain_name = packed_text(config, name.name)
    cdef Text dashed = packed_text(config, name.dashed)
    remove_field(head, <const char*> plain_name.data, plain_name.length)
    if dashed.length:
        remove_field(head, <const char*> dashed.data, dashed.length)
    return hide_in_query(exchange, plain_name) and (
        not config.in_body or hide_in_body(exchange, head, plain_name))


cdef void hide_keys_from_logs(Exchange* exchange, const KeyAuthConfig* config) noexcept nogil:
    cdef const KeyName* names = key_names(config)
    cdef uint32_t i
    if exchange.request.query_length and config.in_query:
        for i in range(config.name_count):
            hide_from_logs(exchange, packed_text(config, names[i].name))


# --- the step --------------------------------------------------------------------------------------------------------
cdef int identify(Exchange* exchange, const KeyAuthConfig* config, Text key) noexcept nogil:
    cdef Text anonymous = packed_text(config, config.anonymous)
    cdef Text challenge = packed_text(config, config.challenge)
    cdef const CredentialRecord* credential
    if key.length == 0:
        return not_authenticated(exchange, anonymous, b"No API key found in request", challenge)
    credential = current_credential(exchange, KEY_AUTH, key.data, key.length)
    if credential == NULL:
        return not_authenticated(exchange, anonymous, b"Unauthorized", challenge)
    return authenticate(exchange, credential, credential_consumer(exchange, credential),
                        text_of(record_text(credential, credential.id), credential.id.length))


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const KeyAuthConfig* config = <const KeyAuthConfig*> step_config(exchange, plugin)
    cdef Head head = request_head(exchange)
    cdef Text key = text_of(NULL, 0)
    cdef const KeyName* name = NULL
    cdef FieldResult result
    cdef bint needs_body
    if not config.run_on_preflight and exchange.request.method == METHOD_OPTIONS:
        return STEP_CONTINUE
    if already_authenticated(exchange, config.anonymous.length != 0):
        return STEP_CONTINUE
    hide_keys_from_logs(exchange, config)
    result = find_key(exchange, config, &head, &key, &name, &needs_body)
    if needs_body:
        return STEP_BODY
    if result == FIELD_SEVERAL:
        return not_authenticated(exchange, packed_text(config, config.anonymous), b"Duplicate API key found",
                                 packed_text(config, config.challenge))
    if result == FIELD_ABSENT:
        key = text_of(NULL, 0)
    elif config.hide_credentials and not hide_key(exchange, config, &head, name):
        return STEP_FAIL
    return identify(exchange, config, key)


cdef void log(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    hide_keys_from_logs(exchange, <const KeyAuthConfig*> step_config(exchange, plugin))


cdef StepFunctions functions
functions.access = access
functions.log = log
register_step("key_auth", functions)
