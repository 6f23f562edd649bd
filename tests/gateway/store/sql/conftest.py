"""Each test that asks for a `place` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.sql.connections import Address
from tests.support.databases import fresh_database
from tests.support.nodes import Place


@pytest.fixture
def postgres() -> Iterator[Address]:
    """An empty PostgreSQL database."""
    with fresh_database() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database with its tables, empty."""
    address = request.getfixturevalue("postgres") if request.param == "postgres" else None
    place = Place(address, tmp_path / "test.sqlite")
    place.bootstrap()
    yield place
    place.close()


@pytest.fixture
def shared(postgres: Address, tmp_path: Path) -> Iterator[Place]:
    """A PostgreSQL database with its tables, empty."""
    place = Place(postgres, tmp_path / "unused")
    place.bootstrap()
    yield place
    place.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Place]:
    """A SQLite file with its tables, empty."""
    place = Place(None, tmp_path / "test.sqlite")
    place.bootstrap()
    yield place
    place.close()
