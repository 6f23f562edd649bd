"""Making the changes of a plan in a running gateway."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from gateway.client.clients import AdminClient
from gateway.client.contents import collection_of, is_nested_only
from gateway.client.errors import ClientError, Conflict
from gateway.client.plan import Action, Change, Plan, describe
from gateway.entities.expiry import Expiring
from gateway.entities.record import shape_of
from gateway.store.export import declarative_form, export_declarative

Progress = Callable[[Change], None]
AT_ONCE = 32
"""requests; a gateway commits together what comes together"""


class Interrupted(ClientError):
    """A change was refused, or the gateway cannot be reached any more. Those before it were made."""

    def __init__(self, change: Change, made: int, planned: int, reason: ClientError) -> None:
        what = f"{change.action} of {describe(change.entity)}"
        super().__init__(f"{what}: {reason} ({made} of {planned} changes were made)")
        self.change = change
        self.made = made


def is_without_database(admin: AdminClient) -> bool:
    """Whether the configuration comes from a declarative file only, which is replaced as a whole."""
    configuration = admin.node().get("configuration")
    return isinstance(configuration, dict) and configuration.get("database") == "off"


def carry_out(admin: AdminClient, plan: Plan, *, done: Progress = lambda change: None) -> None:
    """Make the changes of a plan; `done` is told of each.

    Without a database all of them at once: what was not part of the plan is what it was when the plan was
    made. Otherwise each for itself, several at a time, what others refer to before them; raises Interrupted
    when one fails, and begins no other then.
    """
    if not plan.changes:
        return
    if is_without_database(admin):
        admin.load_configuration(export_declarative(plan.result("")))
        for change in plan.changes:
            done(change)
        return
    _Writing(admin, plan, done).run()


class _Writing:
    """The changes of a plan, each a request."""

    def __init__(self, admin: AdminClient, plan: Plan, done: Progress) -> None:
        self._admin = admin
        self._changes = plan.changes
        self._done = done
        self._made = 0
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="admin")

    def run(self) -> None:
        with self._pool:
            for _, group in itertools.groupby(self._changes, lambda one: (one.action, one.entity.type_name)):
                waiting = list(group)
                while waiting:
                    conflicts = self._make_all(waiting)
                    if len(conflicts) == len(waiting):
                        raise self._interrupted(*conflicts[0])
                    # Others may have given up the unique values that were in the way.
                    waiting = [change for change, _ in conflicts]

    def _make_all(self, changes: Sequence[Change]) -> list[tuple[Change, Conflict]]:
        """Make changes that do not depend on each other; those that unique values were in the way of. Raises
        Interrupted for another refusal."""
        running = {self._pool.submit(_make, self._admin, change): change for change in changes}
        for future in as_completed(running):
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                self._made += 1
                self._done(running[future])
            elif not isinstance(error, Conflict):
                for other in running:
                    other.cancel()
        conflicts = []
        for future, change in running.items():
            error = None if future.cancelled() else future.exception()
            if isinstance(error, Conflict):
                conflicts.append((change, error))
            elif isinstance(error, ClientError):
                raise self._interrupted(change, error)
            elif error is not None:
                raise error
        return conflicts

    def _interrupted(self, change: Change, reason: ClientError) -> Interrupted:
        interruption = Interrupted(change, self._made, len(self._changes), reason)
        interruption.__cause__ = reason
        return interruption


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
