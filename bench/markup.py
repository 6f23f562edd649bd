"""Pieces of HTML that the pages share: no script, nothing fetched, readable on a phone, light and dark.

A page is also well-formed XML after the doctype, which keeps mistakes in the markup from hiding.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from bench.compare import Verdict
from bench.tables import MARKS

STYLE = Path(__file__).with_name("page.css")


def page(title: str, body: Iterable[str]) -> str:
    """A whole page around its body."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{STYLE.read_text()}</style></head>\n"
        f"<body>{chr(10).join(body)}</body></html>\n"
    )


def scrolling_table(label: str, head: Iterable[str], rows: Iterable[str]) -> str:
    """A table that scrolls by itself where it is too wide, with the keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label, quote=True)}"><table>'
        f"<caption>{escape(label)}</caption><thead><tr>{''.join(head)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def column_head(text: str, *, numeric: bool = False) -> str:
    """The head of a column."""
    return f'<th scope="col" class="{"number" if numeric else "word"}">{escape(text)}</th>'


def row_head(text: str, further: str = "") -> str:
    """The head of a row, with smaller words behind it."""
    below = f" <small>{escape(further)}</small>" if further else ""
    return f'<th scope="row">{escape(text)}{below}</th>'


def cell(text: str, name: str = "") -> str:
    """A cell, with the class that says how it looks."""
    return f'<td class="{name}">{escape(text)}</td>' if name else f"<td>{escape(text)}</td>"


def number_cell(text: str) -> str:
    """A cell with a number."""
    return cell(text, "number")


def verdict_cell(verdict: Verdict) -> str:
    """A cell with what a change means."""
    name = {Verdict.BETTER: "better", Verdict.WORSE: "worse"}.get(verdict, "quiet")
    return cell(MARKS[verdict][0], f"verdict {name}")
