"""Certificates of the Admin and status listeners: made ones, given ones, and those that cannot be used."""

from __future__ import annotations

import logging
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.control import tls
from gateway.control.tls import TlsError, checked_files, tls_of
from gateway.settings import SettingsError, load_settings


def write_pair(directory: Path, key: Any = None, secret: bytes | None = None) -> tuple[Path, Path]:
    """A certificate that fits its key, in files."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    certificate, path = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(tls.self_signed(key, tls.names_of(())).public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return certificate, path


def settings_of(prefix: Path, **settings: str) -> Any:
    (prefix / "ssl").mkdir(exist_ok=True)
    return load_settings(
        None, {}, {"prefix": str(prefix), "admin_listen": "127.0.0.1:8001, 192.0.2.1:8444 ssl", **settings}
    )


def test_a_certificate_is_made_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    files = tls_of(settings, "admin_listen")
    assert files is not None
    assert files.source == tmp_path / "ssl" / "admin-default.crt"
    assert files.certificate.read_bytes() == files.source.read_bytes()
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert {"127.0.0.1", "::1", "192.0.2.1"} <= set(map(str, names.get_values_for_type(x509.IPAddress)))
    assert tls_of(settings, "admin_listen") == files
    assert {path.name for path in (tmp_path / "ssl").iterdir()} == {
        "admin-default.crt",
        "admin-default.key",
        files.certificate.name,
        files.key.name,
    }


@pytest.mark.parametrize("damage", ["certificate", "key", "missing", "ends soon"])
def test_a_made_certificate_that_is_no_good_is_made_again(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    if damage == "ends soon":
        monkeypatch.setattr(tls, "LIFETIME", timedelta(days=10))
    files = tls_of(settings, "admin_listen")
    assert files is not None
    monkeypatch.undo()
    made, key = files.source, files.source.with_suffix(".key")
    if damage == "certificate":
        made.write_text("broken")
    elif damage == "key":
        key.write_text("")
    elif damage == "missing":
        key.unlink()
    again = tls_of(settings, "admin_listen")
    assert again is not None
    assert again.digest != files.digest
    lasting = x509.load_pem_x509_certificate(again.certificate.read_bytes()).not_valid_after_utc
    assert lasting > datetime.now(UTC) + timedelta(days=365)


def test_a_made_key_does_not_follow_a_link(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "ssl" / "admin-default.key").symlink_to(victim)
    assert tls_of(settings, "admin_listen") is not None
    assert victim.read_text() == "precious"


def test_without_ssl_nothing_is_made(tmp_path: Path) -> None:
    assert tls_of(settings_of(tmp_path), "status_listen") is None
    assert not list((tmp_path / "ssl").iterdir())


def test_given_files_and_their_renewal(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    settings = settings_of(tmp_path, admin_ssl_cert=str(certificate), admin_ssl_cert_key=str(key))
    first = tls_of(settings, "admin_listen")
    assert first is not None
    assert first.source == certificate
    assert tls_of(settings, "admin_listen") == first
    before = first.certificate.read_bytes(), first.key.read_bytes()
    write_pair(tmp_path)
    second = tls_of(settings, "admin_listen")
    assert second is not None
    assert second.digest != first.digest
    # What a server may be reading just now is what was checked, whatever becomes of the files.
    assert (first.certificate.read_bytes(), first.key.read_bytes()) == before
    assert stat.S_IMODE(second.key.stat().st_mode) == 0o600
    key.write_text("half of a k")
    with pytest.raises(TlsError, match=f"{key} holds no private key"):
        tls_of(settings, "admin_listen")
    for _ in range(6):
        write_pair(tmp_path)
        latest = tls_of(settings, "admin_listen")
    assert latest is not None
    assert latest.key.exists()
    assert len(list((tmp_path / "ssl").iterdir())) == 2 * tls.COPIES_KEPT


def refused(tmp_path: Path, **changes: Any) -> str:
    """Why a pair of files is refused after changes to them."""
    certificate, key = write_pair(tmp_path, changes.get("pair"), changes.get("secret"))
    if "certificate" in changes:
        certificate.write_bytes(changes["certificate"])
    if "key" in changes:
        key.write_bytes(changes["key"])
    with pytest.raises(TlsError) as caught:
        checked_files(certificate, key, None, "ADMIN_SSL_CERT")
    return str(caught.value)


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "is not that of the certificate" in refused(tmp_path, key=pem)
    assert "holds no certificate" in refused(tmp_path, certificate=b"nonsense")
    assert "holds no certificate" in refused(tmp_path, certificate=b"")
    assert "holds no private key" in refused(tmp_path, key=b"nonsense")
    assert "is encrypted" in refused(tmp_path, secret=b"secret")
    assert "is not served" in refused(tmp_path, pair=rsa.generate_private_key(65537, 1024))  # noqa: S505
    assert "is not served" in refused(tmp_path, pair=ec.generate_private_key(ec.SECP521R1()))
    with pytest.raises(TlsError, match="cannot be read: No such file"):
        checked_files(tmp_path / "none", tmp_path / "none", None, "ADMIN_SSL_CERT")


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_authorities_that_cannot_be_used_are_told(tmp_path: Path, content: bytes | None) -> None:
    certificate, key = write_pair(tmp_path)
    authority = tmp_path / "ca.pem"
    if content is not None:
        authority.write_bytes(content)
    with pytest.raises(TlsError, match="ADMIN_SSL_CLIENT_CA"):
        checked_files(certificate, key, authority, "ADMIN_SSL_CERT")


def test_an_expired_certificate_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "LIFETIME", timedelta(minutes=-1))
    certificate, key = write_pair(tmp_path)
    with caplog.at_level(logging.WARNING):
        checked_files(certificate, key, None, "ADMIN_SSL_CERT")
    assert "has expired" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"admin_ssl_cert": "/a.pem"},
        {"status_ssl_cert_key": "/a.key"},
        {"admin_ssl_cert": "/a.pem,/b.pem", "admin_ssl_cert_key": "/a.key"},
        {"admin_ssl_cert": "-----BEGIN CERTIFICATE-----", "admin_ssl_cert_key": "/a.key"},
    ],
)
def test_settings_that_make_no_pair(settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="_SSL_CERT"):
        load_settings(None, {}, settings)
