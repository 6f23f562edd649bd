"""For all tests: how hypothesis tries things out."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes tells of the machine and what else runs there, not of the code.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
