"""gateway explain: what a running gateway would do with a request."""

import json
from collections.abc import Sequence
from typing import Any

import click

from gateway.cli.connecting import Target, connected


def explain(
    target: Target,
    method: str,
    url: str,
    headers: Sequence[str],
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Ask the Admin API and print its answer. `options`: further members of the question; those without a
    value are left out."""
    question: dict[str, Any] = {"method": method, "url": url, "headers": list(headers)}
    question |= {name: value for name, value in options.items() if value is not None}
    with connected(target) as admin:
        found = admin.request("POST", "/explain", json=question, repeatable=True).json()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from gateway.explain.text import lines_of

    for line in lines_of(found):
        click.echo(line)
