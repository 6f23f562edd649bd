"""The command `gateway`. Each command's work is in a module of this package that is imported when it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.options import Conf, Invocation, Overrides, Prefix

app = typer.Typer(
    name="gateway",
    help="Sluicegate, an API gateway that speaks Kong's configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.command()
def start(
    conf: Conf = None,
    prefix: Prefix = None,
    override: Overrides = None,
    daemon: Annotated[
        bool, typer.Option("--daemon", "-d", help="Run in the background; return when the gateway serves.")
    ] = False,
    declarative_config: Annotated[
        Path | None, typer.Option(help="Declarative file, instead of DECLARATIVE_CONFIG.")
    ] = None,
    proxy_listen: Annotated[str | None, typer.Option(help="Instead of PROXY_LISTEN.")] = None,
    admin_listen: Annotated[str | None, typer.Option(help="Instead of ADMIN_LISTEN.")] = None,
    status_listen: Annotated[str | None, typer.Option(help="Instead of STATUS_LISTEN.")] = None,
    workers: Annotated[str | None, typer.Option(help="Instead of WORKER_PROCESSES.")] = None,
    log_level: Annotated[str | None, typer.Option(help="Instead of LOG_LEVEL.")] = None,
) -> None:
    """Start the gateway, in the foreground unless --daemon is given."""
    from gateway.cli import lifecycle

    flags = {
        "declarative_config": str(declarative_config) if declarative_config else None,
        "proxy_listen": proxy_listen,
        "admin_listen": admin_listen,
        "status_listen": status_listen,
        "worker_processes": workers,
        "log_level": log_level,
    }
    lifecycle.start(Invocation.of(conf, prefix, override, flags), daemon)


@app.command()
def stop(conf: Conf = None, prefix: Prefix = None, override: Overrides = None) -> None:
    """Stop a running gateway at once: requests under way are cut."""
    from gateway.cli import lifecycle

    lifecycle.stop(Invocation.of(conf, prefix, override))


@app.command("quit")
def quit_(
    conf: Conf = None,
    prefix: Prefix = None,
    override: Overrides = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            "-t",
            min=0,
            help="Seconds that requests have to end, then they are cut; 0: no limit. "
            "Without it WORKER_SHUTDOWN_TIMEOUT of the running gateway.",
        ),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", "-w", min=0, help="Seconds to wait before it begins.")] = 0,
) -> None:
    """Stop a running gateway when the requests under way have ended."""
    from gateway.cli import lifecycle

    lifecycle.quit_(Invocation.of(conf, prefix, override), timeout, wait)


@app.command()
def reload(conf: Conf = None, prefix: Prefix = None, override: Overrides = None) -> None:
    """Let a running gateway read settings and declarative file again. No request is lost.

    Settings come from where they came from at the start, and on top from this command's conf file,
    environment and flags. With a mistake in any of it nothing changes.
    """
    from gateway.cli import lifecycle

    lifecycle.reload(Invocation.of(conf, prefix, override))


@app.command()
def restart(conf: Conf = None, prefix: Prefix = None, override: Overrides = None) -> None:
    """Stop the gateway if it runs, then start it in the background."""
    from gateway.cli import lifecycle

    lifecycle.restart(Invocation.of(conf, prefix, override))


@app.command()
def health(conf: Conf = None, prefix: Prefix = None, override: Overrides = None) -> None:
    """Say whether the processes of the gateway run. Exit code 0: all do."""
    from gateway.cli import lifecycle

    lifecycle.health(Invocation.of(conf, prefix, override))


@app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="A declarative file (.yml, .yaml, .json) or a conf file; none: the settings."),
    ] = None,
    conf: Conf = None,
    prefix: Prefix = None,
    override: Overrides = None,
) -> None:
    """Check a declarative file, a conf file, or the settings as a start would find them. Nothing is
    started.
    """
    from gateway.cli import inspection

    inspection.check(Invocation.of(conf, prefix, override), file)


@app.command()
def version(
    every: Annotated[bool, typer.Option("--all", "-a", help="Versions of what it is built on, too.")] = False,
) -> None:
    """Print the version."""
    if every:
        from gateway.cli import inspection

        inspection.versions()
    else:
        typer.echo(__version__)


@app.command()
def quickstart(
    conf: Conf = None,
    prefix: Prefix = None,
    override: Overrides = None,
    backend_port: Annotated[int, typer.Option(help="Port of the demo backend.")] = 9080,
) -> None:
    """Try it out: a gateway with examples/quickstart.yml and a demo backend, until Ctrl-C."""
    from gateway.cli import demonstration

    demonstration.quickstart(Invocation.of(conf, prefix, override), backend_port)


@config_app.command()
def show(
    conf: Conf = None,
    prefix: Prefix = None,
    override: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print every setting: its value, where the value comes from, what it means."""
    from gateway.cli import inspection

    inspection.show_settings(Invocation.of(conf, prefix, override), as_json)


def main() -> None:
    """Entry point of the command."""
    # The benchmarks bring their own commands; they are only looked for when somebody may want to see them.
    if not sys.argv[1:] or sys.argv[1] in ("bench", "--help"):
        _add_bench()
    app(prog_name="gateway")


def _add_bench() -> None:
    try:
        from bench.cli import app as bench_app
    except ImportError:
        return
    app.add_typer(bench_app, name="bench")
