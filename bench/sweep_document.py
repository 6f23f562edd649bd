"""The tables of a document, written from a sweep's report between marks:

<!-- sweep: facts -->                                   where the numbers come from
<!-- sweep: worker_processes under proxy-small -->      an experiment, by its title
<!-- end -->

What stands between a mark and its end is replaced; the rest of the document is a person's.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.processes import BenchError
from bench.report import Report
from bench.sweep_page import experiment_table
from bench.tables import facts

BLOCK = re.compile(r"(<!-- sweep: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
OTHERS = "other programs used the machine"
FACTS = ("Measured", "Source", "Machine", "System", "Rounds", "CPUs")


def write_into(document: Path, report: Report) -> None:
    """Replace the tables of a document. BenchError, and nothing is written, when the report lacks one."""
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{document}: {error.strerror}") from None
    document.write_text(rendered(text, report), encoding="utf-8")


def rendered(text: str, report: Report) -> str:
    """The text of a document with the tables of a report. Raises BenchError."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{_content(found[2], report)}\n{found[3]}"

    return BLOCK.sub(block, text)


def _content(name: str, report: Report) -> str:
    if name == "facts":
        return _facts(report)
    scenario = next((one for one in report.scenarios if one.title == name), None)
    if scenario is None:
        there = ", ".join(one.title for one in report.scenarios)
        raise BenchError(f"the report has no experiment {name!r}; it has {there}")
    return experiment_table(scenario)


def _facts(report: Report) -> str:
    """Where the numbers come from, and what a reader must know of them."""
    known = dict(facts(report))
    lines = [f"- {name}: {known[name]}" for name in FACTS]
    others = [note for note in report.notes if OTHERS in note]
    lines += [f"- Beware: {note}" for note in report.notes if note not in others]
    if others:
        shares = [int(share) for note in others for share in re.findall(r"(\d+)% during", note)]
        lines.append(
            f"- Beware: {OTHERS}, up to {max(shares)} % of it, in {len(others)} of "
            f"{len(report.scenarios)} experiments: the numbers are rough"
        )
    return "\n".join(lines)
