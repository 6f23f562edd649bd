"""The commands that talk to the Admin API of a running gateway. Their work is imported when they run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from gateway.cli.connecting import Target, with_admin_api

FILE = click.Path(path_type=Path, allow_dash=True)
TYPES = """TYPE is a type of entity (services, routes, consumers, plugins, key-auths, …), or those of one
entity: services/users/routes, consumers/bob/key-auth, upstreams/users/targets. KEY is a name or an id."""


def with_form(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --json and --yaml."""
    command = click.option("--yaml", "as_yaml", is_flag=True, help="As YAML.")(command)
    return click.option("--json", "as_json", is_flag=True, help="As the Admin API shows it.")(command)


TAGS = click.option(
    "--tags", metavar="TAGS", help="Only those with these tags: a,b (all of them) or a/b (any)."
)
PRUNE = click.option("--prune", is_flag=True, help="Delete what the file does not have.")
FROM_FILE = click.option(
    "--file", "-f", type=FILE, required=True, help="Declarative file; - is standard input."
)


@click.command(epilog=TYPES)
@with_admin_api
@click.argument("type")
@click.argument("key", required=False)
@TAGS
@with_form
def get(target: Target, type: str, key: str | None, tags: str | None, as_json: bool, as_yaml: bool) -> None:
    """Print the entities of a type, or the one with that key."""
    from gateway.cli import entities, tables

    entities.get(target, type, key, tags, tables.form_of(as_json, as_yaml))


@click.command(epilog=TYPES)
@with_admin_api
@click.argument("type")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]... | -")
@with_form
def create(target: Target, type: str, values: Sequence[str], as_json: bool, as_yaml: bool) -> None:
    """Make an entity. Fields are written as in a form of the Admin API (paths[]=/users, config.minute=5), or
    come as JSON from standard input (-)."""
    from gateway.cli import entities, tables

    entities.create(target, type, values, tables.form_of(as_json, as_yaml))


@click.command(epilog=TYPES)
@with_admin_api
@click.argument("type")
@click.argument("key")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]... | -")
@with_form
def update(target: Target, type: str, key: str, values: Sequence[str], as_json: bool, as_yaml: bool) -> None:
    """Change fields of an entity, written as for `create`; the others stay."""
    from gateway.cli import entities, tables

    entities.update(target, type, key, values, tables.form_of(as_json, as_yaml))


@click.command(epilog=TYPES)
@with_admin_api
@click.argument("type")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def delete(target: Target, type: str, keys: Sequence[str]) -> None:
    """Delete entities, with those that cannot be without them."""
    from gateway.cli import entities

    entities.delete(target, type, keys)


@click.command()
@with_admin_api
@click.option(
    "--output", "-o", type=FILE, help="File to write instead of standard output; readable by its owner."
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@TAGS
def dump(target: Target, output: Path | None, force: bool, tags: str | None) -> None:
    """Write everything that is configured as a declarative file; secrets stand in it.

    With --tags what has these tags, and what that refers to.
    """
    from gateway.cli import synchronizing

    synchronizing.dump(target, output, tags, force)


@click.command()
@with_admin_api
@FROM_FILE
@TAGS
@PRUNE
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def diff(target: Target, file: Path, tags: str | None, prune: bool, as_json: bool) -> None:
    """Print what `apply` would change. Exit code 0: nothing, 2: something, 1: it cannot be told."""
    from gateway.cli import synchronizing

    synchronizing.diff(target, file, tags, prune, as_json)


@click.command()
@with_admin_api
@FROM_FILE
@TAGS
@PRUNE
@click.option(
    "--dry-run", is_flag=True, help="Like `diff`: change nothing, exit code 2 when there is something."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="The changes as JSON.")
def apply(
    target: Target, file: Path, tags: str | None, prune: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Create and update entities so that a running gateway has what a declarative file says.

    What the file does not have stays, unless --prune is given. With --tags only what has these tags is looked
    at, in the file and in the gateway. Entities are found by their id, else by their name or whatever else is
    unique; they keep the ids that they have.
    """
    from gateway.cli import synchronizing

    if dry_run:
        synchronizing.diff(target, file, tags, prune, as_json)
    else:
        synchronizing.apply(target, file, tags, prune, yes, as_json)


@click.command()
@with_admin_api
@click.argument("method")
@click.argument("url")
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; may be repeated."
)
@click.option("--client-ip", metavar="ADDRESS", help="Where the connection comes from; else this machine.")
@click.option(
    "--consumer", metavar="NAME", help="The consumer who is taken to send it (id, username, custom id)."
)
@click.option("--credential", metavar="KEY", help="The key of a credential with which it is sent.")
@click.option("--others", type=click.IntRange(0, 50), help="How many of the routes not taken are told; 5.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def explain(
    target: Target,
    method: str,
    url: str,
    headers: Sequence[str],
    as_json: bool,
    **options: str | int | None,
) -> None:
    """Tell what a running gateway would do with a request, and why.

    Which route it takes and what keeps it from the others, which configurations of plugins apply in which
    order, which targets it may be sent to. Nothing is sent anywhere.

    URL is one with http:// or https://, or a path alone.
    """
    from gateway.cli import explaining

    explaining.explain(target, method, url, headers, options, as_json)


COMMANDS = (get, create, update, delete, dump, diff, apply, explain)
