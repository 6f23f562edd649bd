"""The Admin API of a real gateway: tokens, TLS, certificates of clients, the audit log, many connections."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.control import tls
from gateway.run_directory import RunDirectory, read_json
from tests.support.certificates import certificate, key_pem, new_key
from tests.support.footprint import other_control
from tests.support.gateway import Gateway, wait_for

ADMIN, NEXT, READER = (f"{name}-token-0123456789abcdef" for name in ("admin", "next", "reader"))
JSON = {"Content-Type": "application/json"}


def call(
    gateway: Gateway, method: str, path: str, token: str | None = None, value: Any = None
) -> tuple[int, Any]:
    """Status and decoded body (None without one)."""
    headers = dict(JSON) if value is not None else {}
    if token:
        headers["Kong-Admin-Token"] = token
    body = None if value is None else json.dumps(value).encode()
    status, _, data = gateway.call(gateway.admin_port, method, path, body, headers)
    return status, json.loads(data) if data else None


def reload(gateway: Gateway) -> dict[str, Any]:
    """Have the settings read again; the outcome."""
    report = RunDirectory(gateway.prefix).reload
    sequence = read_json(report).get("sequence", 0)
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    return wait_for(
        lambda: (now := read_json(report)).get("sequence", 0) > sequence and now, what="the reload"
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- tokens and the audit log -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Gateway]:
    gateway = Gateway(None, database="sqlite", worker_processes=1)
    tokens = gateway.prefix / "tokens"
    tokens.write_text(f"ops:{ADMIN}\n")
    gateway.settings |= {
        "admin_token": f"file:{tokens}",
        "admin_read_token": READER,
        "admin_audit_log": "logs/audit.log",
        "log_level": "debug",
    }
    with gateway:
        yield gateway


def test_who_may_do_what(guarded: Gateway) -> None:
    service = {"name": "guarded", "host": "a.test"}
    assert call(guarded, "POST", "/services", None, service)[0] == 401
    assert call(guarded, "POST", "/services", "wrong", service)[0] == 401
    assert call(guarded, "POST", "/services", READER, service)[0] == 403
    assert call(guarded, "GET", "/services/guarded", READER)[0] == 404
    assert call(guarded, "POST", "/services", ADMIN, service)[0] == 201
    assert call(guarded, "GET", "/services/guarded", READER)[1]["host"] == "a.test"
    assert guarded.call(guarded.status_port, "GET", "/status")[0] == 200


def test_secrets_are_nowhere_but_where_they_are_asked_for(guarded: Gateway) -> None:
    assert call(guarded, "POST", "/consumers", ADMIN, {"username": "bob"})[0] == 201
    for path, values in (
        ("key-auth", {"key": "open-sesame-1"}),
        ("basic-auth", {"username": "bob", "password": "open-sesame-2"}),
        ("jwt", {"key": "bobs", "secret": "open-sesame-3"}),
    ):
        assert call(guarded, "POST", f"/consumers/bob/{path}", ADMIN, values)[0] == 201
        assert call(guarded, "POST", f"/consumers/bob/{path}", ADMIN, values)[0] == 409
        assert "******" in json.dumps(call(guarded, "GET", f"/consumers/bob/{path}", READER)[1])
    call(guarded, "GET", "/key-auths/open-sesame-1", ADMIN)
    call(guarded, "DELETE", "/key-auths/open-sesame-1", ADMIN)
    assert call(guarded, "GET", "/consumers/bob/jwt", ADMIN)[1]["data"][0]["secret"] == "open-sesame-3"  # noqa: S105
    shown = json.dumps(call(guarded, "GET", "/", ADMIN)[1])
    written = guarded.output() + (guarded.prefix / "logs" / "audit.log").read_text()
    for secret in ("open-sesame", ADMIN, READER):
        assert secret not in shown
        assert secret not in written


def test_the_audit_log_tells_who_changed_what(guarded: Gateway) -> None:
    path = guarded.prefix / "logs" / "audit.log"
    before = len(lines(path)) if path.exists() else 0
    call(guarded, "PUT", "/services/audited", ADMIN, {"host": "a.test"})
    call(guarded, "PATCH", "/services/audited", ADMIN, {"host": "b.test"})
    call(guarded, "PATCH", "/services/audited", ADMIN, {"port": "nonsense"})
    call(guarded, "DELETE", "/services/audited", READER)
    call(guarded, "DELETE", "/services/audited", ADMIN)
    found = lines(path)[before:]
    assert [(one["method"], one["status"], one["caller"]) for one in found] == [
        ("PUT", 200, {"kind": "admin", "name": "ops"}),
        ("PATCH", 200, {"kind": "admin", "name": "ops"}),
        ("PATCH", 400, {"kind": "admin", "name": "ops"}),
        ("DELETE", 403, {"kind": "read", "name": None}),
        ("DELETE", 204, {"kind": "admin", "name": "ops"}),
    ]
    actions = [[change["action"] for change in one.get("changes", ())] for one in found]
    assert actions == [["created"], ["updated"], [], [], ["removed"]]
    assert found[1]["changes"][0]["fields"] == {"host": {"from": "a.test", "to": "b.test"}}
    assert {one["client"] for one in found} == {"127.0.0.1"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_audit_log_is_rotated(guarded: Gateway) -> None:
    path = guarded.prefix / "logs" / "audit.log"
    call(guarded, "PUT", "/services/rotated", ADMIN, {"host": "a.test"})
    rotated = path.with_suffix(".1")
    path.rename(rotated)
    size = rotated.stat().st_size
    assert guarded.process is not None
    guarded.process.send_signal(signal.SIGUSR1)
    wait_for(path.exists, what="the new file")
    call(guarded, "DELETE", "/services/rotated", ADMIN)
    (line,) = lines(path)
    assert line["method"] == "DELETE"
    assert rotated.stat().st_size == size


def test_a_token_is_replaced_by_a_reload(guarded: Gateway) -> None:
    tokens = guarded.prefix / "tokens"
    tokens.write_text(f"ops:{ADMIN}\nops2:{NEXT}\n")
    assert call(guarded, "GET", "/", NEXT)[0] == 401
    assert reload(guarded)["ok"]
    for token in (ADMIN, NEXT):
        assert call(guarded, "GET", "/", token)[0] == 200
    tokens.write_text("")
    outcome = reload(guarded)
    assert not outcome["ok"]
    assert "holds no token" in outcome["errors"][0]
    assert call(guarded, "GET", "/")[0] == 401
    tokens.write_text(f"ops:{ADMIN}\n")
    assert reload(guarded)["ok"]
    assert call(guarded, "GET", "/", NEXT)[0] == 401
    assert call(guarded, "GET", "/", ADMIN)[0] == 200


def test_a_crash_does_not_open_the_api(guarded: Gateway) -> None:
    pid = guarded.status()["control"]["pid"]
    psutil.Process(pid).kill()
    wait_for(lambda: other_control(guarded, pid), what="the control process is back")
    assert call(guarded, "GET", "/services")[0] == 401
    assert call(guarded, "GET", "/services", ADMIN)[0] == 200


# --- many connections ---------------------------------------------------------------------------------------


def test_idle_and_slow_connections_keep_nobody_out(guarded: Gateway) -> None:
    """More connections than one would need, of every kind that only waits; and the process lives on."""
    place = ("127.0.0.1", guarded.admin_port)
    kinds = (
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX",
        b"POST /config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    )
    pid = guarded.status()["control"]["pid"]
    with contextlib.ExitStack() as open_ones:
        for kind in kinds:
            for _ in range(300):
                connection = open_ones.enter_context(socket.create_connection(place, timeout=10))
                connection.sendall(kind)
        for _ in range(5):
            assert call(guarded, "GET", "/status", ADMIN)[0] == 200
        assert guarded.status()["control"] == {
            "pid": pid,
            "restarts": guarded.status()["control"]["restarts"],
        }
    assert call(guarded, "GET", "/status", ADMIN)[0] == 200


def test_a_head_without_end_is_refused(guarded: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", guarded.admin_port), timeout=10) as connection:
        with contextlib.suppress(OSError):  # it may be closed before all is sent
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (4 << 20))
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


# --- TLS ----------------------------------------------------------------------------------------------------


def write_pair(directory: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    shown, path = directory / f"{name}.crt", directory / f"{name}.key"
    shown.write_bytes(tls.self_signed(key, tls.names_of(())).public_bytes(Encoding.PEM))
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return shown, path


def shown_certificate(port: int) -> bytes:
    """What a listener shows, in DER form."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=10))


def der_of(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def get(port: int, path: str, context: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def with_tls(**settings: object) -> Gateway:
    """A gateway whose Admin and status listeners speak TLS besides clear text on a port of its own."""
    gateway = Gateway({"_format_version": "3.0"}, **settings)
    gateway.settings["admin_listen"] = f"127.0.0.1:{gateway.admin_port} ssl"
    return gateway


def test_a_made_certificate_is_one_that_can_be_trusted() -> None:
    with with_tls() as gateway:
        made = gateway.prefix / "ssl" / "admin-default.crt"
        context = ssl.create_default_context(cafile=made)
        assert get(gateway.admin_port, "/", context) == 200
        assert shown_certificate(gateway.admin_port) == der_of(made)
        assert made.with_suffix(".key").stat().st_mode & 0o777 == 0o600
        with pytest.raises(ssl.SSLCertVerificationError):
            get(gateway.admin_port, "/", ssl.create_default_context())
        old = ssl.create_default_context(cafile=made)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(gateway.admin_port, "/", old) == 200
        # What speaks in clear text to it gets no answer, and does no harm.
        with pytest.raises((OSError, http.client.HTTPException)):
            gateway.call(gateway.admin_port, "GET", "/")
        assert get(gateway.admin_port, "/", context) == 200


def test_renewed_files_are_shown_after_a_reload(tmp_path: Path) -> None:
    shown, key = write_pair(tmp_path, "admin")
    with with_tls(admin_ssl_cert=shown, admin_ssl_cert_key=key) as gateway:
        first = der_of(shown)
        assert shown_certificate(gateway.admin_port) == first
        kept = http.client.HTTPSConnection(
            "localhost",
            gateway.admin_port,
            timeout=10,
            context=ssl.create_default_context(cafile=shown),
        )
        kept.request("GET", "/status")
        assert kept.getresponse().read()

        key.write_text("broken")
        outcome = reload(gateway)
        assert not outcome["ok"]
        assert f"ADMIN_SSL_CERT_KEY: {key} holds no private key" in outcome["errors"][0]
        assert shown_certificate(gateway.admin_port) == first

        kept.close()


def test_a_renewal_under_load_loses_no_write_and_no_process(tmp_path: Path) -> None:
    """A connection whose request was not read yet may be closed by a renewal: that request has no effect."""
    shown, key = write_pair(tmp_path, "admin")
    gateway = Gateway(None, database="sqlite", admin_ssl_cert=shown, admin_ssl_cert_key=key)
    gateway.settings["admin_listen"] = f"127.0.0.1:{gateway.admin_port} ssl"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    answered: set[str] = set()
    closed: set[str] = set()
    others: list[object] = []
    stop = threading.Event()

    def create(name: str) -> None:
        connection = http.client.HTTPSConnection("localhost", gateway.admin_port, timeout=10, context=context)
        try:
            connection.request("POST", "/services", json.dumps({"name": name, "host": "a.test"}), JSON)
            status = connection.getresponse().status
        except (ssl.SSLError, ConnectionError):  # RemoteDisconnected is a ConnectionError
            closed.add(name)
        except Exception as error:
            others.append(error)
        else:
            answered.add(name) if status == 201 else others.append(status)
        finally:
            connection.close()

    def create_many(writer: int) -> None:
        number = 0
        while not stop.is_set():
            create(f"s{writer}-{number}")
            number += 1

    with gateway:
        writers = [threading.Thread(target=create_many, args=(writer,)) for writer in range(3)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(8):
                write_pair(tmp_path, "admin")
                assert reload(gateway)["ok"]
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        wait_for(lambda: shown_certificate(gateway.admin_port) == der_of(shown), what="the last certificate")
        there = {
            name for name in answered | closed if get(gateway.admin_port, f"/services/{name}", context) == 200
        }
        assert not others
        assert answered
        assert there == answered
        assert gateway.status()["control"]["restarts"] == 0


def test_files_that_do_not_fit_stop_the_start(tmp_path: Path) -> None:
    shown, _ = write_pair(tmp_path, "one")
    _, key = write_pair(tmp_path, "two")
    gateway = with_tls(admin_ssl_cert=shown, admin_ssl_cert_key=key)
    with pytest.raises(AssertionError, match="the gateway ended with 1"):
        gateway.start()
    output = gateway.output()
    gateway.stop()
    assert f"the key in {key} is not that of the certificate in {shown}" in output
    assert "Traceback" not in output


def test_clients_show_certificates(tmp_path: Path) -> None:
    authority, authority_key = tmp_path / "authority.pem", new_key()
    authority.write_text(certificate("authority", authority_key, is_authority=True))
    with with_tls(admin_ssl_client_ca=authority) as gateway:
        made = gateway.prefix / "ssl" / "admin-default.crt"
        without = ssl.create_default_context(cafile=made)
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            get(gateway.admin_port, "/", without)
        stranger = ssl.create_default_context(cafile=made)
        stranger.load_cert_chain(*write_pair(tmp_path, "stranger"))
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            get(gateway.admin_port, "/", stranger)
        assert gateway.status()["control"]["restarts"] == 0
        signed = ssl.create_default_context(cafile=made)
        key = new_key()
        chain = certificate("ops.test", key, issuer="authority", issuer_key=authority_key)
        (tmp_path / "ops.pem").write_text(chain + key_pem(key))
        signed.load_cert_chain(tmp_path / "ops.pem")
        assert get(gateway.admin_port, "/", signed) == 200


def test_the_status_listener_speaks_tls_too() -> None:
    gateway = Gateway({"_format_version": "3.0"})
    gateway.settings["status_listen"] = f"127.0.0.1:{gateway.status_port} ssl"
    assert gateway.process is None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def serves() -> bool:
        assert gateway.process is not None
        assert gateway.process.poll() is None, gateway.output()
        try:
            return get(gateway.status_port, "/status/ready", context) in (200, 503)
        except (OSError, http.client.HTTPException):
            return False

    gateway.serves = serves  # type: ignore[method-assign]
    with gateway:
        assert (gateway.prefix / "ssl" / "status-default.crt").exists()
        assert get(gateway.status_port, "/metrics", context) == 200


def test_a_public_listener_without_a_token_is_warned_of() -> None:
    gateway = Gateway({"_format_version": "3.0"})
    gateway.settings["admin_listen"] = f"0.0.0.0:{gateway.admin_port}"
    with gateway:
        assert "set ADMIN_TOKEN" in gateway.output()
        for host, status in (
            ("evil.example", 403),
            ("kong:8001", 200),
            (f"127.0.0.1:{gateway.admin_port}", 200),
        ):
            assert gateway.call(gateway.admin_port, "GET", "/", None, {"Host": host})[0] == status
