"""The code of plugins: read once, kept as a bundle, run as a module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.pdk.handler import may_wait
from gateway.pdk.plugin import Plugin, name_of
from gateway.pdk.sources import (
    SourceDirectory,
    SourceError,
    bundle_source,
    import_bundle,
    load_plugin,
    plugins_in,
    read_bundle,
)

CODE = """
from gateway.pdk import Plugin

class Example(Plugin):
    def access(self, request):
        raise ValueError

class _Hidden(Plugin):
    pass
"""


def test_a_file_goes_to_the_workers(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(CODE)
    bundle = read_bundle(file)
    (plugin,) = plugins_in(import_bundle(bundle))
    bundles = SourceDirectory(tmp_path)
    bundles.write(bundle)
    source = bundle_source(bundle, plugin)
    file.unlink()
    assert load_plugin(bundles, source) is plugin  # the same code is the same module
    assert bundles.read(bundle.digest) == bundle
    assert plugin.access.__code__.co_filename == str(file)
    bundles.remove(bundle.digest)
    assert not list(tmp_path.glob("*.plugin"))


def test_other_code_is_another_module(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(CODE)
    (first,) = plugins_in(import_bundle(read_bundle(file)))
    file.write_text(CODE + "\n")
    (second,) = plugins_in(import_bundle(read_bundle(file)))
    assert first is not second
    assert first.__module__ != second.__module__


def test_packages(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("from .deep.inner import Example as Example\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "inner.py").write_text(CODE + "\nfrom . import other\n")
    (package / "deep" / "other.py").write_text("WORD = 1\n")
    bundle = read_bundle(package)
    assert set(bundle.modules) == {"", "deep", "deep.inner", "deep.other"}
    (plugin,) = plugins_in(import_bundle(bundle))
    bundles = SourceDirectory(tmp_path)
    bundles.write(bundle)
    assert load_plugin(bundles, bundle_source(bundle, plugin)) is plugin
    assert plugin.access.__code__.co_filename == str(package / "deep" / "inner.py")


def test_code_that_fails_leaves_no_module(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("raise ValueError\n")
    bundle = read_bundle(file)
    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            import_bundle(bundle)
    assert bundle.module_name not in sys.modules


def test_what_is_no_code(tmp_path: Path) -> None:
    file = tmp_path / "binary.py"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match=r"binary\.py: "):
        read_bundle(file)
    package = tmp_path / "large"
    package.mkdir()
    (package / "__init__.py").write_bytes(b"#" * (17 << 20))
    with pytest.raises(SourceError, match="more than 16 MiB"):
        read_bundle(package)


def test_names_follow_classes() -> None:
    names = {}
    for name in ("Quota", "QuotaHeaders", "HTTPAuth", "OAuth2", "JSONToXML"):
        names[name] = name_of(type(name, (Plugin,), {}))
    assert names == {
        "Quota": "quota",
        "QuotaHeaders": "quota-headers",
        "HTTPAuth": "http-auth",
        "OAuth2": "o-auth2",
        "JSONToXML": "json-to-xml",
    }
    assert name_of(type("Any", (Plugin,), {"name": "my-own"})) == "my-own"


def test_functions_that_wait_are_known() -> None:
    async def plain(value: int) -> int:
        return value + 1

    async def waiting(value: object) -> object:
        return await value  # type: ignore[misc]

    async def looping(values: object) -> None:
        async for _ in values:  # type: ignore[attr-defined]
            pass

    async def entering(value: object) -> None:
        async with value:  # type: ignore[attr-defined]
            pass

    assert [may_wait(function.__code__) for function in (plain, waiting, looping, entering)] == [
        False,
        True,
        True,
        True,
    ]
