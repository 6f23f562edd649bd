"""gateway plugin: a new plugin, which there are, whether one is all right."""

import re
import textwrap
from pathlib import Path

from gateway.cli.options import Invocation, fail

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

PLUGIN = '''\
"""{name}: what it is for, in a line."""

from typing import Annotated

import msgspec

from gateway.pdk import Answer, Plugin, Request, Response, respond


class {kind}(Plugin):
    """Lets requests with a header of this name pass, and tells the client which path they took."""

    name = "{name}"
    priority = 500  # after authentication (1000 and more) and rate-limiting (910)
    version = "0.1.0"

    class Config(msgspec.Struct):
        header: Annotated[
            str, msgspec.Meta(min_length=1, description="The header without which requests are refused.")
        ] = "X-{words}"

    config: Config

    async def access(self, request: Request) -> Answer | None:
        """Before the upstream is asked. Return respond(...) to answer the request yourself."""
        if self.config.header not in request.headers:
            return respond(400, {{"message": f"the header {{self.config.header}} is missing"}})
        request.ctx["path"] = request.path
        return None

    def response(self, request: Request, response: Response) -> None:
        """When the head of the response is there."""
        if "path" in request.ctx:
            response.headers["X-{words}-Path"] = request.ctx["path"]
'''

TEST = '''\
"""Runs a real gateway with the plugin: `pytest {file}`."""

pytest_plugins = ["gateway.testing.fixtures"]


def test_requests_with_the_header_pass(plugin_gateway):
    plugin_gateway.use("{name}", {{"header": "X-Ticket"}})
    reply = plugin_gateway.get("/some/path", headers={{"X-Ticket": "1"}})
    assert reply.status == 200
    assert reply.headers["X-{words}-Path"] == "/some/path"
    assert reply.upstream.headers["X-Ticket"] == "1"


def test_others_are_refused(plugin_gateway):
    plugin_gateway.use("{name}")
    reply = plugin_gateway.get("/some/path")
    assert (reply.status, reply.upstream) == (400, None)
    assert reply.json() == {{"message": "the header X-{words} is missing"}}
'''


def new(name: str, directory: Path) -> None:
    """Write a plugin that does something already, and its test."""
    if not NAME.fullmatch(name):
        fail(f"{name!r} cannot be the name of a plugin: small letters, digits, dashes between them")
    kind = "".join(part.capitalize() for part in name.split("-"))
    words = "-".join(part.capitalize() for part in name.split("-"))
    module = name.replace("-", "_")
    files = {directory / f"{module}.py": PLUGIN, directory / f"test_{module}.py": TEST}
    for file in files:
        if file.exists():
            fail(f"{file} exists already")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text.format(name=name, kind=kind, words=words, file=file.name), encoding="utf-8")
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    plugin, test = files
    print(
        textwrap.dedent(
            f"""\
            {plugin}
            {test}

            Test it:    pytest {test}
            Use it:     GATEWAY_PLUGIN_PATH={directory.absolute()} gateway start
            After that: gateway reload takes up what you change"""
        )
    )


def show(invocation: Invocation) -> None:
    """Print every Python plugin that a start with these settings would find."""
    from gateway.cli.lifecycle import load_or_fail
    from gateway.pdk.discovery import discover
    from gateway.plugins import built_in_names

    settings = load_or_fail(invocation)
    discovery = discover(settings.plugin_path, settings.plugin_deadline)
    for name, found in sorted(discovery.plugins.items()):
        if name in built_in_names():
            discovery.problems.append(f"{found.origin}: {name} is the name of a plugin of the gateway itself")
            continue
        definition = found.definition
        print(f"{name} {definition.version}  priority {definition.priority}  {found.origin}")
    if discovery.problems:
        fail("not all plugins can be used:", *discovery.problems)


def check(path: Path) -> None:
    """Say what is wrong with the plugins of a file, package or directory."""
    from gateway.pdk.discovery import discover

    discovery = discover([path.absolute()], 10.0)
    here = {name: found for name, found in discovery.plugins.items() if found.bundle is not None}
    if discovery.problems:
        fail(f"{path} cannot be used:", *discovery.problems)
    if not here:
        fail(f"{path} has no plugin: no class with the base gateway.pdk.Plugin")
    print(f"{path} is all right: {', '.join(sorted(here))}")
