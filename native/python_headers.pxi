# Header fields and query arguments as plugins see and change them; included by python_requests.pyx.

cdef class Changes:
    """The answer under construction."""
    cdef bytearray data

    def __cinit__(self):
        self.data = bytearray()

    cdef put(self, uint32_t kind, uint32_t number, bytes first, bytes second):
        cdef Operation operation = Operation(kind, number, <uint32_t> len(first), <uint32_t> len(second))
        self.data += (<const char*> &operation)[:sizeof(Operation)]
        self.data += first
        self.data += second


cdef bytes encoded(str text):
    """What stands in a head: ISO 8859-1 where that is possible, as it was read; else UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


cdef bytes checked_name(object name):
    if not isinstance(name, str):
        raise TypeError(f"the name of a header is a str, not {type(name).__name__}")
    cdef bytes data = (<str> name).encode("utf-8")
    if not data or not TOKEN.issuperset(data):
        raise ValueError(f"{name!r} is not the name of a header")
    if not may_change(data, <uint32_t> len(data)):
        raise ValueError(f"{name} is written by the gateway itself")
    return data


cdef bytes checked_value(object value):
    if not isinstance(value, str):
        raise TypeError(f"the value of a header is a str, not {type(value).__name__}")
    cdef bytes data = encoded(value)
    for byte in data:
        if (byte < 32 and byte != 9) or byte == 127:
            raise ValueError("the value of a header has no control characters")
    return data


cdef class Query
cdef class Request


cdef class Headers:
    """The header fields of a request or response, names in any case. A field may come several times."""
    cdef Changes changes
    cdef bytes source            # NULL place: nothing was received
    cdef uint32_t place          # of the first field in it
    cdef uint32_t count
    cdef list fields             # [lower-case name, name, value]; None: not read yet
    cdef uint32_t set_kind       # OperationKind; the next two are for adding and removing

    cdef list read(self):
        cdef const char* data
        cdef CallField field
        cdef uint32_t _i
        cdef str name
        if self.fields is None:
            self.fields = []
            data = PyBytes_AS_STRING(self.source) + self.place if self.count else NULL
            for _i in range(self.count):
                memcpy(&field, data, sizeof(CallField))
                data += sizeof(CallField)
                name = data[:field.name_length].decode("latin-1")
                data += field.name_length
                self.fields.append((name.lower(), name, data[:field.value_length].decode("latin-1")))
                data += field.value_length
        return self.fields

    def get(self, str name not None, default=None):
        """The first value of a field, or `default`."""
        cdef str wanted = name.lower()
        for field in self.read():
            if field[0] == wanted:
                return field[2]
        return default

    def get_all(self, str name not None):
        """Every value of a field, in order."""
        cdef str wanted = name.lower()
        return [field[2] for field in self.read() if field[0] == wanted]

    def set(self, name, value):
        """Let the field have this value only. ValueError for what cannot stand in a head, and for fields that
        belong to the gateway (Content-Length, Connection, Host, X-Forwarded-For, …)."""
        first, second = checked_name(name), checked_value(value)
        wanted = name.lower()
        self.fields = [field for field in self.read() if field[0] != wanted]
        self.fields.append((wanted, name, value))
        self.changes.put(self.set_kind, 0, first, second)

    def add(self, name, value):
        """Add a field; those of the same name stay."""
        first, second = checked_name(name), checked_value(value)
        self.read().append((name.lower(), name, value))
        self.changes.put(self.set_kind + 1, 0, first, second)

    def remove(self, name):
        """Remove every field of that name, if there is any."""
        first = checked_name(name)
        wanted = name.lower()
        self.fields = [field for field in self.read() if field[0] != wanted]
        self.changes.put(self.set_kind + 2, 0, first, b"")

    def items(self):
        """All fields as (name, value), in order, names as they were sent."""
        return [(name, value) for _, name, value in self.read()]

    def __contains__(self, name):
        wanted = name.lower()
        return any(field[0] == wanted for field in self.read())

    def __getitem__(self, str name not None):
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name, value):
        self.set(name, value)

    def __delitem__(self, name):
        if name not in self:
            raise KeyError(name)
        self.remove(name)

    def __iter__(self):
        return iter(dict.fromkeys(name for _, name, _ in self.read()))

    def __len__(self):
        return len(self.read())

    def __repr__(self):
        # Not the values: there may be credentials among them, and this may end in a log.
        return f"<Headers {', '.join(self)}>"


cdef Headers make_headers(Changes changes, uint32_t set_kind, bytes source, uint32_t place, uint32_t count):
    cdef Headers headers = Headers.__new__(Headers)
    headers.changes = changes
    headers.set_kind = set_kind
    headers.source = source
    headers.place = place
    headers.count = count
    return headers


cdef class Query:
    """The arguments of a query, decoded. A name may come several times; what is changed goes upstream."""
    cdef Request request
    cdef list arguments          # (name, value)

    def get(self, str name not None, default=None):
        """The first value of an argument, or `default`."""
        for known, value in self.arguments:
            if known == name:
                return value
        return default

    def get_all(self, str name not None):
        """Every value of an argument, in order."""
        return [value for known, value in self.arguments if known == name]

    def set(self, str name not None, str value not None):
        """Let the argument have this value only."""
        self.arguments = [argument for argument in self.arguments if argument[0] != name]
        self.add(name, value)

    def add(self, str name not None, str value not None):
        """Add an argument at the end."""
        self.arguments.append((name, value))
        self.change()

    def remove(self, str name not None):
        """Remove every argument of that name, if there is any."""
        left = [argument for argument in self.arguments if argument[0] != name]
        if len(left) != len(self.arguments):
            self.arguments = left
            self.change()

    def items(self):
        """All arguments as (name, value), in order."""
        return list(self.arguments)

    cdef change(self):
        cdef str text = urlencode(self.arguments)
        self.request._query_string = text
        self.request.call.changes.put(SET_QUERY, 0, text.encode("ascii"), b"")

    def __contains__(self, name):
        return any(known == name for known, _ in self.arguments)

    def __getitem__(self, str name not None):
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name, value):
        self.set(name, value)

    def __iter__(self):
        return iter(dict.fromkeys(name for name, _ in self.arguments))

    def __len__(self):
        return len(self.arguments)

    def __repr__(self):
        return f"<Query {', '.join(self)}>"
