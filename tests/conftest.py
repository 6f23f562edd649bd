"""For all tests: how hypothesis tries things out, and what no test leaves to another."""

from __future__ import annotations

import pytest
from hypothesis import settings

from gateway.plugins._node import tell_database

# How long one example takes tells of the machine and what else runs there, not of the code.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


@pytest.fixture(autouse=True, scope="module")
def database_of_this_process() -> None:
    """Plugins know which database the process has; a store without one tells them so for good."""
    tell_database("sqlite")
