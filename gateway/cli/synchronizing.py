"""dump, diff, apply: all entities of a running gateway and a declarative file."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.connecting import Target, connected
from gateway.cli.declarative_files import STDOUT, read_file, write_private
from gateway.cli.options import fail
from gateway.cli.progress import progress
from gateway.client.contents import read_all, references_of
from gateway.client.plan import Action, Change, Plan, Selection, describe, make_plan
from gateway.client.writing import carry_out
from gateway.entities.record import Entity
from gateway.store import Configuration, export_declarative
from gateway.store.configuration import EMPTY_HASH

if TYPE_CHECKING:
    from rich.console import Console

DIFFERENT = 2
"""exit code when a file says something else than the gateway has"""
SIGNS = {Action.CREATE: ("+", "green"), Action.UPDATE: ("~", "yellow"), Action.DELETE: ("-", "red")}


def dump(target: Target, output: Path | None, tags: str | None, force: bool) -> None:
    """Write what a running gateway has as a declarative file."""
    if output and output != STDOUT and output.exists() and not force:
        fail(f"{output} exists already", "Overwrite it with --force.")
    with connected(target) as admin:
        configuration = read_all(admin)
    if tags:
        configuration = with_what_they_need(configuration, selection_of(tags))
    text = export_declarative(configuration)
    if output is None or output == STDOUT:
        print(text, end="")
        return
    write_private(output, text)
    print(f"{len(configuration)} entities written to {output}", file=sys.stderr)


def diff(target: Target, file: Path, tags: str | None, prune: bool, as_json: bool) -> None:
    """Print what `apply` would change; exit code 2 when there is something."""
    wanted = read_file(file)
    with connected(target) as admin:
        plan = make_plan(read_all(admin), wanted, prune=prune, selected=selection_of(tags))
    print_plan(plan, as_json)
    if plan.changes:
        raise SystemExit(DIFFERENT)


def apply(target: Target, file: Path, tags: str | None, prune: bool, confirmed: bool, as_json: bool) -> None:
    """Bring a running gateway to what a declarative file says."""
    wanted = read_file(file)
    with connected(target) as admin:
        plan = make_plan(read_all(admin), wanted, prune=prune, selected=selection_of(tags))
        print_plan(plan, as_json)
        if not plan.changes:
            return
        if not confirmed and sys.stdin.isatty() and not click.confirm("Make these changes?", err=True):
            fail("nothing was changed")
        with progress("applying", len(plan.changes)) as advance:
            carry_out(admin, plan, done=lambda change: advance())
    print("Done: " + summary(plan), file=sys.stderr)


def selection_of(tags: str | None) -> Selection:
    """The entities that a filter in Kong's form selects: "a,b" with both tags, "a/b" with any of them."""
    if not tags:
        return lambda entity: True
    if "," in tags and "/" in tags:
        fail("--tags: use either , (all of these tags) or / (any of them)")
    wanted = {tag for tag in tags.replace("/", ",").split(",") if tag}
    if not wanted:
        fail("--tags: there is no tag in it")
    every = "/" not in tags
    return lambda entity: (
        wanted <= set(entity.tags or ()) if every else not wanted.isdisjoint(entity.tags or ())
    )


def with_what_they_need(configuration: Configuration, selected: Selection) -> Configuration:
    """The selected entities, and what they refer to: a file without that could not be loaded."""
    needed: set[tuple[str, str]] = set()
    kept: list[Entity] = []
    # From the end of the catalogue, where those stand that refer to others.
    for type_name in reversed(tuple(configuration.entities)):
        for entity in reversed(tuple(configuration.of(type_name).values())):
            if selected(entity) or (type_name, entity.id) in needed:
                kept.append(entity)
                needed.update(references_of(entity))
    return Configuration(reversed(kept), EMPTY_HASH)


def print_plan(plan: Plan, as_json: bool) -> None:
    """Print the changes of a plan; secrets are not shown."""
    if as_json:
        print(json.dumps([change_row(change) for change in plan.changes], indent=2, ensure_ascii=False))
        return
    if not plan.changes:
        print("No differences.")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False) if sys.stdout.isatty() else plain_console()
    for change in plan.changes:
        sign, color = SIGNS[change.action]
        console.print(Text(f"{sign} {describe(change.entity)}", style=color))
        for name, (before, after) in shown_differences(change).items():
            if before == after:
                console.print(Text(f"    {name}: another value (hidden)"))
            else:
                console.print(Text(f"    {name}: {as_text(before)} -> {as_text(after)}"))
    console.print(Text(f"\nTo do: {summary(plan)}"))


def plain_console() -> "Console":
    """Output without colours and line breaks of its own."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, no_color=True)


def change_row(change: Change) -> dict[str, Any]:
    """A change as JSON."""
    row: dict[str, Any] = {
        "action": change.action.value,
        "type": change.entity.type_name,
        "id": change.entity.id,
        "entity": describe(change.entity),
    }
    if change.action is Action.UPDATE:
        row["changes"] = {
            name: {"from": before, "to": after} for name, (before, after) in shown_differences(change).items()
        }
    return row


def shown_differences(change: Change) -> dict[str, tuple[Any, Any]]:
    """What an update changes, by the dotted names of fields; secrets masked."""
    from gateway.entities.masking import hide_member

    return {
        path: (hide_member(path.rpartition(".")[2], before), hide_member(path.rpartition(".")[2], after))
        for name, values in change.differences().items()
        for path, (before, after) in inner_differences(name, *values)
    }


def inner_differences(name: str, before: Any, after: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The members of a record in which it differs; a value that is no record in both as it is."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield name, (before, after)
        return
    for member in {**before, **after}:
        old, new = before.get(member), after.get(member)
        if old != new:
            yield from inner_differences(f"{name}.{member}", old, new)


def as_text(value: Any) -> str:
    """A value as a person would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def summary(plan: Plan) -> str:
    """`create 2, update 1`: how much there is to do, or was done."""
    counted = ((action, plan.count(action)) for action in Action)
    return ", ".join(f"{action} {count}" for action, count in counted if count)
