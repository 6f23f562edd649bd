"""The command `gateway`. Each command's work is in a module of this package that is imported when it runs.

Click and not Typer: Typer loads pydantic, which more than doubles the time of a command.
"""

from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.cli import administration
from gateway.cli.options import Invocation, fail, with_settings

FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110})
def app() -> None:
    """Sluicegate, an API gateway that speaks Kong's configuration."""


@app.command()
@with_settings
@click.option("--daemon", "-d", is_flag=True, help="Run in the background; return when the gateway serves.")
@click.option("--declarative-config", metavar="FILE", help="Instead of DECLARATIVE_CONFIG.")
@click.option("--proxy-listen", metavar="ADDRESSES", help="Instead of PROXY_LISTEN.")
@click.option("--admin-listen", metavar="ADDRESSES", help="Instead of ADMIN_LISTEN.")
@click.option("--status-listen", metavar="ADDRESSES", help="Instead of STATUS_LISTEN.")
@click.option("--worker-processes", metavar="NUMBER", help="Instead of WORKER_PROCESSES.")
@click.option("--log-level", metavar="LEVEL", help="Instead of LOG_LEVEL.")
def start(invocation: Invocation, daemon: bool, **named: str | None) -> None:
    """Start the gateway, in the foreground unless --daemon is given."""
    from gateway.cli import lifecycle

    lifecycle.start(invocation.with_flags(named), daemon)


@app.command()
@with_settings
def stop(invocation: Invocation) -> None:
    """Stop a running gateway at once: requests under way are cut."""
    from gateway.cli import lifecycle

    lifecycle.stop(invocation)


@app.command("quit")
@with_settings
@click.option(
    "--timeout",
    "-t",
    type=click.FloatRange(min=0),
    help="Seconds that requests have to end, then they are cut; 0: no limit. Without it "
    "WORKER_SHUTDOWN_TIMEOUT of the running gateway.",
)
@click.option(
    "--wait", "-w", type=click.FloatRange(min=0), default=0, help="Seconds to wait before it begins."
)
def quit_(invocation: Invocation, timeout: float | None, wait: float) -> None:
    """Stop a running gateway when the requests under way have ended."""
    from gateway.cli import lifecycle

    lifecycle.quit_(invocation, timeout, wait)


@app.command()
@with_settings
def reload(invocation: Invocation) -> None:
    """Let a running gateway read settings and declarative file again. No request is lost.

    Settings come from where they came from at the start and, on top, from this command's conf file,
    environment and flags. With a mistake in any of it nothing changes.
    """
    from gateway.cli import lifecycle

    lifecycle.reload(invocation)


@app.command()
@with_settings
def restart(invocation: Invocation) -> None:
    """Stop the gateway if it runs, then start it in the background."""
    from gateway.cli import lifecycle

    lifecycle.restart(invocation)


@app.command()
@with_settings
def health(invocation: Invocation) -> None:
    """Say whether the processes of the gateway run. Exit code 0: all do."""
    from gateway.cli import lifecycle

    lifecycle.health(invocation)


@app.command()
@with_settings
@click.argument("file", type=FILE, required=False)
def check(invocation: Invocation, file: Path | None) -> None:
    """Check a declarative file (.yml, .yaml, .json) or a conf file; without one, the settings.

    The settings are those that a start with the same options would find, with the declarative file that they
    name. Nothing is started.
    """
    from gateway.cli import inspection

    inspection.check(invocation, file)


@app.command()
@click.option("--all", "-a", "every", is_flag=True, help="Versions of what it is built on, too.")
def version(every: bool) -> None:
    """Print the version."""
    if every:
        from gateway.cli import inspection

        inspection.versions()
    else:
        print(__version__)


@app.command()
@with_settings
@click.option("--backend-port", default=9080, show_default=True, help="Port of the demo backend.")
@click.option(
    "--fresh", is_flag=True, help="Forget what was configured before; begin with the example again."
)
def quickstart(invocation: Invocation, backend_port: int, fresh: bool) -> None:
    """Try it out: a gateway and a demo backend, until Ctrl-C.

    At the first start examples/quickstart.yml is imported; what is configured then is kept in the prefix.
    """
    from gateway.cli import demonstration

    demonstration.quickstart(invocation, backend_port, fresh)


for command in administration.COMMANDS:
    app.add_command(command)


class FriendlyNames(click.Group):
    """Finds commands with dashes, too, where Kong writes underscores."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name.replace("-", "_"))


@app.group(cls=FriendlyNames)
def config() -> None:
    """Look at the settings; check, import and export declarative files."""


@config.command()
@with_settings
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--markdown", is_flag=True, help="The reference: defaults and allowed values, as Markdown.")
def show(invocation: Invocation, as_json: bool, markdown: bool) -> None:
    """Print every setting: its value, where the value comes from, what it means."""
    from gateway.cli import inspection

    if markdown:
        inspection.print_reference()
    else:
        inspection.show_settings(invocation, as_json)


@config.command()
@click.argument("file", type=FILE)
def parse(file: Path) -> None:
    """Check a declarative file (YAML or JSON), without a running gateway."""
    from gateway.cli import config_files

    config_files.parse(file)


@config.command("db_import")
@with_settings
@click.argument("file", type=FILE)
def db_import(invocation: Invocation, file: Path) -> None:
    """Put what a declarative file says into the database; what is there besides stays.

    It works on the database itself, in one transaction. Gateways that run on it follow at once.
    """
    from gateway.cli import config_files

    config_files.db_import(invocation, file)


@config.command("db_export")
@with_settings
@click.argument("file", type=FILE, default="kong.yml")
def db_export(invocation: Invocation, file: Path) -> None:
    """Write what is in the database to a new declarative file, kong.yml unless another is named."""
    from gateway.cli import config_files

    config_files.db_export(invocation, file)


@config.command()
@click.argument("file", type=FILE, default="kong.yml")
def init(file: Path) -> None:
    """Write a declarative file with commented examples, kong.yml unless another is named."""
    from gateway.cli import config_files

    config_files.init(file)


@app.group()
def plugin() -> None:
    """Write plugins in Python."""


@plugin.command()
@click.argument("name")
@click.option("--directory", "-d", type=FILE, default=".", help="Where to; the current directory.")
def new(name: str, directory: Path) -> None:
    """Write a new plugin and its test: NAME in small letters, with dashes."""
    from gateway.cli import plugins

    plugins.new(name, directory)


@plugin.command("list")
@with_settings
def list_(invocation: Invocation) -> None:
    """List the Python plugins in PLUGIN_PATH and in installed packages."""
    from gateway.cli import plugins

    plugins.show(invocation)


@plugin.command("check")
@click.argument("path", type=FILE)
def check_plugin(path: Path) -> None:
    """Load the plugins of a file, package or directory, and say what is wrong with them."""
    from gateway.cli import plugins

    plugins.check(path)


@app.group("migrations")
def migrations_group() -> None:
    """Make and upgrade the tables of the database."""


def _migration(command: str, description: str) -> None:
    @migrations_group.command(command, help=description)
    @with_settings
    @click.option("--yes", "-y", is_flag=True, help="Ask nothing.")
    @click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
    @click.option("--force", "-f", is_flag=True, help="Run what was executed again.")
    @click.option(
        "--db-timeout",
        type=click.FloatRange(min=1),
        default=60,
        help="Seconds for each step of the database.",
    )
    @click.option(
        "--lock-timeout", type=click.FloatRange(min=0), default=60, help="Seconds to wait for other nodes."
    )
    def run(invocation: Invocation, **options: Any) -> None:
        from gateway.cli import migrations as work

        work.run(invocation, command, work.Options(**options))


_migration("bootstrap", "Make the tables. SQLite needs no command: the gateway makes them when it starts.")
_migration("up", "Run new migrations, beside nodes of the version before.")
_migration("finish", "Run what is pending after 'up', once all nodes have this version.")
_migration("list", "List migrations. Exit codes: 3 bootstrap needed, 4 pending ones, 5 new ones.")
_migration("status", "The same as JSON, with the same exit codes.")
_migration("reset", "Drop the tables, with all entities.")


@app.command()
@with_settings
@click.option(
    "--profile",
    "profile_name",
    type=click.Choice(["small", "medium", "large", "xlarge"]),
    help="Size of machine, instead of the one that fits.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--all", "-a", "every", is_flag=True, help="Also what is good as it is, and why.")
@click.option("--apply", "do_apply", is_flag=True, help="Write what may be written, after showing it.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing.")
@click.option(
    "--output", "-o", type=FILE, metavar="DIRECTORY", help="Write files for somebody else to install there."
)
@click.option("--root", type=FILE, default="/", hidden=True)
def tune(invocation: Invocation, **options: Any) -> None:
    """Say what to change about this machine, its kernel and the settings: from what to what, and why.

    --apply writes files of its own (/etc/gateway/gateway.env, /etc/sysctl.d/90-sluicegate.conf, a drop-in for
    systemd, open files in /etc/security/limits.d) and sets the kernel's values; no file of others is touched.
    """
    from gateway.cli import tuning

    tuning.tune(invocation, **options)


@app.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure the gateway against its peers, and compare reports."""
    try:
        from bench.cli import app as bench_app
    except ImportError as error:
        fail(f"the benchmarks are not part of this installation ({error})")
    bench_app(args=list(arguments), prog_name="gateway bench")


def main() -> None:
    """Entry point of the command."""
    app(prog_name="gateway")
