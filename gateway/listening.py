"""Listening sockets of the proxy: opened by the master, kept by it, lent to the workers.

With `reuseport` an address has one socket per worker and the kernel spreads connections over them; because
the master holds them too, what waits in the queue of a killed worker is taken by its successor. Without
`reuseport` the workers share one socket.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.settings import Listener

SHARED = 1
"""flag of native.data_plane: several workers accept from the socket"""


class ListenError(Exception):
    """An address that cannot be listened on; str() names it, the reason and what to do."""


class ListeningSockets:
    """The sockets of all proxy addresses for a number of workers."""

    def __init__(self, by_listener: dict[Listener, list[socket.socket]]) -> None:
        self._by_listener = by_listener

    @classmethod
    def open(
        cls,
        listeners: Iterable[Listener],
        workers: int,
        kept: "ListeningSockets | None" = None,
        *,
        private: bool = False,
    ) -> "ListeningSockets":
        """Open what `listeners` and `workers` need, taking over what `kept` has of it.

        To unix sockets everybody may connect, or with `private` only the user of this process.

        Raises ListenError, after closing what it opened. What `kept` has and the result has not stays open
        until kept.close_except(result).
        """
        old = kept._by_listener if kept else {}
        sockets: dict[Listener, list[socket.socket]] = {}
        opened: list[socket.socket] = []
        try:
            for listener in listeners:
                own = list(old.get(listener, ()))
                if not own:
                    _check_free(
                        listener, released=[kept_one for kept_one in old if str(kept_one) == str(listener)]
                    )
                # Sockets beyond the number of workers are never closed while the address is in use:
                # connections may wait in them. for_worker() gives them to somebody.
                while len(own) < (workers if listener.reuseport and not listener.path else 1):
                    opened.append(_open(listener, private=private))
                    own.append(opened[-1])
                sockets[listener] = own
        except ListenError:
            for one in opened:
                one.close()
            raise
        return cls(sockets)

    def for_worker(self, slot: int, workers: int, port_maps: Mapping[int, int]) -> list[tuple[int, int, int]]:
        """The sockets of worker `slot` of `workers`: (descriptor, port that clients use, flags) each."""
        lent = []
        for listener, sockets in self._by_listener.items():
            port = port_maps.get(listener.port, listener.port)
            if len(sockets) == 1 and not (listener.reuseport and not listener.path):
                lent.append((sockets[0].fileno(), port, SHARED if workers > 1 else 0))
            else:
                lent += [(one.fileno(), port, 0) for at, one in enumerate(sockets) if at % workers == slot]
        return lent

    def close_except(self, needed: "ListeningSockets | Iterable[int]") -> None:
        """Close all sockets but those that are `needed` (the same socket in another set, or a descriptor)."""
        if isinstance(needed, ListeningSockets):
            descriptors = {one.fileno() for sockets in needed._by_listener.values() for one in sockets}
        else:
            descriptors = set(needed)
        for listener, sockets in self._by_listener.items():
            for one in sockets:
                if one.fileno() not in descriptors:
                    one.close()
            if listener.path and isinstance(needed, ListeningSockets) and listener not in needed._by_listener:
                Path(listener.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Close all of them: nobody is to connect any more."""
        self.close_except(ListeningSockets({}))

    def addresses(self) -> list[str]:
        """What is listened on, for people."""
        return [str(listener) for listener in self._by_listener]


def _open(listener: Listener, *, alone: bool = False, private: bool = False) -> socket.socket:
    """A socket that listens as told; `alone` refuses to share the port even where the listener would.

    `private`: a unix socket is for the user of this process only.
    """
    family = (
        socket.AF_UNIX if listener.path else (socket.AF_INET6 if ":" in listener.address else socket.AF_INET)
    )
    one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if listener.path:
            _bind_path(one, listener.path, private)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.reuseport and not alone:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listener.ipv6only))
            if listener.so_keepalive:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if listener.deferred:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
            one.bind((listener.address, listener.port))
        one.listen(listener.backlog)
    except OSError as error:
        one.close()
        raise ListenError(_explanation(listener, error)) from None
    return one


def _bind_path(one: socket.socket, path: str, private: bool) -> None:
    """Bind a unix socket. One that is not private gets nginx's rights: its directory says who may connect."""
    if private:
        before = os.umask(0o177)  # and no chmod afterwards: there would be a moment for everybody before it
        try:
            one.bind(path)
        finally:
            os.umask(before)
    else:
        one.bind(path)
        Path(path).chmod(0o666)


def _check_free(listener: Listener, released: list[Listener]) -> None:
    """Refuse an address that another program listens on: with SO_REUSEPORT the two would share its
    connections.

    `released` are the gateway's own listeners of this address with other options, which it is about to give
    up.
    """
    if listener.path:
        _remove_stale_socket(listener)
    elif not released:
        _open(listener, alone=True).close()


def _remove_stale_socket(listener: Listener) -> None:
    path = Path(listener.path)
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ListenError(f"cannot listen on {listener}: a file that is not a socket lies there")
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(listener.path)
    except OSError:
        path.unlink(missing_ok=True)
    else:
        raise ListenError(f"cannot listen on {listener}: another program does")
    finally:
        probe.close()


def _explanation(listener: Listener, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = {
        "EADDRINUSE": "another program listens there; stop it or choose another port (PROXY_LISTEN)",
        "EACCES": "a port below 1024 needs root rights or CAP_NET_BIND_SERVICE",
        "EADDRNOTAVAIL": "this machine does not have the address",
    }.get(_name_of(error), "")
    return f"cannot listen on {listener}: {reason}" + (f" ({advice})" if advice else "")


def _name_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")
