"""The audit log and the certificates of a gateway whose children are another user (setting USER)."""

from __future__ import annotations

import json
import os
import pwd
import signal
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import self_signed
from tests.support.gateway import Gateway, free_port, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of another user")

NOBODY = pwd.getpwnam("nobody").pw_uid


def unstarted(**settings: object) -> Gateway:
    gateway = Gateway({"_format_version": "3.0"}, user="nobody", **settings)
    gateway.prefix.chmod(0o755)
    return gateway


def change(gateway: Gateway) -> None:
    status, _, _ = gateway.call(gateway.admin_port, "DELETE", "/cache")
    assert status == 204


def test_the_audit_log_is_the_childrens_and_is_rotated() -> None:
    with unstarted(admin_audit_log="logs/audit.log") as gateway:
        path = gateway.prefix / "logs" / "audit.log"
        change(gateway)
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, 0o600)
        rotated = path.with_suffix(".1")
        path.rename(rotated)
        change(gateway)  # the children cannot make a file there; the line goes where it can
        assert len(rotated.read_text().splitlines()) == 2
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGUSR1)
        wait_for(path.exists, what="the new file, made by the master")
        change(gateway)
        assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/cache"]
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, 0o600)
        assert "cannot be written" not in gateway.output()


def test_a_certificate_is_made_by_the_children() -> None:
    gateway = unstarted()
    port = free_port()
    gateway.settings["admin_listen"] = f"127.0.0.1:{gateway.admin_port}, 127.0.0.1:{port} ssl"
    with gateway:
        key = gateway.prefix / "ssl" / "admin-default.key"
        assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (NOBODY, 0o600)
        assert ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


def test_a_key_that_the_children_may_not_read_stops_the_start(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    text, secret = self_signed("localhost")
    certificate.write_text(text)
    key.write_text(secret)
    key.chmod(0o600)
    gateway = unstarted(admin_ssl_cert=certificate, admin_ssl_cert_key=key)
    gateway.settings["admin_listen"] = f"127.0.0.1:{gateway.admin_port} ssl"
    with pytest.raises(AssertionError, match="the gateway ended with 1"):
        gateway.start()
    output = gateway.output()
    gateway.stop()
    assert "this user may not use" in output
    assert str(key) in output
