"""Requests to many addresses, some much more often than others: what the size of a cache matters for."""

from __future__ import annotations

import random

from bench.declarative import HOST
from bench.story.zipf import draw, shares

EXPONENT = 0.9
"""of Zipf's law; below 1, as measured for web traffic: the many rare addresses weigh more"""
DRAWN = 200_000
"""requests before the order begins anew"""
SEED = 5


def popular_targets(addresses: int, path: str) -> list[str]:
    """One "<host> <path>" for each request, always in the same random order."""
    drawn = draw(shares(addresses, EXPONENT), DRAWN, random.Random(SEED))
    return [f"{HOST} {path}?page={number}" for number in drawn]
