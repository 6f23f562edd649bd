"""Who may use the APIs, in mapped form: consumers, their credentials and the groups they are in.

A snapshot of its own kind: credentials change often, and must not make the routes be compiled again. One record per
entity, each a block of bytes by itself: fixed fields, then its texts, whose places count from the record's first byte.
Whoever compiles again keeps the records of entities that have not changed and joins them; what depends on the whole
file (where a record's consumer lies, the lists of a consumer, the table) is filled in then.

Knows nothing of requests. The comparison of secrets is the business of the steps.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from native.snapshot cimport SnapshotHeader

# What a key is a key to. A credential's record is of the kind of its key, a consumer's is of CONSUMER_ID.
cpdef enum IdentityKind:
    CONSUMER_ID = 1
    CONSUMER_USERNAME = 2
    CONSUMER_CUSTOM_ID = 3
    CONSUMER_GROUP = 4           # of acl; the name is no key: many are in one group
    KEY_AUTH = 5                 # key: the API key
    BASIC_AUTH = 6               # key: the user name; secret: hex(sha1(password + consumer id))
    HMAC_AUTH = 7                # key: the user name; secret: what requests are signed with
    JWT = 8                      # key: the issuer; secret: of HS…; more: the public key, PEM
    OAUTH2 = 9                   # key: the client's id; secret: the client's; more: redirect URIs, one per line

cpdef enum JwtAlgorithm:
    JWT_HS256 = 1
    JWT_HS384 = 2
    JWT_HS512 = 3
    JWT_RS256 = 4
    JWT_RS384 = 5
    JWT_RS512 = 6
    JWT_ES256 = 7
    JWT_ES384 = 8
    JWT_ES512 = 9
    JWT_PS256 = 10
    JWT_PS384 = 11
    JWT_PS512 = 12
    JWT_EDDSA = 13

cpdef enum CredentialFlag:
    SECRET_HASHED = 1            # OAUTH2: the secret is a PBKDF2 text
    CLIENT_PUBLIC = 2            # OAUTH2: a client that cannot keep a secret

ctypedef struct RecordText:
    uint32_t offset              # from the record's first byte
    uint32_t length

# What every record begins with.
ctypedef struct IdentityRecord:
    uint32_t size                # bytes, texts included; a multiple of 8
    uint8_t kind                 # IdentityKind
    uint8_t algorithm            # JwtAlgorithm of a JWT credential
    uint8_t flags                # CredentialFlag set
    uint8_t reserved

ctypedef struct ConsumerRecord:
    IdentityRecord head
    uint64_t id_hash, username_hash, custom_id_hash
    RecordText id                # UUID text
    RecordText username          # empty: none
    RecordText custom_id         # empty: none
    # lists of uint32 offsets from the file's first byte
    uint32_t credential_list, credential_count
    uint32_t group_list, group_count

ctypedef struct CredentialRecord:
    IdentityRecord head
    uint64_t key_hash
    uint64_t consumer_hash       # of the consumer's id
    int64_t expires_at           # milliseconds since the epoch; 0: never
    uint32_t consumer            # offset of its ConsumerRecord; 0: there is none, and nothing leads here
    uint32_t reserved
    RecordText consumer_id
    RecordText id                # UUID text
    RecordText key
    RecordText secret            # empty: none
    RecordText more              # see IdentityKind
    RecordText name              # OAUTH2: the application's

ctypedef struct GroupRecord:
    IdentityRecord head
    uint64_t name_hash           # as of a key of kind CONSUMER_GROUP
    uint64_t consumer_hash
    uint32_t consumer            # as in CredentialRecord
    uint32_t reserved
    RecordText consumer_id
    RecordText name

# A place of the table. The first place of a hash is its upper half's share of the table; the next ones follow.
ctypedef struct IdentitySlot:
    uint32_t tag                 # lower half of the hash
    uint32_t record              # offset; 0: free

# Section of the file, at SnapshotHeader.identities_offset. Records of one type follow each other without gaps.
ctypedef struct IdentityIndex:
    uint32_t consumer_offset, consumer_count
    uint32_t credential_offset, credential_count
    uint32_t group_offset, group_count
    uint32_t records_end
    uint32_t list_offset, list_length        # all lists of all consumers
    uint32_t slot_offset, slot_count
    uint32_t reserved

# --- reading: no GIL, no allocation ----------------------------------------------------------------------------------
# Check that every record, text, list and slot of a file of kind SNAPSHOT_IDENTITIES, which snapshot_verify() found
# sound, leads nowhere else. Returns NULL, else a static text that says what is wrong. Takes some memory meanwhile.
cdef const char* identities_verify(const SnapshotHeader* snapshot) noexcept nogil

# The hash of a key. Keys of different kinds have different ones.
cdef uint64_t identity_hash(IdentityKind kind, const uint8_t* key, uint32_t length) noexcept nogil

# The consumer with this key, or NULL. `kind`: CONSUMER_ID, CONSUMER_USERNAME or CONSUMER_CUSTOM_ID.
cdef const ConsumerRecord* find_consumer(const SnapshotHeader* snapshot, IdentityKind kind, const uint8_t* key,
                                         uint32_t length) noexcept nogil
# The credential with this key, or NULL; also one that has expired. `kind`: KEY_AUTH and those below it.
cdef const CredentialRecord* find_credential(const SnapshotHeader* snapshot, IdentityKind kind, const uint8_t* key,
                                             uint32_t length) noexcept nogil
# Whether a consumer is in the group with this name.
cdef bint is_in_group(const SnapshotHeader* snapshot, const ConsumerRecord* consumer, const uint8_t* name,
                      uint32_t length) noexcept nogil

cdef inline const IdentityIndex* snapshot_identities(const SnapshotHeader* snapshot) noexcept nogil:
    return <const IdentityIndex*> (<const uint8_t*> snapshot + snapshot.identities_offset)

cdef inline const char* record_text(const void* record, RecordText text) noexcept nogil:
    return <const char*> record + text.offset

cdef inline const ConsumerRecord* consumer_of(const SnapshotHeader* snapshot,
                                              const CredentialRecord* credential) noexcept nogil:
    return <const ConsumerRecord*> (<const uint8_t*> snapshot + credential.consumer)

# `now`: milliseconds since the epoch.
cdef inline bint has_expired(const CredentialRecord* credential, int64_t now) noexcept nogil:
    return credential.expires_at != 0 and credential.expires_at <= now

# Place `index` < consumer.credential_count of a consumer's credentials, oldest first.
cdef inline const CredentialRecord* consumer_credential(const SnapshotHeader* snapshot, const ConsumerRecord* consumer,
                                                        uint32_t index) noexcept nogil:
    cdef const uint32_t* places = <const uint32_t*> (<const uint8_t*> snapshot + consumer.credential_list)
    return <const CredentialRecord*> (<const uint8_t*> snapshot + places[index])

# Place `index` < consumer.group_count of the groups a consumer is in, oldest first.
cdef inline const GroupRecord* consumer_group(const SnapshotHeader* snapshot, const ConsumerRecord* consumer,
                                              uint32_t index) noexcept nogil:
    cdef const uint32_t* places = <const uint32_t*> (<const uint8_t*> snapshot + consumer.group_list)
    return <const GroupRecord*> (<const uint8_t*> snapshot + places[index])
