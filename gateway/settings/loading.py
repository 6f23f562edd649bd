"""From sources to checked settings: precedence, checks, and what a person should be warned about."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.settings.addresses import Listener
from gateway.settings.admin_access import check_access
from gateway.settings.declarations import BODY_BUFFER_LIMIT, DECLARATIONS, Settings
from gateway.settings.declaring import Declaration, Scope
from gateway.settings.sources import ConfError, Given, Sources, read_conf
from gateway.settings.values import AUDIT_LOG, CERTIFICATE, LOG

# GATEWAY_ variables that are not settings: they steer the command line or the build.
NOT_SETTINGS = frozenset({"conf", "build_only", "build_jobs", "sanitize", "march"})

# Kong's settings that mean nothing here, by the beginning of their name. Only used to tell them from typing
# errors.
KONG_ONLY = (
    *("admin_", "allow_", "anonymous_", "client_ssl", "cluster", "data_plane", "db_", "dedicated_", "dns_"),
    *(
        "error_",
        "kic",
        "lmdb_",
        "log_",
        "lua_",
        "nginx_",
        "node_",
        "opentelemetry_",
        "pg_",
        "plugin",
        "proxy_",
    ),
    *("resolver_", "role", "router_", "ssl_", "status_", "stream_", "tracing_", "untrusted_", "upstream_"),
    *("vaults", "vault_", "vitals", "wasm", "worker_", "portal", "rbac", "enforce_", "mem_", "new_dns"),
)


class SettingsError(Exception):
    """Settings that cannot be used. `problems` has one line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(
    conf: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, str] = {},
) -> Settings:
    """Settings from a conf file, the environment and flags, each stronger than the one before.

    `flags` maps setting names to texts. Raises SettingsError with every problem found.
    """
    return load_from(Sources.collect(conf, environ, flags))


def load_from(sources: Sources) -> Settings:
    """Settings from collected or recorded sources. Raises SettingsError with every problem found."""
    problems: list[str] = []
    warnings: list[str] = []
    given = _gather(sources, problems, warnings)
    values: dict[str, Any] = {}
    for name, declaration in DECLARATIONS.items():
        try:
            values[name] = declaration.kind.parse(given[name].text.strip())
        except ValueError as error:
            problems.append(_problem(declaration, given[name], str(error)))
    if problems:
        raise SettingsError(problems)
    _complete(values, given, sources.directory, problems, warnings)
    if problems:
        raise SettingsError(problems)
    return Settings(
        **values,
        warnings=tuple(warnings),
        origins={name: item.origin for name, item in given.items()},
        texts={name: item.text for name, item in given.items()},
        sources=sources,
    )


def find_prefix(conf: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Path:
    """The prefix alone: a mistake in another setting must not keep anybody from stopping a gateway.

    Raises SettingsError for a conf file that is named and cannot be read.
    """
    sources = Sources.collect(conf, environ, flags)
    problems: list[str] = []
    given = _gather(sources, problems, [])["prefix"]
    if problems and sources.conf:  # the prefix may be in there: rather none than that of another gateway
        raise SettingsError(problems)
    text = given.text.strip() or DECLARATIONS["prefix"].default_text()
    return sources.directory / Path(text).expanduser()


def changed_settings(old: Settings, new: Settings) -> dict[Scope, list[str]]:
    """Names of the settings whose value differs, by the scope that says what a change of them needs."""
    changed: dict[Scope, list[str]] = {scope: [] for scope in Scope}
    for name, declaration in DECLARATIONS.items():
        if getattr(old, name) != getattr(new, name):
            changed[declaration.scope].append(name)
    return changed


# --- gathering ------------------------------------------------------------------------------------


def _gather(sources: Sources, problems: list[str], warnings: list[str]) -> dict[str, Given]:
    """The strongest text of each setting."""
    given = {name: Given(declaration.default_text(), "default") for name, declaration in DECLARATIONS.items()}
    meaningless: list[str] = []
    given |= _from_conf(sources, problems, warnings, meaningless)
    given |= _from_environment(sources.environ, warnings, meaningless)
    for name, text in sources.flags.items():
        if name in DECLARATIONS:
            given[name] = Given(text, "flag")
        else:
            problems.append(f"unknown setting '{name}'{_nearest(name, '', str.lower)} (flag)")
    if meaningless:
        warnings.append(
            f"settings of Kong that have no meaning here and are ignored: {', '.join(meaningless)}"
        )
    return given


def _names(declaration: Declaration) -> Iterator[str]:
    """Names under which Kong knows a setting, the strongest first."""
    yield declaration.name
    yield from declaration.kong_names


_KONG_NAMES = frozenset(name for declaration in DECLARATIONS.values() for name in _names(declaration))


def _from_conf(
    sources: Sources, problems: list[str], warnings: list[str], meaningless: list[str]
) -> dict[str, Given]:
    path = sources.conf_file()
    if path is None:
        return {}
    try:
        found = read_conf(path)
    except ConfError as error:
        problems.append(str(error))
        return {}
    given = {}
    for name, declaration in DECLARATIONS.items():
        for alias in _names(declaration):
            if alias in found:
                text, line = found[alias]
                given[name] = Given(text, f"conf file {path}, line {line}")
                break
    for name, (_, line) in found.items():
        if name in _KONG_NAMES:
            continue
        if name.startswith(KONG_ONLY) and not _is_misspelt(name):
            meaningless.append(name)
        else:
            warnings.append(f"unknown setting '{name}' in {path}, line {line}{_nearest(name, '', str.lower)}")
    return given


def _from_environment(
    environ: Mapping[str, str], warnings: list[str], meaningless: list[str]
) -> dict[str, Given]:
    given = {}
    for name, declaration in DECLARATIONS.items():
        variables = [f"GATEWAY_{name.upper()}", *(f"KONG_{alias.upper()}" for alias in _names(declaration))]
        variable = next((variable for variable in variables if variable in environ), None)
        if variable:
            given[name] = Given(environ[variable], f"environment {variable}")
    for variable in sorted(environ):
        prefix, _, rest = variable.partition("_")
        name = rest.lower()
        if prefix == "KONG" and name not in _KONG_NAMES:
            meaningless.append(variable)
        elif prefix == "GATEWAY" and name not in DECLARATIONS and name not in NOT_SETTINGS:
            warnings.append(f"unknown setting {variable}{_nearest(name, 'GATEWAY_', str.upper)}")
    return given


def _is_misspelt(name: str) -> bool:
    """Whether a name is so near to a setting's that it is a typing error and not another of Kong's."""
    return bool(difflib.get_close_matches(name, DECLARATIONS, n=1, cutoff=0.93))


def _nearest(name: str, prefix: str, case: Any) -> str:
    near = difflib.get_close_matches(name, DECLARATIONS, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{case(near[0])}?" if near else ""


def _problem(declaration: Declaration, given: Given, detail: str) -> str:
    text = "(hidden)" if declaration.secret else f"'{given.text}'"
    because = f": {detail}" if detail and not _is_technical(detail) else ""
    return (
        f"{declaration.name.upper()} = {text} ({given.origin}){because}; allowed: {declaration.kind.allowed}"
    )


def _is_technical(detail: str) -> bool:
    """Whether an exception's text came from the standard library's int() and speaks to programmers."""
    return "invalid literal" in detail


# --- what concerns several settings, or the machine -----------------------------------------------


def _complete(
    values: dict[str, Any], given: dict[str, Given], directory: Path, problems: list[str], warnings: list[str]
) -> None:
    """Make paths absolute, leave out what cannot be served, check what one value alone does not show."""
    for name in ("prefix", "dns_hostsfile"):
        values[name] = directory / (values[name] or DECLARATIONS[name].default_text())
    if values["declarative_config"]:
        values["declarative_config"] = directory / values["declarative_config"]
        if values["declarative_config_string"]:
            problems.append(
                "DECLARATIVE_CONFIG and DECLARATIVE_CONFIG_STRING are both set "
                f"({given['declarative_config'].origin}; {given['declarative_config_string'].origin}): "
                "allowed is one of them"
            )
    _complete_database(values, given, problems, warnings)
    for name, declaration in DECLARATIONS.items():
        if declaration.kind in (LOG, AUDIT_LOG) and values[name]:
            values[name] = values["prefix"] / values[name]
        elif declaration.kind is CERTIFICATE and values[name]:
            values[name] = directory / values[name]
    for name in ("proxy_listen", "admin_listen", "status_listen"):
        values[name] = _served(name, values[name], given[name], problems, warnings)
    _check_overlaps(values, given, problems)
    check_access(values, given, problems, warnings)
    if values["client_body_buffer_size"] > BODY_BUFFER_LIMIT:
        warnings.append(
            f"CLIENT_BODY_BUFFER_SIZE = '{given['client_body_buffer_size'].text}' "
            f"({given['client_body_buffer_size'].origin}): at most 64k are held for a retry"
        )
        values["client_body_buffer_size"] = BODY_BUFFER_LIMIT
    if values["client_max_request_line"] > values["client_max_request_head"]:
        problems.append(
            f"CLIENT_MAX_REQUEST_LINE = '{given['client_max_request_line'].text}' "
            f"({given['client_max_request_line'].origin}): allowed: at most CLIENT_MAX_REQUEST_HEAD"
        )


def _complete_database(
    values: dict[str, Any], given: dict[str, Given], problems: list[str], warnings: list[str]
) -> None:
    """Choose the database where none is given, and its file; check what belongs to it."""
    source = next(
        (name for name in ("declarative_config", "declarative_config_string") if values[name]), None
    )
    if source and given["database"].origin == "default":
        values["database"] = "off"
        given["database"] = Given("off", f"default with {source.upper()}")
    elif source and values["database"] != "off":
        warnings.append(
            f"{source.upper()} ({given[source].origin}) is not used: with DATABASE = '{values['database']}' "
            f"({given['database'].origin}) entities come from the database; `gateway config db_import` puts "
            "a declarative file into it"
        )
    if values["declarative_writable"] and not (
        values["database"] == "off" and source == "declarative_config"
    ):
        problems.append(
            f"DECLARATIVE_WRITABLE = '{given['declarative_writable'].text}' "
            f"({given['declarative_writable'].origin}): allowed: on only with DATABASE=off and a file in "
            "DECLARATIVE_CONFIG"
        )
    # The prefix stays with root, and SQLite must be able to make files beside its own.
    if given["sqlite_path"].origin == "default" and values["user"]:
        values["sqlite_path"] = Path("control") / given["sqlite_path"].text
    values["sqlite_path"] = values["prefix"] / (
        values["sqlite_path"] or DECLARATIONS["sqlite_path"].default_text()
    )
    authorities = values["pg_ssl_ca_file"]
    if values["pg_ssl_verify"] and len(authorities) > 1:
        problems.append(
            f"PG_SSL_CA_FILE = '{given['pg_ssl_ca_file'].text}' ({given['pg_ssl_ca_file'].origin}): allowed: "
            "one PEM file, with all certificates in it, or 'system'"
        )
    if values["database"] == "postgres" and values["pg_ssl_verify"] and not values["pg_ssl"]:
        warnings.append("PG_SSL_VERIFY has no effect without PG_SSL: the connection is not encrypted")


def _served(
    name: str, listeners: tuple[Listener, ...], given: Given, problems: list[str], warnings: list[str]
) -> tuple[Listener, ...]:
    """The listeners without those that this version cannot serve."""
    served = []
    where = f"{name.upper()} ({given.origin})"
    for listener in listeners:
        if listener.proxy_protocol:
            problems.append(
                f"{name.upper()} = '{given.text}' ({given.origin}): {listener}: the PROXY protocol is not "
                "available yet; allowed: an address without 'proxy_protocol'"
            )
        elif listener.ssl and name == "proxy_listen":
            warnings.append(f"{where}: {listener} is left out: TLS listeners are not available yet")
        else:
            if listener.http2 and name == "proxy_listen":
                warnings.append(f"{where}: {listener} speaks HTTP/1.1 only: HTTP/2 is not available yet")
            served.append(listener)
    if listeners and not served and not problems:
        warnings.append(f"{where}: no address is left")
    return tuple(served)


def _check_overlaps(values: dict[str, Any], given: dict[str, Given], problems: list[str]) -> None:
    """Report addresses listened on twice: the second would fail, or share the first one's traffic."""
    owners: dict[str, str] = {}
    for name in ("proxy_listen", "admin_listen", "status_listen"):
        for listener in values[name]:
            other = owners.setdefault(str(listener), name)
            if other != name:
                problems.append(
                    f"{name.upper()} = '{given[name].text}' ({given[name].origin}): {listener} is an address "
                    f"of {other.upper()} too; allowed: an address of its own"
                )
        if len({str(listener) for listener in values[name]}) < len(values[name]):
            problems.append(
                f"{name.upper()} = '{given[name].text}' ({given[name].origin}): an address appears twice; "
                "allowed: each address once"
            )
