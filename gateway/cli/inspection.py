"""check, config show, version --all: what can be said without a running gateway."""

import json
import os
import platform
from pathlib import Path

from gateway import KONG_VERSION, __version__
from gateway.cli.options import Invocation, fail, warn
from gateway.cli.python_plugins import know_plugins
from gateway.settings import DECLARATIONS, Settings, SettingsError, load_settings

DECLARATIVE_SUFFIXES = (".yml", ".yaml", ".json")


def check(invocation: Invocation, file: Path | None) -> None:
    """Check one file by its kind, or the settings with the declarative file that they name."""
    if file and file.suffix.lower() in DECLARATIVE_SUFFIXES:
        errors = file_errors(file)
        if errors:
            fail(f"{file} is not valid:", *errors)
        print(f"{file} is valid")
        return
    try:
        settings = load_settings(file or invocation.conf, os.environ, invocation.flags)
    except SettingsError as error:
        fail(f"{file} is not valid:" if file else "the settings are not valid:", *error.problems)
    warn(settings.warnings)
    errors = declarative_errors(settings)
    if errors:
        fail("the declarative configuration is not valid:", *errors)
    print(f"configuration at {file} is valid" if file else "the settings are valid")


def file_errors(file: Path) -> list[str]:
    """Every error of a declarative file, one a line with its place."""
    from gateway.store.check import check_file
    from gateway.store.declarative_errors import DeclarativeError

    know_plugins()
    try:
        check_file(file)
    except DeclarativeError as error:
        return error.lines()
    return []


def declarative_errors(settings: Settings) -> list[str]:
    """Every error of the declarative configuration that settings name; none when they name none."""
    from gateway.plugins._node import tell_database

    tell_database(settings.database)
    know_plugins(settings)
    if settings.declarative_config:
        return file_errors(settings.declarative_config)
    if settings.declarative_config_string:
        from gateway.store import DeclarativeError, load_declarative

        try:
            load_declarative(settings.declarative_config_string, source="DECLARATIVE_CONFIG_STRING")
        except DeclarativeError as error:
            return error.lines()
    return []


def show_settings(invocation: Invocation, as_json: bool) -> None:
    """Print a row for each setting."""
    try:
        settings = load_settings(invocation.conf, os.environ, invocation.flags)
    except SettingsError as error:
        fail("the settings are not valid:", *error.problems)
    warn(settings.warnings)
    rows = [setting_row(settings, name) for name in DECLARATIONS]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "from", "meaning", "changes take effect", header_style="bold")
    for row in rows:
        given = row["origin"] != "default"
        table.add_row(
            row["name"],
            row["value"],
            row["origin"],
            row["meaning"],
            {"live": "reload", "workers": "reload", "restart": "restart"}[row["scope"]],
            style="bold" if given else None,
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=220)
    console.print(table, markup=False)


def setting_row(settings: Settings, name: str) -> dict[str, str]:
    """What is to be said of a setting and its value."""
    declaration = DECLARATIONS[name]
    text = settings.texts[name]
    value = getattr(settings, name)
    if declaration.secret and text:
        text = "(hidden)"
    elif text == "auto":
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        text = f"auto ({shown})"
    return {
        "name": f"GATEWAY_{name.upper()}",
        "value": text,
        "origin": settings.origin(name),
        "meaning": declaration.meaning,
        "scope": declaration.scope.value,
        "default": declaration.default_text(),
        "allowed": declaration.kind.allowed,
    }


def print_reference() -> None:
    """Print the documentation of all settings. It does not depend on the machine or on what is set."""
    print(
        """# Settings

Written by `gateway config show --markdown` from the declarations in `gateway/settings/declarations.py`.

A setting is read from the conf file (`log_level = info`), then from the environment (`GATEWAY_LOG_LEVEL`,
else Kong's name `KONG_LOG_LEVEL`), then from flags (`--set log_level=info`); the last one counts. The conf
file is the one that `--conf` or `GATEWAY_CONF` names, else the first of `/etc/gateway/gateway.conf`,
`/etc/kong/kong.conf`, `/etc/kong.conf`. Unknown `GATEWAY_` names give a warning at each start.

*Takes effect*: **reload** changes running workers, **workers** makes a reload replace the workers (the old
ones finish their requests), **restart** needs a restart.
"""
    )
    for declaration in DECLARATIONS.values():
        default = (
            f"`{declaration.default}`" if isinstance(declaration.default, str) else "depends on the user"
        )
        scope = {"live": "reload", "workers": "workers", "restart": "restart"}[declaration.scope.value]
        print(f"## GATEWAY_{declaration.name.upper()}\n")
        print(f"{declaration.meaning}.\n")
        print(f"- Default: {default.replace('``', 'empty')}")
        print("- Allowed: " + declaration.kind.allowed.replace("<", "\\<"))
        print(f"- Takes effect: {scope}")
        if declaration.performance:
            print("- Speed or capacity: see [tuning.md](tuning.md)")
        if declaration.kong_names:
            print("- Also: " + ", ".join(f"`KONG_{name.upper()}`" for name in declaration.kong_names))
        print()


def versions() -> None:
    """Print the version and those of what the gateway is built on."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    print(f"sluicegate {__version__} (speaks Kong {KONG_VERSION})")
    print(f"python {platform.python_version()}")
    for package in ("granian", "starlette", "msgspec", "orjson", "pyyaml", "dnspython"):
        try:
            print(f"{package} {installed(package)}")
        except PackageNotFoundError:
            print(f"{package} missing")
