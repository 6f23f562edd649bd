# What a request belongs to, as plugins see it; included by python_requests.pyx.

cdef class Named:
    """A thing of the configuration: its id, and its name where it has one."""
    cdef readonly str id
    cdef readonly object name

    def __repr__(self):
        return f"<{type(self).__name__} {self.name or self.id}>"


cdef class Route(Named):
    """The route that the request matched."""


cdef class Service(Named):
    """The service of the route."""
    cdef readonly str host


cdef class Consumer:
    """Who the client is."""
    cdef readonly str id
    cdef readonly object username, custom_id

    def __repr__(self):
        return f"<Consumer {self.username or self.custom_id or self.id}>"


cdef class Credential:
    """What the client has shown: its id, the plugin that knows it ("key-auth", …), and its user name or issuer where
    that is no secret."""
    cdef readonly str id, kind
    cdef readonly object name

    def __repr__(self):
        return f"<Credential {self.kind} {self.id}>"
