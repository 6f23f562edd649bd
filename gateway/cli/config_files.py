"""config parse, db_import, db_export, init: declarative files without a running gateway, as Kong has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.declarative_files import STDOUT, read_file, write_private
from gateway.cli.lifecycle import load_or_fail
from gateway.cli.options import Invocation, fail, warn
from gateway.cli.progress import progress
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.client.plan import Plan
    from gateway.store import Parsed
    from gateway.store.draft import Draft
    from gateway.store.sql.store import SqlStore

TEMPLATE = """\
# A declarative configuration. `gateway config parse kong.yml` checks it; then either serve it,
#
#     gateway start --declarative-config kong.yml
#
# or put it into a gateway that runs, or into its database:
#
#     gateway apply -f kong.yml
#     gateway config db_import kong.yml
#
# Take the # off from what you need, and change it. Everything is in the reference of Kong's entities.

_format_version: "3.0"

# Secrets, such as the passwords of basic-auth, are hashed when they are read. Where they stand here as they
# are stored (in an export), write
#
# _transform: false

# What stands behind the gateway, and which requests go there. What belongs to something stands below it.
#
# services:
# - name: users
#   url: http://users.internal:8080
#   tags: [team-a]
#   routes:
#   - name: users-api
#     methods: [GET, POST]
#     paths: [/api/users]

# Or side by side, with references by name.
#
# routes:
# - name: users-by-host
#   hosts: [users.example.com]
#   service: users

# Several servers behind one name, which is then the host of a service.
#
# upstreams:
# - name: users.internal
#   targets:
#   - target: 192.0.2.10:8080
#     weight: 100
#   - target: 192.0.2.11:8080
#     weight: 50

# Who calls, and with what.
#
# consumers:
# - username: mobile-app
#   custom_id: app-1
#   keyauth_credentials:
#   - key: a-long-secret
#   acls:
#   - group: partners

# What is done with requests, besides passing them on: with all, or below a service, a route, a consumer.
#
# plugins:
# - name: correlation-id
#   config:
#     header_name: X-Request-Id

# Certificates for the names that clients connect to.
#
# certificates:
# - cert: "{vault://env/example-cert}"
#   key: "{vault://env/example-key}"
#   snis:
#   - name: example.com
"""


def parse(file: Path) -> None:
    """Check a file."""
    read_file(file, "Failed parsing:")
    print("parse successful")


def db_import(invocation: Invocation, file: Path) -> None:
    """Merge a file into the database, in one transaction."""
    settings = settings_with_database(invocation, "db_import", "gateway reload, or POST it to /config.")
    from gateway.client.plan import Action

    wanted = read_file(file, "Failed parsing:")
    print("parse successful, beginning import")
    with opened_store(settings) as store:
        plan = merge(store, wanted)
    same = len(wanted.configuration) - len(plan.changes)
    counts = f"{plan.count(Action.CREATE)} created, {plan.count(Action.UPDATE)} updated, {same} unchanged"
    print(f"import successful ({counts})")


def merge(store: SqlStore, wanted: Parsed) -> Plan:
    """Create and update entities in one transaction; what cannot be made ends the command."""
    from gateway.client.plan import make_plan
    from gateway.store.interface import Operation
    from gateway.store.operations import restore

    def run(draft: Draft) -> Plan:
        plan = make_plan(draft.base, wanted)
        with progress("importing", len(plan.changes)) as advance:
            for change in plan.changes:
                assert change.after is not None, "a merge deletes nothing"
                restore(draft, change.after)
                advance()
        return plan

    (outcome,) = store.transact([Operation("create or update", "", run)])
    if outcome.error is not None:
        fail(f"Failed importing: {outcome.error}", "Nothing was changed.")
    plan: Plan = outcome.result
    return plan


def db_export(invocation: Invocation, file: Path) -> None:
    """Write the content of the database to a file that does not exist yet."""
    settings = settings_with_database(invocation, "db_export", "gateway dump.")
    from gateway.store import export_declarative

    refuse_to_overwrite(file)
    with opened_store(settings) as store:
        text = export_declarative(store.configuration)
    if file == STDOUT:
        print(text, end="")
    else:
        write_private(file, text)
        print(f"export successful: {file}", file=sys.stderr)


def init(file: Path) -> None:
    """Write the template."""
    refuse_to_overwrite(file)
    if file == STDOUT:
        print(TEMPLATE, end="")
        return
    try:
        file.write_text(TEMPLATE)
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")
    print(f"{file} is there to be filled in", file=sys.stderr)


def refuse_to_overwrite(file: Path) -> None:
    """End the command when there is something of that name."""
    if file != STDOUT and file.exists():
        fail(f"{file} already exists.", "Will not overwrite it.")


def settings_with_database(invocation: Invocation, command: str, instead: str) -> Settings:
    """The settings; without a database the command ends."""
    settings = load_or_fail(invocation)
    if settings.database == "off":
        fail(f"'config {command}' only works with a database.", f"With DATABASE=off use {instead}")
    warn(settings.warnings)
    return settings


@contextmanager
def opened_store(settings: Settings) -> Iterator[SqlStore]:
    """The store of the database that the settings name, loaded. What is wrong with it ends the command."""
    from gateway.store.errors import StoreUnavailable
    from gateway.store.interface import StoreError
    from gateway.store.sql import open_store

    store = open_store(settings, keep_state=False)
    try:
        store.open()
        yield store
    except (StoreError, StoreUnavailable) as error:
        fail(str(error))
    finally:
        store.close()
