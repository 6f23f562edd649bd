"""Making the changes of a plan in a running gateway."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway.client.clients import AdminClient
from gateway.client.contents import collection_of, is_nested_only
from gateway.client.errors import ClientError
from gateway.client.plan import Action, Change, Plan, describe
from gateway.entities.expiry import Expiring
from gateway.entities.record import shape_of
from gateway.store.export import declarative_form, export_declarative

Progress = Callable[[Change], None]


class Interrupted(ClientError):
    """A change was refused, or the gateway cannot be reached any more. Those before it were made."""

    def __init__(self, change: Change, made: int, planned: int, reason: ClientError) -> None:
        what = f"{change.action} of {describe(change.entity)}"
        super().__init__(f"{what}: {reason} ({made} of {planned} changes were made before)")
        self.change = change
        self.made = made


def is_without_database(admin: AdminClient) -> bool:
    """Whether the configuration comes from a declarative file only, which is replaced as a whole."""
    configuration = admin.node().get("configuration")
    return isinstance(configuration, dict) and configuration.get("database") == "off"


def carry_out(admin: AdminClient, plan: Plan, *, done: Progress = lambda change: None) -> None:
    """Make the changes of a plan; `done` is told of each.

    Without a database all of them at once: what was not part of the plan is what it was when the plan was
    made. Otherwise one after the other; raises Interrupted at the first that fails.
    """
    if not plan.changes:
        return
    if is_without_database(admin):
        admin.load_configuration(export_declarative(plan.result("")))
        for change in plan.changes:
            done(change)
        return
    for number, change in enumerate(plan.changes):
        try:
            _make(admin, change)
        except ClientError as error:
            raise Interrupted(change, number, len(plan.changes), error) from error
        done(change)


def _make(admin: AdminClient, change: Change) -> None:
    entity = change.entity
    collection = collection_of(admin, type(entity), entity)
    if change.action is Action.DELETE:
        collection.delete(entity.id)
    elif change.action is Action.CREATE and is_nested_only(type(entity)):
        collection.create(_fields(change))  # Kong makes none of these by PUT
    else:
        hashed = bool(type(entity).hashed) and not change.given_secrets
        collection.upsert(entity.id, _fields(change), query={"_transform": "false"} if hashed else None)


def _fields(change: Change) -> dict[str, Any]:
    """What is sent: every field, so that those the file does not have get their defaults."""
    entity = change.entity
    form = {**declarative_form(entity), **change.given_secrets}
    for name in shape_of(type(entity)).foreign:
        if form[name] is not None:
            form[name] = {"id": form[name]}
    if isinstance(entity, Expiring):
        # Kong knows only the life that is left.
        form.pop("expires_at", None)
        form["ttl"] = entity.expires_at and max(1, round(entity.expires_at - time.time()))
    return form
