"""How commands find the Admin API of a running gateway: --admin-url, else ADMIN_LISTEN of the settings."""

import functools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.options import Invocation, fail, with_settings
from gateway.run_directory import RunDirectory

if TYPE_CHECKING:
    from gateway.client import AdminClient
    from gateway.settings import Settings


MOST_RETRIES = 2
"""a person waits"""


@dataclass(frozen=True)
class Target:
    """Which Admin API is meant."""

    invocation: Invocation
    url: str | None
    ca_file: str | None


def with_admin_api(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --admin-url, --admin-ca and those of `with_settings`; it gets a Target as `target`."""

    @with_settings
    @click.option(
        "--admin-url",
        metavar="URL",
        help="The Admin API: http://host:8001 or unix:/path; without it that of ADMIN_LISTEN. Its token is "
        "ADMIN_TOKEN of the settings.",
    )
    @click.option(
        "--admin-ca",
        metavar="FILE",
        help="Certificates (PEM) that the one of an https Admin API is signed by.",
    )
    @functools.wraps(command)
    def wrapped(invocation: Invocation, admin_url: str | None, admin_ca: str | None, **others: Any) -> None:
        command(Target(invocation, admin_url, admin_ca), **others)

    return wrapped


@contextmanager
def connected(target: Target) -> Iterator["AdminClient"]:
    """A client for the Admin API. What goes wrong with it ends the command with a clear text."""
    from gateway.cli.lifecycle import load_or_fail
    from gateway.client import AdminClient, ClientError, NotAllowed, Refused, Retries, Unreachable

    settings = load_or_fail(target.invocation)
    address = target.url or _address_of(settings)
    try:
        admin = AdminClient(
            address,
            token=_token_of(settings),
            retries=Retries(most=MOST_RETRIES),
            verify=_trust(target, settings),
        )
    except ValueError as error:
        fail(str(error))
    try:
        with admin:
            yield admin
    except Unreachable as error:
        fail(str(error), f"Is the gateway running? {_said_by(target, settings)}")
    except NotAllowed as error:
        fail(str(error), "Set GATEWAY_ADMIN_TOKEN to a token that the gateway knows.")
    except Refused as error:
        fail(str(error), *_lines_of(error.answer.get("flattened_errors")))
    except ClientError as error:
        fail(str(error))


def _address_of(settings: "Settings") -> str:
    if not settings.admin_listen:
        fail(
            "the settings name no Admin API: ADMIN_LISTEN is off",
            "Say where one is with --admin-url.",
        )
    # Without TLS there is nothing that has to be set up first.
    listener = next((one for one in settings.admin_listen if not one.ssl), settings.admin_listen[0])
    if listener.path:
        return str(listener)
    return f"{'https' if listener.ssl else 'http'}://{listener.connect_address}"


def _said_by(target: Target, settings: "Settings") -> str:
    if target.url:
        return "The address is that of --admin-url."
    origin = settings.origin("admin_listen")
    return f"The address is that of ADMIN_LISTEN ({origin}); --admin-url names another."


def _token_of(settings: "Settings") -> str | None:
    from gateway.settings.tokens import first_secret

    return first_secret(settings.texts["admin_token"]) or first_secret(settings.texts["admin_read_token"])


def _trust(target: Target, settings: "Settings") -> bool | ssl.SSLContext:
    """What a server's certificate is checked against. Our own listener's is known, whatever its name."""
    if target.ca_file:
        try:
            return ssl.create_default_context(cafile=target.ca_file)
        except OSError as error:
            fail(f"the certificates {target.ca_file} cannot be used: {error}")
    own = settings.admin_ssl_cert or RunDirectory(settings.prefix).ssl / "admin-default.crt"
    if target.url or not own.is_file():
        return True
    context = ssl.create_default_context(cafile=str(own))
    context.check_hostname = False
    return context


def _lines_of(flattened: Any) -> Iterator[str]:
    """The errors of a declarative configuration, one a line."""
    for entity in flattened if isinstance(flattened, list) else ():
        name = entity.get("entity_name") or entity.get("entity_id") or ""
        for error in entity.get("errors", ()):
            text = error.get("message") or ", ".join(map(str, error.get("messages", ())))
            yield f"  {entity.get('entity_type')} {name}: {error.get('field', '')} {text}"
