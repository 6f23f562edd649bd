"""gateway tune: print what to change about this machine and the settings, and why; write it where it may."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.cli.options import Invocation, fail, warn
from gateway.settings import SettingsError, load_settings
from gateway.tuning.advice import Advice, advise
from gateway.tuning.applying import ApplyError, Plan, apply, plan_changes, write_output
from gateway.tuning.facts import read_facts
from gateway.tuning.profiles import PROFILES, choose_profile
from gateway.tuning.rules import Area, Situation, Verdict, size_text
from gateway.tuning.running import find_running

FORMAT = 1
WIDE = 140
"""columns of a terminal from which on everything has a column of its own"""
STYLES = {
    Verdict.CHANGE: "bold yellow",
    Verdict.CONSIDER: "cyan",
    Verdict.KEEP: "dim",
    Verdict.UNKNOWN: "magenta",
}


def tune(
    invocation: Invocation,
    *,
    profile_name: str | None,
    as_json: bool,
    every: bool,
    do_apply: bool,
    yes: bool,
    output: Path | None,
    root: Path = Path("/"),
) -> None:
    """Look at everything, say what to do, and do what was asked for."""
    situation = look(invocation, profile_name, root)
    advice = advise(situation)
    if as_json:
        print(json.dumps(document(situation, advice), indent=2))
    else:
        show(situation, advice, every)
    try:
        if output is not None:
            print(*write_output(output, situation.profile, advice), sep="\n", file=sys.stderr)
        if do_apply:
            carry_out(plan_changes(situation.facts, situation.profile, advice, root), yes)
    except ApplyError as error:
        fail(str(error))


def look(invocation: Invocation, profile_name: str | None, root: Path) -> Situation:
    """Facts, profile, settings: those of the gateway that runs in the prefix, else those of a start."""
    try:
        settings = load_settings(invocation.conf, os.environ, invocation.flags)
    except SettingsError as error:
        fail("the settings are not valid:", *error.problems)
    warn(settings.warnings)
    running = find_running(settings.prefix, root)
    if running is not None and running.settings is not None:
        settings = running.settings
    facts = read_facts(root)
    profile = PROFILES[profile_name] if profile_name else choose_profile(facts)
    return Situation(facts, settings, profile, running)


def document(situation: Situation, advice: Sequence[Advice]) -> dict[str, object]:
    """What --json prints."""
    facts = situation.facts
    return {
        "format": FORMAT,
        "profile": situation.profile.name,
        "machine": {
            "processors": facts.usable_processors,
            "processors_present": facts.processors_present,
            "processor_quota": facts.limits.processors,
            "memory_bytes": facts.usable_memory,
            "memory_limit_bytes": facts.limits.memory,
            "numa_nodes": len(facts.nodes),
            "open_files_soft": facts.open_files_soft,
            "open_files_hard": facts.open_files_hard,
            "container": facts.container,
            "kernel_settings_writable": facts.sysctls_writable,
        },
        "gateway": None
        if situation.running is None
        else {"pid": situation.running.pid, "workers": situation.running.workers},
        "advice": [one.document() for one in advice],
    }


def show(situation: Situation, advice: Sequence[Advice], every: bool) -> None:
    """Print a table: what to change first, and with `every` also what is good as it is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    wide = console.width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("what", "from", "to", "why", "takes effect") if wide else ("what", "from, to", "why"):
        table.add_column(heading, overflow="fold")
    order = list(STYLES)
    hidden = 0
    for one in sorted(advice, key=lambda one: order.index(one.verdict)):
        if one.verdict is Verdict.KEEP and not every:
            hidden += 1
            continue
        name, before, after, why, effect = row(one)
        cells = (name, before, after, why, effect) if wide else (name, f"{before}\n→ {after}", why)
        table.add_row(*map(Text, cells), style=STYLES[one.verdict])
    console.print(Text("\n".join(headline(situation))))
    if table.row_count:
        console.print(table)
    changes = sum(one.verdict is Verdict.CHANGE for one in advice)
    ending = "No change needed" if not changes else f"{changes} to change"
    more = f"; {hidden} are good as they are (--all shows them)" if hidden else ""
    console.print(Text(f"{ending}{more}."))


def row(one: Advice) -> tuple[str, str, str, str, str]:
    """What, from, to, why, when it takes effect."""
    name = f"GATEWAY_{one.name.upper()}" if one.area is Area.SETTING else one.name
    to = one.wanted or {Verdict.KEEP: "no change needed", Verdict.UNKNOWN: "unknown"}.get(one.verdict, "")
    if one.verdict is Verdict.CONSIDER:
        to = f"consider {to}".strip()
    effect = one.effect if one.wanted else ""
    return name, one.current or "–", to, f"{one.reason} ({one.source})", effect


def headline(situation: Situation) -> list[str]:
    """What was looked at."""
    facts = situation.facts
    quota = f" (a cgroup's quota; {facts.processors} to run on)" if facts.limits.processors else ""
    limit = " (a cgroup's limit)" if facts.usable_memory == facts.limits.memory else ""
    memory = "?" if facts.usable_memory is None else size_text(facts.usable_memory)
    where = ", in a container" if facts.container else ""
    whose = (
        f"the gateway that runs in {situation.settings.prefix} (pid {situation.running.pid})"
        if situation.running
        else "those that a start would find; no gateway runs in this prefix"
    )
    return [
        f"Machine: {facts.usable_processors:g} processors{quota}, {memory} memory{limit}{where}. "
        f"Profile {situation.profile.name}: {situation.profile.meant_for}.",
        f"Settings: {whose}.",
    ]


def carry_out(plan: Plan, yes: bool) -> None:
    """Show what will be written, ask, write."""
    for reason in plan.refused:
        print(f"Left out: {reason}", file=sys.stderr)
    if not plan.changes:
        print("Nothing to write.", file=sys.stderr)
        return
    for change in plan.changes:
        if change.kernel:
            print(f"{change.path}: {change.before} -> {change.after}", file=sys.stderr)
        else:
            print(f"--- {change.path}{'' if change.before is None else ' (replaced)'}", file=sys.stderr)
            print(change.after, end="", file=sys.stderr)
    if not yes and not click.confirm("Write this?", err=True):
        fail("nothing was written")
    for line in apply(plan):
        print(line, file=sys.stderr)
