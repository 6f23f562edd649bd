"""Requests and responses as Python plugins see them: read from a call, changes gathered into an answer.

Nothing is decoded before a plugin asks for it. Each object belongs to one call of one plugin; what it changes is done
when the plugin's function has returned. The format is that of python_calls.pxd.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from itertools import islice
from urllib.parse import parse_qsl, urlencode

import msgspec

from native.fields cimport may_change
from native.python_calls cimport *

cdef object NAME_OF_KIND = {5: "key-auth", 6: "basic-auth", 7: "hmac-auth", 8: "jwt", 9: "oauth2"}
cdef frozenset TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
cdef int MOST_SHARED = 64        # texts of a context that plugins which are not written in Python are told
cdef object encode_json = msgspec.json.Encoder().encode
cdef object decode_json = msgspec.json.Decoder().decode


class BodyNotRead(Exception):
    """The plugin wants to see a body that it has not asked for (`buffer_request`, `buffer_response`)."""


class BodyTooLong(Exception):
    """The body is longer than plugins may see (PLUGIN_BODY_LIMIT). Where a plugin lets this pass, the request is
    answered with 413; the response goes on as it is."""


include "python_headers.pxi"
include "python_entities.pxi"


# --- a call ----------------------------------------------------------------------------------------------------------
cdef class Call:
    """One call, and its answer. `source` is the payload of a job."""
    cdef bytes source
    cdef const CallHead* head
    cdef Changes changes

    cdef uint32_t place(self, uint32_t number):
        """Where text `number` begins; that of CALL_TEXTS is where the fields do."""
        cdef uint32_t place = sizeof(CallHead)
        cdef uint32_t i
        for i in range(number):
            place += self.head.text_length[i]
        return place

    cdef bytes raw(self, uint32_t number):
        cdef const char* text = PyBytes_AS_STRING(self.source) + self.place(number)
        return text[:self.head.text_length[number]]

    cdef str text(self, uint32_t number):
        return self.raw(number).decode("latin-1")

    cdef object text_or_none(self, uint32_t number):
        cdef bytes text = self.raw(number)
        return text.decode("utf-8", "replace") if text else None


cdef Call make_call(bytes source):
    cdef Call call = Call.__new__(Call)
    if <size_t> PyBytes_GET_SIZE(source) < sizeof(CallHead):
        raise ValueError("a call is longer")
    call.source = source
    call.head = <const CallHead*> PyBytes_AS_STRING(source)
    call.changes = Changes()
    return call


cdef object body_of(Call call, uint32_t number, uint32_t there, uint32_t over, str option):
    if call.head.flags & there:
        return call.raw(number)
    if call.head.flags & over:
        raise BodyTooLong("the body is longer than plugins may see")
    raise BodyNotRead(f"the plugin needs `{option} = True` to see or change this body")


cdef bytes body_bytes(object body):
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8")
    raise TypeError(f"a body is bytes or str, not {type(body).__name__}")


cdef class Request:
    """The client's request on its way to the upstream."""
    cdef Call call
    cdef readonly str id
    cdef object contexts         # of all requests that have one, by request id
    cdef dict context
    cdef Headers _headers, _response_headers
    cdef object _method, _path, _query_string, _body, _host
    cdef Query _query

    @property
    def method(self):
        """The method, upper case. Assign to send another one upstream."""
        if self._method is None:
            self._method = self.call.text(CALL_METHOD)
        return self._method

    @method.setter
    def method(self, str method not None):
        if not method or not TOKEN.issuperset(method.encode("utf-8")):
            raise ValueError(f"{method!r} is no method")
        self._method = method
        self.call.changes.put(SET_METHOD, 0, encoded(method), b"")

    @property
    def path(self):
        """The path as the client sent it, with percent escapes, without the query. Assign to send another one
        upstream: the whole of it, nothing is stripped or put before. ValueError for a "?" or "#": nobody's text may
        become a query by way of the path; they are written %3F and %23."""
        if self._path is None:
            self._path = self.call.text(CALL_PATH)
        return self._path

    @path.setter
    def path(self, str path not None):
        if not path.startswith("/"):
            raise ValueError("a path begins with /")
        if "?" in path or "#" in path:
            raise ValueError("a path has no ? and no #: they are written %3F and %23")
        self._path = checked_target(path, "path")
        self.call.changes.put(SET_PATH, 0, encoded(path), b"")

    @property
    def query_string(self):
        """What follows the "?", as it was sent. Assign to send another one upstream."""
        if self._query_string is None:
            self._query_string = self.call.text(CALL_QUERY)
        return self._query_string

    @query_string.setter
    def query_string(self, str query not None):
        self._query_string = checked_target(query, "query")
        self._query = None
        self.call.changes.put(SET_QUERY, 0, encoded(query), b"")

    @property
    def query(self):
        """The arguments of the query, decoded. What is changed goes upstream."""
        if self._query is None:
            self._query = Query.__new__(Query)
            self._query.request = self
            self._query.arguments = parse_qsl(self.query_string, keep_blank_values=True)
        return self._query

    @property
    def host(self):
        """The host name that the client asked for, without port. Assign to send another Host field upstream."""
        if self._host is None:
            self._host = self.call.text(CALL_HOST)
        return self._host

    @host.setter
    def host(self, str host not None):
        if not host:
            raise ValueError("a host has a name")
        if not NOT_IN_HOSTS.isdisjoint(host):
            raise ValueError(f"a host has none of {''.join(sorted(NOT_IN_HOSTS))}")
        self._host = checked_target(host, "host")
        self.call.changes.put(SET_HOST, 0, encoded(host), b"")

    @property
    def scheme(self):
        """"http" or "https"."""
        return "https" if self.call.head.flags & CALL_HTTPS else "http"

    @property
    def http_version(self):
        """"1.1" or "1.0"."""
        return "1.0" if self.call.head.flags & CALL_HTTP_1_0 else "1.1"

    @property
    def client_address(self):
        """The client's IP address; of one that a trusted proxy tells of, where it does."""
        return self.call.text(CALL_CLIENT_ADDRESS)

    @property
    def client_port(self):
        """The client's port; 0 when it is not known."""
        return self.call.head.client_port

    @property
    def headers(self):
        """The header fields. What is changed goes upstream."""
        if self._headers is None:
            self._headers = make_headers(self.call.changes, SET_HEADER, self.call.source, self.call.place(CALL_TEXTS),
                                         self.call.head.request_fields)
        return self._headers

    @property
    def response_headers(self):
        """Fields for whatever response will come, in `access`: those that are set take the place of the upstream's."""
        if self._response_headers is None:
            self._response_headers = make_headers(self.call.changes, SET_RESPONSE_HEADER, b"", 0, 0)
        return self._response_headers

    @property
    def body(self):
        """The body, for plugins with `buffer_request`, in `access`. Assign bytes or a str to send another one
        upstream. BodyTooLong, BodyNotRead."""
        if self._body is None:
            self._body = body_of(self.call, CALL_REQUEST_BODY, CALL_HAS_BODY, CALL_BODY_OVER, "buffer_request")
        return self._body

    @body.setter
    def body(self, body):
        body_of(self.call, CALL_REQUEST_BODY, CALL_HAS_BODY, CALL_BODY_OVER, "buffer_request")
        self._body = body_bytes(body)
        self.call.changes.put(SET_BODY, 0, self._body, b"")

    def json(self):
        """The body read as JSON. ValueError when it is none."""
        return decode_json(self.body)

    @property
    def route(self):
        """The route, or None: in `rewrite`, and where no route matched."""
        cdef Route route
        if not self.call.head.flags & CALL_HAS_ROUTE:
            return None
        route = Route.__new__(Route)
        route.id = self.call.text(CALL_ROUTE_ID)
        route.name = self.call.text_or_none(CALL_ROUTE_NAME)
        return route

    @property
    def service(self):
        """The service of the route, or None."""
        cdef Service service
        if not self.call.head.flags & CALL_HAS_SERVICE:
            return None
        service = Service.__new__(Service)
        service.id = self.call.text(CALL_SERVICE_ID)
        service.name = self.call.text_or_none(CALL_SERVICE_NAME)
        service.host = self.call.text(CALL_SERVICE_HOST)
        return service

    @property
    def consumer(self):
        """Who the client is, as far as plugins of higher priority have found out; None: unknown."""
        cdef Consumer consumer
        if not self.call.head.flags & CALL_HAS_CONSUMER:
            return None
        consumer = Consumer.__new__(Consumer)
        consumer.id = self.call.text(CALL_CONSUMER_ID)
        consumer.username = self.call.text_or_none(CALL_CONSUMER_USERNAME)
        consumer.custom_id = self.call.text_or_none(CALL_CONSUMER_CUSTOM_ID)
        return consumer

    @property
    def credential(self):
        """What the client has shown, or None."""
        cdef Credential credential
        if not self.call.head.flags & CALL_HAS_CREDENTIAL:
            return None
        credential = Credential.__new__(Credential)
        credential.id = self.call.text(CALL_CREDENTIAL_ID)
        credential.kind = NAME_OF_KIND.get(self.call.head.credential_kind, "")
        credential.name = self.call.text_or_none(CALL_CREDENTIAL_NAME)
        return credential

    @property
    def is_authenticated(self):
        """Whether a plugin has identified the client, and not only taken it for the anonymous consumer."""
        return (self.call.head.flags & CALL_AUTHENTICATED) != 0

    @property
    def ctx(self):
        """A dict that all Python plugins of this request share, in all phases."""
        if self.context is None:
            self.context = self.contexts.get(self.id) if self.call.head.flags & CALL_HAS_CONTEXT else None
            if self.context is None:
                self.context = {}
        return self.context

    def set_upstream(self, str name not None):
        """Send the request to the targets of the upstream with this name. It must exist when the function returns;
        else the request ends with 500. Path, port and timeouts stay those of the service."""
        self.call.changes.put(SET_PEERS, 0, f"upstream:{name}".encode(), b"")

    def set_target(self, str host not None, int port):
        """Send the request to a host that some service of the configuration has with this port; for others, the
        gateway has not looked up addresses, and the request ends with 500."""
        self.call.changes.put(SET_PEERS, 0, f"host:{host.lower()}:{port}".encode(), b"")

    def authenticate(self, str consumer not None, str credential=""):
        """The client is this consumer (its id or user name): for plugins that know credentials of their own. The
        upstream is told in X-Consumer-…, and in X-Credential-Identifier what `credential` says. It must exist; else
        the request ends with 500. Configurations for this consumer apply to the plugins that run later."""
        if not consumer:
            raise ValueError("a consumer has an id or a user name")
        self.call.changes.put(SET_CONSUMER, 0, consumer.encode(), encoded(credential))

    def __repr__(self):
        return f"<Request {self.method} {self.path}>"


# They end a host in a URL, or what stands before it.
NOT_IN_HOSTS = frozenset("/?#@\\")


cdef str checked_target(str text, str what):
    for character in text:
        if character <= " " or character == "\x7f":
            raise ValueError(f"a {what} has no blanks and no control characters")
    return text


cdef class Response:
    """The response on its way to the client, its head complete."""
    cdef Call call
    cdef Headers _headers
    cdef object _status, _body

    @property
    def status(self):
        """The status. Assign 200 to 599."""
        return self.call.head.status if self._status is None else self._status

    @status.setter
    def status(self, int status):
        if not 200 <= status <= 599:
            raise ValueError("the status of a response is between 200 and 599")
        self._status = status
        self.call.changes.put(SET_STATUS, <uint32_t> status, b"", b"")

    @property
    def headers(self):
        """The header fields. What is changed goes to the client."""
        cdef uint32_t place
        cdef uint32_t _i
        cdef CallField field
        if self._headers is None:
            place = self.call.place(CALL_TEXTS)
            for _i in range(self.call.head.request_fields):
                memcpy(&field, PyBytes_AS_STRING(self.call.source) + place, sizeof(CallField))
                place += <uint32_t> sizeof(CallField) + field.name_length + field.value_length
            self._headers = make_headers(self.call.changes, SET_RESPONSE_HEADER, self.call.source, place,
                                         self.call.head.response_fields)
        return self._headers

    @property
    def body(self):
        """The body, for plugins with `buffer_response`; as the upstream sent it, compressed perhaps. Assign bytes or
        a str to send another one. BodyTooLong, BodyNotRead."""
        if self._body is None:
            self._body = body_of(self.call, CALL_RESPONSE_BODY, CALL_HAS_RESPONSE_BODY, CALL_RESPONSE_BODY_OVER,
                                 "buffer_response")
        return self._body

    @body.setter
    def body(self, body):
        body_of(self.call, CALL_RESPONSE_BODY, CALL_HAS_RESPONSE_BODY, CALL_RESPONSE_BODY_OVER, "buffer_response")
        self._body = body_bytes(body)
        self.call.changes.put(SET_RESPONSE_BODY, 0, self._body, b"")

    def json(self):
        """The body read as JSON. ValueError when it is none."""
        return decode_json(self.body)

    @property
    def is_local(self):
        """Whether it is the gateway's own (a plugin's, an error) and not the upstream's."""
        return (self.call.head.flags & CALL_LOCAL) != 0

    def __repr__(self):
        return f"<Response {self.status}>"


cdef class Outcome:
    """What became of a request, for `log`. Times are seconds, sizes bytes on the wire."""
    cdef readonly uint32_t status
    cdef readonly uint64_t bytes_received, bytes_sent
    cdef readonly double seconds, upstream_seconds
    cdef readonly uint32_t retries
    cdef readonly bint is_local
    cdef readonly object target

    def __repr__(self):
        return f"<Outcome {self.status} after {self.seconds:.3f} s>"


# --- for gateway.pdk.handler -----------------------------------------------------------------------------------------
cdef Request make_request(Call call, str request_id, object contexts):
    cdef Request request = Request.__new__(Request)
    request.call = call
    request.id = request_id
    request.contexts = contexts
    return request


def read_request(job, contexts):
    """The request of a job."""
    return make_request(make_call(job.payload), job.request_id, contexts)


def read_response(Request request not None):
    """The response in the call of a request, in the phase `response`."""
    cdef Response response = Response.__new__(Response)
    response.call = request.call
    return response


def read_outcome(Request request not None):
    """What the call of a request tells in the phase `log`."""
    cdef Outcome outcome = Outcome.__new__(Outcome)
    cdef const CallHead* head = request.call.head
    outcome.status = head.status
    outcome.bytes_received = head.bytes_received
    outcome.bytes_sent = head.bytes_sent
    outcome.seconds = head.total_ms / 1000.0
    outcome.upstream_seconds = head.upstream_ms / 1000.0
    outcome.retries = head.tries
    outcome.is_local = (head.flags & CALL_LOCAL) != 0
    outcome.target = request.call.text_or_none(CALL_PEER)
    return outcome


def is_last_call(Request request not None):
    """Whether nothing comes for this request after this call."""
    return (request.call.head.flags & CALL_LAST) != 0


def answer_of(Request request not None):
    """The answer with everything that was changed. A context with something in it is kept from now on, and the texts
    and numbers in it are told to plugins that are not written in Python."""
    if request.context:
        if not request.call.head.flags & CALL_HAS_CONTEXT:
            request.contexts[request.id] = request.context
            request.call.changes.put(KEEP_CONTEXT, 0, b"", b"")
        for name, value in islice(request.context.items(), MOST_SHARED):
            if type(name) is str and (type(value) is str or type(value) is int or type(value) is float):
                request.call.changes.put(SHARE_TEXT, 0, name.encode(errors="replace"), str(value).encode(errors="replace"))
    return bytes(request.call.changes.data)


def respond_with(Request request not None, uint32_t status, bytes content_type not None, bytes body not None,
                 list headers not None):
    """The answer that ends the request with a response; `headers`: (name, value). What was changed before is
    part of it."""
    cdef Headers response = make_headers(request.call.changes, SET_RESPONSE_HEADER, b"", 0, 0)
    for name, value in headers:
        response.add(name, value)
    answer_of(request)
    request.call.changes.put(RESPOND, status, content_type, body)
    return bytes(request.call.changes.data)
