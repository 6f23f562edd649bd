"""Counting against limits: the algorithms against models of plain arithmetic, and how the table behaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.limiter import LimitAlgorithm, Limits, LimitTable
from native.shm import SharedState

FIXED, SLIDING, BUCKET = LimitAlgorithm
PERIODS = SECOND, MINUTE, HOUR, DAY, MONTH, YEAR = range(6)
LENGTHS = (1, 60, 3600, 86400, 30 * 86400, 365 * 86400)
NS = 1_000_000_000
NOON = int(datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp())


@pytest.fixture
def table() -> LimitTable:
    return LimitTable(SharedState.create(1, limiter_bytes=1 << 16))


def fresh_table(size: int = 1 << 16) -> LimitTable:
    return LimitTable(SharedState.create(1, limiter_bytes=size))


def admitted(table: LimitTable, limits: Limits, seconds: float, key: bytes = b"k") -> bool:
    return table.admit(limits, key, int(seconds * NS))[0] is None


# --- calendar windows ------------------------------------------------------------------------------------


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))
def test_windows_are_those_of_the_utc_calendar(when: datetime) -> None:
    table = fresh_table()
    when = when.replace(microsecond=0, tzinfo=UTC)
    month = when.replace(day=1, hour=0, minute=0, second=0)
    year = month.replace(month=1)
    next_month = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    starts = [
        (when, 1),
        (when.replace(second=0), 60),
        (when.replace(minute=0, second=0), 3600),
        (when.replace(hour=0, minute=0, second=0), 86400),
        (month, int((next_month - month).total_seconds())),
        (year, int((year.replace(year=year.year + 1) - year).total_seconds())),
    ]
    seconds = int(when.timestamp())
    expected = [(int(start.timestamp()), int(start.timestamp()) + length) for start, length in starts]
    assert table.windows(seconds * NS) == expected


# --- fixed windows ---------------------------------------------------------------------------------------


def test_a_window_admits_its_limit_and_the_next_begins_anew(table: LimitTable) -> None:
    limits = Limits([(FIXED, MINUTE, 3)])
    answers = [table.admit(limits, b"k", (NOON + 5) * NS) for _ in range(5)]
    assert answers == [
        (None, [(2, 55)]),
        (None, [(1, 55)]),
        (None, [(0, 55)]),
        (0, [(0, 55)]),
        (0, [(0, 55)]),
    ]
    assert table.admit(limits, b"k", (NOON + 59) * NS) == (0, [(0, 1)])
    assert table.admit(limits, b"k", (NOON + 60) * NS) == (None, [(2, 60)])
    assert table.admit(limits, b"other", (NOON + 5) * NS) == (None, [(2, 55)])


def test_a_refused_request_is_counted_in_no_window(table: LimitTable) -> None:
    limits = Limits([(FIXED, HOUR, 2), (FIXED, DAY, 5)])
    for _ in range(2):
        assert table.admit(limits, b"k", NOON * NS)[0] is None
    for _ in range(7):
        assert table.admit(limits, b"k", NOON * NS) == (0, [(0, 3600), (3, 43200)])
    later = (NOON + 3600) * NS
    assert table.admit(limits, b"k", later) == (None, [(1, 3600), (2, 39600)])
    assert [table.admit(limits, b"k", later + 3600 * NS)[0] for _ in range(3)] == [None, None, 1]


def test_a_fraction_of_a_limit_admits_one_more(table: LimitTable) -> None:
    limits = Limits([(FIXED, MINUTE, 1.5)])
    assert [admitted(table, limits, NOON) for _ in range(3)] == [True, True, False]


def test_who_comes_late_to_a_window_is_counted_in_the_one_that_others_have_begun(table: LimitTable) -> None:
    limits = Limits([(FIXED, SECOND, 2)])
    assert admitted(table, limits, NOON + 1)
    assert admitted(table, limits, NOON + 0.999), "a worker whose clock is late"
    assert not admitted(table, limits, NOON + 1)
    assert not admitted(table, limits, NOON + 0.999)


def test_a_clock_that_is_set_back_begins_anew(table: LimitTable) -> None:
    for algorithm in (FIXED, SLIDING, BUCKET):
        limits = Limits([(algorithm, MINUTE, 1)])
        assert admitted(table, limits, NOON)
        assert admitted(table, limits, NOON - 7200), "not refused for two hours"
        assert not admitted(table, limits, NOON - 7200)


def test_what_was_taken_can_be_given_back(table: LimitTable) -> None:
    for algorithm in (FIXED, SLIDING, BUCKET):
        limits = Limits([(algorithm, MINUTE, 1), (algorithm, HOUR, 1)])
        for _ in range(3):
            table.admit_and_return(limits, b"k", NOON * NS)
        assert [admitted(table, limits, NOON) for _ in range(2)] == [True, False]


def test_counts_are_added_taken_and_raised(table: LimitTable) -> None:
    limits = Limits([(FIXED, MINUTE, 10), (FIXED, HOUR, 20)])
    now = NOON * NS
    assert table.take(limits, b"k", now) == [0, 0]
    assert table.add(limits, b"k", now, 7) == [0, 0]
    assert table.add(limits, b"k", now, 7) == [7, 7]
    assert [remaining for remaining, _ in table.look(limits, b"k", now)] == [0, 6]
    table.raise_to(limits, b"k", now, [3, 19])
    assert [remaining for remaining, _ in table.look(limits, b"k", now)] == [0, 1]
    assert table.take(limits, b"k", now) == [14, 19]
    assert [remaining for remaining, _ in table.look(limits, b"k", now)] == [10, 20]
    assert table.add(limits, b"k", now, 1 << 40) == [0, 0]
    assert table.take(limits, b"k", now) == [0xFFFFFFFF, 0xFFFFFFFF], "as much as can be counted"


# --- against models --------------------------------------------------------------------------------------
# A model is asked in turn with the requests of one key, and says which are admitted and what remains.


class FixedModel:
    def __init__(self, limits: list[tuple[int, float]]) -> None:
        self.limits = limits
        self.counts: dict[tuple[int, int], int] = {}

    def admit(self, time_ns: int, table: LimitTable) -> tuple[bool, list[int]]:
        windows = table.windows(time_ns)
        used = {period: self.counts.get((period, windows[period][0]), 0) for period, _ in self.limits}
        passes = all(used[period] < amount for period, amount in self.limits)
        for period, _ in self.limits:
            self.counts[period, windows[period][0]] = used[period] + passes
        return passes, [max(0, math.ceil(amount) - used[period] - passes) for period, amount in self.limits]


class SlidingModel:
    def __init__(self, limits: list[tuple[int, float]]) -> None:
        self.limits = limits
        self.counts: dict[tuple[int, int], int] = {}

    def admit(self, time_ns: int, table: LimitTable) -> tuple[bool, list[int]]:
        windows = table.windows(time_ns)
        estimates = {}
        for period, _ in self.limits:
            start, end = windows[period]
            left = Fraction(end * 1000 - time_ns // 1_000_000, (end - start) * 1000)
            before = table.windows((start - 1) * NS)[period][0]
            share = self.counts.get((period, before), 0) * left
            estimates[period] = self.counts.get((period, start), 0) + share
        passes = all(estimates[period] + 1 <= amount for period, amount in self.limits)
        for period, _ in self.limits:
            key = (period, windows[period][0])
            self.counts[key] = self.counts.get(key, 0) + passes
        remaining = [
            max(0, math.floor(amount - estimates[period]) - passes) for period, amount in self.limits
        ]
        return passes, remaining


class BucketModel:
    """Tokens that are counted in fractions, and not with the time at which the bucket is full."""

    def __init__(self, limits: list[tuple[int, float]], burst: float) -> None:
        self.limits = limits
        self.size = [math.ceil(burst or amount) for _, amount in limits]
        self.tokens = [Fraction(size) for size in self.size]
        self.interval = [
            -(-LENGTHS[period] * NS // math.ceil(amount)) for period, amount in limits
        ]  # as the table, in whole nanoseconds
        self.time: int | None = None

    def admit(self, time_ns: int, table: LimitTable) -> tuple[bool, list[int]]:
        passed = time_ns - (self.time if self.time is not None else time_ns)
        self.time = time_ns
        for index in range(len(self.limits)):
            self.tokens[index] = min(
                Fraction(self.size[index]), self.tokens[index] + Fraction(passed, self.interval[index])
            )
        passes = all(tokens >= 1 for tokens in self.tokens)
        self.tokens = [tokens - passes for tokens in self.tokens]
        return passes, [math.floor(tokens) for tokens in self.tokens]


amounts = st.integers(1, 12)
several_limits = st.dictionaries(st.sampled_from(PERIODS), amounts, min_size=1, max_size=4).map(
    lambda limits: sorted(limits.items())
)
pauses = st.lists(
    st.one_of(
        st.just(0),
        st.integers(0, 3 * NS),
        st.integers(0, 200 * NS),
        st.integers(0, 3 * 86400 * NS),
        st.integers(0, 400 * 86400 * NS),
    ),
    min_size=1,
    max_size=60,
)


def times_of(pauses: list[int], start: int = NOON * NS) -> Iterator[int]:
    now = start
    for pause in pauses:
        now += pause
        yield now


@given(several_limits, pauses)
def test_fixed_windows_do_what_the_model_does(limits: list[tuple[int, int]], pauses: list[int]) -> None:
    compare(FIXED, FixedModel(limits), limits, pauses)


@given(several_limits, pauses)
def test_sliding_windows_do_what_the_model_does(limits: list[tuple[int, int]], pauses: list[int]) -> None:
    compare(SLIDING, SlidingModel(limits), limits, pauses)


@given(several_limits, st.integers(0, 20), pauses)
def test_token_buckets_do_what_the_model_does(
    limits: list[tuple[int, int]], burst: int, pauses: list[int]
) -> None:
    compare(BUCKET, BucketModel(limits, burst), limits, pauses, burst)


def compare(
    algorithm: int,
    model: FixedModel | SlidingModel | BucketModel,
    configured: list[tuple[int, int]],
    pauses: list[int],
    burst: int = 0,
) -> None:
    table = fresh_table()
    limits = Limits([(algorithm, period, amount) for period, amount in configured], burst=burst)
    for now in times_of(pauses):
        refused, states = table.admit(limits, b"k", now)
        assert (refused is None, [remaining for remaining, _ in states]) == model.admit(now, table)


@given(st.sampled_from([SLIDING, BUCKET]), st.sampled_from(PERIODS), amounts, st.integers(0, 9), pauses)
def test_who_waits_as_long_as_told_is_admitted_and_a_second_less_is_too_little(
    algorithm: int, period: int, amount: int, burst: int, pauses: list[int]
) -> None:
    table = fresh_table()
    limits = Limits([(algorithm, period, amount)], burst=burst)
    for now in times_of(pauses):
        while True:
            refused, [(_, wait)] = table.admit(limits, b"k", now)
            if refused is not None:
                break
        if wait > 1 and period != MONTH and period != YEAR:
            # (Months have different lengths, so what is told in one of them is not exact.)
            assert table.look(limits, b"k", now + (wait - 1) * NS)[0][0] == 0
        if period != MONTH:
            assert table.look(limits, b"k", now + wait * NS)[0][0] > 0


@given(amounts, st.lists(st.integers(0, 30 * NS), min_size=1, max_size=150))
def test_no_minute_admits_much_more_than_a_sliding_window_says(amount: int, pauses: list[int]) -> None:
    """The estimate takes the window before for even; what it can be wrong by is one limit in two windows."""
    table = fresh_table()
    limits = Limits([(SLIDING, MINUTE, amount)])
    passed = [now for now in times_of(pauses) if table.admit(limits, b"k", now)[0] is None]
    for start in passed:
        within = [now for now in passed if start <= now < start + 60 * NS]
        assert len(within) < 2 * amount + 1


@given(amounts, st.integers(1, 9), st.lists(st.integers(0, 30 * NS), min_size=1, max_size=100))
def test_no_time_admits_more_than_burst_and_rate(amount: int, burst: int, pauses: list[int]) -> None:
    table = fresh_table()
    limits = Limits([(BUCKET, MINUTE, amount)], burst=burst)
    passed = [now for now in times_of(pauses) if table.admit(limits, b"k", now)[0] is None]
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + Fraction((passed[last] - start) * amount, 60 * NS)


# --- the table -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=300))
def test_keys_have_counts_of_their_own(requests: list[tuple[int, int]]) -> None:
    table = fresh_table(1 << 18)
    limits = Limits([(FIXED, MINUTE, 5)])
    counts: dict[tuple[int, int], int] = {}
    now = NOON
    for key, pause in requests:
        now += pause * 15
        window = (key, now // 60)
        expected = counts.get(window, 0) < 5
        assert admitted(table, limits, now, b"%d" % key) == expected
        counts[window] = counts.get(window, 0) + expected
    assert table.statistics()["evictions"] == 0


def keys_of_one_bucket(table: LimitTable, limits: Limits, count: int) -> list[bytes]:
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        key = b"key %d" % number
        if table.bucket(limits, key) == 3:
            found.append(key)
        number += 1
    return found


def test_places_of_ended_counts_are_used_again(table: LimitTable) -> None:
    limits = Limits([(FIXED, MINUTE, 1)])
    keys = keys_of_one_bucket(table, limits, 60)
    for round_number in range(4):
        now = NOON + 60 * round_number
        some = keys[15 * round_number :][:15]
        assert all(admitted(table, limits, now, key) for key in some)
        assert not any(admitted(table, limits, now, key) for key in some)
    assert table.statistics()["evictions"] == 0
    assert table.statistics()["used_places"] == 15


@pytest.mark.parametrize("algorithm", LimitAlgorithm)
def test_a_full_bucket_loses_the_count_that_ends_first(table: LimitTable, algorithm: LimitAlgorithm) -> None:
    hour, minute = Limits([(algorithm, HOUR, 1)]), Limits([(algorithm, MINUTE, 1)])
    long_lived = keys_of_one_bucket(table, hour, 14)
    [short_lived, another] = keys_of_one_bucket(table, minute, 2)
    assert all(admitted(table, hour, NOON, key) for key in long_lived)
    assert admitted(table, minute, NOON, short_lived)
    assert admitted(table, minute, NOON + 1, another)
    assert table.statistics()["evictions"] == 1
    assert not any(admitted(table, hour, NOON + 1, key) for key in long_lived)
    assert not admitted(table, minute, NOON + 1, another)
    assert admitted(table, minute, NOON + 1, short_lived), "its count is lost"


@pytest.mark.parametrize("place", [1, 2, 15])
def test_an_insertion_whose_worker_was_killed_is_finished_by_the_next(table: LimitTable, place: int) -> None:
    limits = Limits([(FIXED, MINUTE, 2)])
    keys = keys_of_one_bucket(table, limits, 18)
    for key in keys[: place - 1]:
        assert admitted(table, limits, NOON, key)
    table.announce(limits, keys[16], NOON * NS, place)
    assert [admitted(table, limits, NOON, keys[17]) for _ in range(3)] == [True, True, False]
    assert [admitted(table, limits, NOON, keys[16]) for _ in range(3)] == [True, True, False]


def test_an_insertion_that_was_announced_for_a_live_count_replaces_it(table: LimitTable) -> None:
    limits = Limits([(FIXED, MINUTE, 1)])
    keys = keys_of_one_bucket(table, limits, 16)
    for key in keys[:15]:
        assert admitted(table, limits, NOON, key)
    table.announce(limits, keys[15], NOON * NS, 7)
    assert not admitted(table, limits, NOON, keys[0]), "who has a place does not care"
    assert admitted(table, limits, NOON, keys[15])
    assert not any(admitted(table, limits, NOON, key) for key in keys if key != keys[6])


def test_limits_that_cannot_be_counted_are_capped(table: LimitTable) -> None:
    for algorithm, most in ((FIXED, 0xFFFFFFFF), (SLIDING, 0x3FFFFF), (BUCKET, 1_000_000_000)):
        limits = Limits([(algorithm, SECOND, 1e30)])
        assert table.admit(limits, b"k", NOON * NS)[1][0][0] == most - 1


def test_bad_limits_are_refused() -> None:
    for bad in ([], [(0, 0, 1)], [(FIXED, 6, 1)], [(FIXED, 0, 0)], [(FIXED, 0, 1)] * 7):
        with pytest.raises(ValueError, match=r"limit"):
            Limits(bad)


def test_nobody_can_find_out_elsewhere_who_shares_a_bucket() -> None:
    """Or else some chosen addresses would drive a count out of its bucket, and let it begin anew."""
    limits = Limits([(FIXED, HOUR, 100)])
    own, other = fresh_table(), fresh_table()
    rivals = [key for i in range(20_000) if own.bucket(limits, key := b"%d" % i) == own.bucket(limits, b"me")]
    together = [key for key in rivals if other.bucket(limits, key) == other.bucket(limits, b"me")]
    assert len(rivals) > 20
    assert len(together) < len(rivals) / 4


def test_without_a_table_everything_passes() -> None:
    table = fresh_table(0)
    assert table.statistics() == {"places": 0, "used_places": 0, "evictions": 0}
    limits = Limits([(FIXED, MINUTE, 1), (FIXED, HOUR, 1)])
    assert [admitted(table, limits, NOON) for _ in range(3)] == [True] * 3
    table.admit_and_return(limits, b"k", NOON * NS)
    assert table.add(limits, b"k", NOON * NS, 5) == [0, 0]
