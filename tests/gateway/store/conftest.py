"""A draft to write to; a declarative file that is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from tests.support.written_file import FILE, File


@pytest.fixture
def draft() -> Draft:
    """A draft on top of nothing."""
    return Draft(Configuration.EMPTY)


@pytest.fixture
def file(tmp_path: Path) -> File:
    """A declarative file that is written."""
    return File(tmp_path / "kong.yml", FILE)
