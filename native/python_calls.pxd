"""What the step of Python plugins (native/steps/python_plugin.pyx) and the plugin thread tell each other.

A *call* is the payload of a job: a CallHead, its texts one after another in the order of CallText, then the fields of
the request's head, then those of the response's. All of it is copied, and read only as far as the plugin asks for it.

An *answer* is the job's result: nothing when the plugin changed nothing, else operations in the order in which they are
to be done, each an Operation with its two texts behind it.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from native.connection cimport Exchange
from native.fields cimport Text
from native.memory cimport Buffer
from native.snapshot cimport PluginRecord

# What a plugin has; `verb` of a job is one of these.
cpdef enum PluginPhase:
    PHASE_REWRITE = 1
    PHASE_ACCESS = 2
    PHASE_RESPONSE = 4
    PHASE_LOG = 8
    FORGET_REQUEST = 16          # no phase: the request has ended, its `ctx` is not needed any more

cpdef enum PluginOption:
    BUFFER_REQUEST = 1           # access sees the request's body
    BUFFER_RESPONSE = 2          # response sees the response's body

# The packed configuration: what the step needs, then the name of the source (see gateway.pdk.sources).
ctypedef struct PackedPlugin:
    uint32_t phases              # PluginPhase set
    uint32_t options             # PluginOption set
    uint32_t source_length
    uint32_t reserved

cpdef enum CallText:
    CALL_METHOD = 0
    CALL_PATH = 1
    CALL_QUERY = 2
    CALL_HOST = 3
    CALL_CLIENT_ADDRESS = 4
    CALL_ROUTE_ID = 5
    CALL_ROUTE_NAME = 6
    CALL_SERVICE_ID = 7
    CALL_SERVICE_NAME = 8
    CALL_SERVICE_HOST = 9
    CALL_CONSUMER_ID = 10
    CALL_CONSUMER_USERNAME = 11
    CALL_CONSUMER_CUSTOM_ID = 12
    CALL_CREDENTIAL_ID = 13
    CALL_CREDENTIAL_NAME = 14    # of a kind whose key is no secret
    CALL_PEER = 15               # log: the upstream's address that answered last
    CALL_REQUEST_BODY = 16
    CALL_RESPONSE_BODY = 17
    CALL_TEXTS = 18              # how many there are

cpdef enum CallFlag:
    CALL_HTTPS = 1
    CALL_HTTP_1_0 = 2
    CALL_HAS_ROUTE = 4
    CALL_HAS_SERVICE = 8
    CALL_HAS_CONSUMER = 16
    CALL_HAS_CREDENTIAL = 32
    CALL_AUTHENTICATED = 64
    CALL_ANONYMOUS = 128
    CALL_HAS_CONTEXT = 256       # the plugin thread keeps something for this request
    CALL_LAST = 512              # log: nothing comes for this request after it
    CALL_HAS_BODY = 1024         # the request's body is there
    CALL_BODY_OVER = 2048        # it is longer than plugins may see
    CALL_HAS_RESPONSE_BODY = 4096
    CALL_RESPONSE_BODY_OVER = 8192
    CALL_LOCAL = 16384           # the response is the gateway's own

ctypedef struct CallHead:
    uint32_t text_length[CALL_TEXTS]
    uint32_t request_fields      # how many
    uint32_t response_fields
    uint32_t flags               # CallFlag set
    uint16_t client_port
    uint16_t status              # of the response; 0: there is none yet
    uint16_t credential_kind     # IdentityKind
    uint16_t reserved
    # log
    uint64_t bytes_received, bytes_sent
    uint32_t total_ms            # from the first byte of the request to the end of the response
    uint32_t upstream_ms         # from the choice of the peer to the head of its response
    uint32_t tries               # failed tries
    uint32_t reserved_too

# Before each field's name and value.
ctypedef struct CallField:
    uint32_t name_length, value_length

cpdef enum OperationKind:
    SET_HEADER = 1               # name, value
    ADD_HEADER = 2
    REMOVE_HEADER = 3            # name
    SET_RESPONSE_HEADER = 4
    ADD_RESPONSE_HEADER = 5
    REMOVE_RESPONSE_HEADER = 6
    SET_METHOD = 7               # method
    SET_PATH = 8
    SET_QUERY = 9
    SET_HOST = 10
    SET_BODY = 11
    SET_PEERS = 12               # key of a peer set, see snapshot.pxd
    SET_CONSUMER = 13            # id or user name, and what the credential is called (may be empty)
    SET_STATUS = 14              # `number`
    SET_RESPONSE_BODY = 15
    RESPOND = 16                 # `number`: status; content type, body
    KEEP_CONTEXT = 17
    SHARE_TEXT = 18              # name, value: for plugins that are not written in Python

ctypedef struct Operation:
    uint32_t kind                # OperationKind
    uint32_t number
    uint32_t first_length, second_length

cdef enum:
    MAX_OPERATIONS = 4096

# Write the call of `phase` into a new job and hand it over: it waits for the answer, or (`send`) nobody does. Returns
# STEP_PARK or STEP_FAIL; of one that is sent, nothing of interest.
cdef int call_plugin(Exchange* exchange, const PluginRecord* plugin, uint32_t phase, bint last, bint send) noexcept nogil
# Do what an answer asks for. Returns what the step returns. What cannot be done is logged and a 500.
cdef int apply_answer(Exchange* exchange, const PluginRecord* plugin, const void* answer, uint32_t length) noexcept nogil
