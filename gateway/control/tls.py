"""Certificates of the Admin and status listeners: those that the settings name, or one that is made here."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.run_directory import RunDirectory, open_new
from gateway.settings import Listener, Settings

log = logging.getLogger(__name__)

LIFETIME = timedelta(days=3650)
"""of a certificate that is made here"""
RENEWED_BEFORE = timedelta(days=30)
COPIES_KEPT = 4
"""sets of copies in <prefix>/ssl: the one that is served, and those a server may be about to read"""
LEAST_RSA_BITS = 2048
"""what the server under the Admin API takes"""
CURVES = ("secp256r1", "secp384r1")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class TlsError(Exception):
    """Files that no TLS listener can use; the text says which, and why."""


@dataclass(frozen=True)
class TlsFiles:
    """What a listener shows, and whom it believes: copies of checked files, which nobody changes."""

    certificate: Path
    key: Path
    client_ca: Path | None
    digest: bytes
    """of the contents: another one means that the files were renewed"""
    source: Path
    """the certificate that was copied, for people"""


def tls_of(settings: Settings, name: str) -> TlsFiles | None:
    """The files of the listeners of a setting ("admin_listen", "status_listen"); None where none has 'ssl'.

    Makes a certificate where none is given. Raises TlsError. Takes time: use a thread.
    """
    listeners: tuple[Listener, ...] = getattr(settings, name)
    if not any(listener.ssl for listener in listeners):
        return None
    kind = name.removesuffix("_listen")
    certificate: Path | None = getattr(settings, f"{kind}_ssl_cert")
    key: Path | None = getattr(settings, f"{kind}_ssl_cert_key")
    client_ca = settings.admin_ssl_client_ca if kind == "admin" else None
    label = f"{kind.upper()}_SSL_CERT"
    if certificate is None or key is None:
        certificate, key = made_certificate(RunDirectory(settings.prefix).ssl, kind, listeners)
        label = "the certificate made for " + name.upper()
    return served_copies(RunDirectory(settings.prefix).ssl, kind, certificate, key, client_ca, label)


def served_copies(
    directory: Path, kind: str, certificate: Path, key: Path, client_ca: Path | None, label: str
) -> TlsFiles:
    """Copies of the files, as they were checked, for the server to read. Raises TlsError.

    The server reads them a moment later, and a file that is written just then would make it abort the whole
    process.
    """
    files = [certificate, key, *([client_ca] if client_ca else [])]
    labels = [label, f"{label}_KEY", "ADMIN_SSL_CLIENT_CA"]
    contents = [read(path, text) for path, text in zip(files, labels, strict=False)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in contents)).digest()
    copies = [directory / f"{kind}-served-{digest.hex()[:16]}.{end}" for end in ("crt", "key", "ca")]
    copies = copies[: len(contents)]
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        for path, content in zip(copies, contents, strict=True):
            replace_file(path, content, 0o600)
        checked_files(copies[0], copies[1], copies[2] if client_ca else None, label, files)
        forget_older_copies(directory, kind)
    except OSError as error:
        raise TlsError(f"{label}: no copy can be made in {directory}: {error.strerror}") from None
    except TlsError:
        for path in copies:
            path.unlink(missing_ok=True)
        raise
    return TlsFiles(copies[0], copies[1], copies[2] if client_ca else None, digest, certificate)


def forget_older_copies(directory: Path, kind: str) -> None:
    """Delete copies that no server can be about to read any more."""
    newest_first = sorted(
        directory.glob(f"{kind}-served-*.crt"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for certificate in newest_first[COPIES_KEPT:]:
        for end in (".crt", ".key", ".ca"):
            certificate.with_suffix(end).unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that a reader finds the old or the new one, never a part. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(open_new(temporary, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)


def checked_files(
    certificate: Path, key: Path, client_ca: Path | None, label: str, named: Sequence[Path] | None = None
) -> None:
    """Raise TlsError for files that no listener can use; it names the files in `named` instead."""
    shown = list(named or (certificate, key, *([client_ca] if client_ca else [])))
    leaf = first_certificate(read(certificate, label), shown[0], label)
    private = private_key(read(key, f"{label}_KEY"), shown[1], f"{label}_KEY")
    if public_bytes(private.public_key()) != public_bytes(leaf.public_key()):
        raise TlsError(f"{label}: the key in {shown[1]} is not that of the certificate in {shown[0]}")
    try:
        # As the server will; a password is never asked for on a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"{label}: {shown[0]} cannot be used: {error}") from None
    if leaf.not_valid_after_utc < datetime.now(UTC):
        log.warning("%s: the certificate in %s has expired", label, shown[0])
    if client_ca is not None:
        content = read(client_ca, "ADMIN_SSL_CLIENT_CA")
        first_certificate(content, shown[2], "ADMIN_SSL_CLIENT_CA")


def read(path: Path, label: str) -> bytes:
    """The content of a file. Raises TlsError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{label}: {path} cannot be read: {error.strerror}") from None


def first_certificate(content: bytes, path: Path, label: str) -> x509.Certificate:
    """The first certificate of a PEM file, which all must be readable. Raises TlsError."""
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except (ValueError, IndexError):
        raise TlsError(f"{label}: {path} holds no certificate in PEM form, or a broken one") from None


def private_key(content: bytes, path: Path, label: str) -> PrivateKey:
    """The private key of a PEM file. Raises TlsError."""
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise TlsError(f"{label}: the key in {path} is encrypted; it must be in the clear") from None
    except ValueError:
        raise TlsError(f"{label}: {path} holds no private key in PEM form") from None
    match key:
        case rsa.RSAPrivateKey() if key.key_size >= LEAST_RSA_BITS:
            return key
        case ec.EllipticCurvePrivateKey() if key.curve.name in CURVES:
            return key
        case ed25519.Ed25519PrivateKey():
            return key
    raise TlsError(
        f"{label}: the key in {path} is of a kind that is not served; RSA of at least {LEAST_RSA_BITS} bits, "
        "ECDSA on P-256 or P-384 and Ed25519 are"
    )


def public_bytes(key: object) -> bytes:
    """A public key in the one form in which two can be compared."""
    form: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return form


# --- a certificate of our own -------------------------------------------------------------------------


def made_certificate(directory: Path, kind: str, listeners: tuple[Listener, ...]) -> tuple[Path, Path]:
    """Certificate and key in `directory` that nobody has signed; made unless they are there and will last.

    Raises TlsError.
    """
    certificate, key = directory / f"{kind}-default.crt", directory / f"{kind}-default.key"
    if is_lasting(certificate, key):
        return certificate, key
    private = ec.generate_private_key(ec.SECP256R1())
    text = self_signed(private, names_of(listeners)).public_bytes(Encoding.PEM)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        for path, content, mode in ((key, secret, 0o600), (certificate, text, 0o644)):
            replace_file(path, content, mode)
    except OSError as error:
        raise TlsError(f"a certificate cannot be made in {directory}: {error.strerror}") from None
    log.warning("made a certificate that nobody has signed: %s", certificate)
    return certificate, key


def is_lasting(certificate: Path, key: Path) -> bool:
    """Whether the two are there, fit, and will not end soon."""
    try:
        checked_files(certificate, key, None, "")
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (TlsError, OSError, ValueError):
        return False
    return found.not_valid_after_utc > datetime.now(UTC) + RENEWED_BEFORE


def names_of(listeners: tuple[Listener, ...]) -> list[x509.GeneralName]:
    """The names by which listeners can be called."""
    texts = {"127.0.0.1", "::1"} | {listener.address for listener in listeners if listener.address}
    addresses = sorted(
        (ipaddress.ip_address(text) for text in texts), key=lambda one: (one.version, int(one))
    )
    hosts = dict.fromkeys(("localhost", socket.gethostname()))
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts if host.isascii()]
    return names + [x509.IPAddress(address) for address in addresses if not address.is_unspecified]


def self_signed(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> x509.Certificate:
    """A certificate for these names."""
    now = datetime.now(UTC)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sluicegate"),
            x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
