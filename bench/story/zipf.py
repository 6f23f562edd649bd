"""Popularity by Zipf's law, and how much of such a load a cache with a time to live answers.

The key on rank r is asked for with a share proportional to 1 / r^exponent. A response is kept for a fixed
time from the moment it was fetched. If a key is asked for λ times a second, at random moments, then one fetch
is followed by λ·T hits within the time to live T, on average, and the next request is a miss again. So its
hit rate is λT / (1 + λT), and that of all is the mean over the keys, weighted by how often each is asked for.
"""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Sequence

MOST_KEYS = 2_000_000


def shares(keys: int, exponent: float) -> list[float]:
    """The share of each rank, the most popular first; they add up to 1."""
    weights = [rank**-exponent for rank in range(1, keys + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def hit_rate(popularity: Sequence[float], rate: float, ttl_seconds: float) -> float:
    """Share of hits among `rate` requests a second that are spread over keys of these popularities."""
    asked = rate * ttl_seconds
    return sum(share * (asked * share) / (1 + asked * share) for share in popularity)


def keys_for(wanted: float, *, exponent: float, rate: float, ttl_seconds: float) -> int:
    """How many keys there must be for a hit rate, to within one key. More keys: fewer hits.

    ValueError when it is beyond what MOST_KEYS keys, or one, would give.
    """
    low, high = 1, 2  # a hit rate of at least `wanted` with `low` keys

    def found(keys: int) -> float:
        return hit_rate(shares(keys, exponent), rate, ttl_seconds)

    if found(low) < wanted:
        raise ValueError(f"no number of keys gives {wanted:.0%} hits at {rate:,.0f} requests a second")
    while found(high) >= wanted:
        low, high = high, high * 2
        if high > MOST_KEYS:
            raise ValueError(f"{wanted:.0%} hits would take more than {MOST_KEYS:,} keys")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if found(middle) >= wanted else (low, middle)
    return low


def draw(popularity: Sequence[float], count: int, source: random.Random) -> array[int]:
    """So many ranks (from 0) at random, each with its share."""
    cumulated = list(itertools.accumulate(popularity))
    return array("I", source.choices(range(len(popularity)), cum_weights=cumulated, k=count))
