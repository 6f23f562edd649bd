"""What several settings say together about who may use the Admin API."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from gateway.settings.addresses import Listener
from gateway.settings.sources import Given


def check_access(
    values: Mapping[str, Any], given: Mapping[str, Given], problems: list[str], warnings: list[str]
) -> None:
    """Tokens and certificates that contradict each other, and listeners that are open to everybody."""
    for prefix in ("admin_ssl", "status_ssl"):
        _check_pair(f"{prefix}_cert", f"{prefix}_cert_key", values, given, problems)
    _check_tokens(values, given, problems, warnings)
    protected = bool(values["admin_token"] or values["admin_read_token"])
    for listener in values["admin_listen"]:
        with_certificates = listener.ssl and values["admin_ssl_client_ca"]
        if not protected and not with_certificates and not is_private(listener):
            warnings.append(
                f"ADMIN_LISTEN ({given['admin_listen'].origin}): everybody who reaches {listener} may change "
                "the configuration and read its secrets: set ADMIN_TOKEN, or listen on 127.0.0.1"
            )
        elif protected and not listener.ssl and not is_private(listener):
            warnings.append(
                f"ADMIN_LISTEN ({given['admin_listen'].origin}): tokens and secrets cross the network in "
                f"clear text to {listener}: add 'ssl' to it"
            )
    if values["admin_ssl_client_ca"] and not any(listener.ssl for listener in values["admin_listen"]):
        warnings.append(
            f"ADMIN_SSL_CLIENT_CA ({given['admin_ssl_client_ca'].origin}) has no effect: no address of "
            "ADMIN_LISTEN has 'ssl'"
        )


def is_private(listener: Listener) -> bool:
    """Whether only programs of this machine reach a listener."""
    return bool(listener.path) or ipaddress.ip_address(listener.address).is_loopback


def _check_pair(
    certificate: str, key: str, values: Mapping[str, Any], given: Mapping[str, Given], problems: list[str]
) -> None:
    if bool(values[certificate]) != bool(values[key]):
        present = certificate if values[certificate] else key
        problems.append(
            f"{present.upper()} = '{given[present].text}' ({given[present].origin}): allowed: a certificate "
            f"together with its key ({certificate.upper()}, {key.upper()})"
        )


def _check_tokens(
    values: Mapping[str, Any], given: Mapping[str, Given], problems: list[str], warnings: list[str]
) -> None:
    digests = {token.digest for token in values["admin_token"]}
    if any(token.digest in digests for token in values["admin_read_token"]):
        problems.append(
            f"ADMIN_READ_TOKEN = (hidden) ({given['admin_read_token'].origin}): a token is one of "
            "ADMIN_TOKEN too; allowed: other ones"
        )
    debug_token = (values["debug_token"],) if values["debug_token"] is not None else ()
    for name, tokens in (
        ("admin_token", values["admin_token"]),
        ("admin_read_token", values["admin_read_token"]),
        ("debug_token", debug_token),
    ):
        if any(token.is_weak for token in tokens):
            warnings.append(
                f"{name.upper()} ({given[name].origin}): a token is so short that it can be guessed; make "
                "one with: openssl rand -hex 24"
            )
