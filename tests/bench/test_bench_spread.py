"""Medians, spreads and the mark of noise."""

from __future__ import annotations

import pytest

from bench.spread import NOISE_FLOOR, noise_between, relative_change, relative_deviation, summarize


def test_summary_of_rounds() -> None:
    summary = summarize([10.0, 12.0, 11.0, 50.0, 10.0])
    assert (summary.median, summary.min, summary.max, summary.rounds) == (11.0, 10.0, 50.0, 5)
    # Deviations from 11 are 1, 1, 0, 39, 1: the one bad round does not move their median.
    assert summary.relative_mad == pytest.approx(1 / 11)


def test_summary_of_zeros_divides_by_nothing() -> None:
    assert summarize([0.0, 0.0]).relative_mad == 0.0
    assert relative_deviation(summarize([0.0, 0.0])) == 0.0


def test_one_round_says_nothing_about_noise() -> None:
    one, many = summarize([5.0]), summarize([5.0, 5.0, 5.0])
    assert relative_deviation(one) is None
    assert noise_between(one, many) is None
    assert noise_between(many, one) is None


def test_few_rounds_use_their_whole_range() -> None:
    # The MAD of two equal rounds and an outlier would be zero and claim there was no noise.
    assert relative_deviation(summarize([100.0, 100.0, 120.0])) == pytest.approx(0.1)


def test_many_rounds_use_the_mad() -> None:
    assert relative_deviation(summarize([98.0, 99.0, 100.0, 101.0, 150.0])) == pytest.approx(0.014826)


def test_noise_never_falls_below_the_floor() -> None:
    same = summarize([7.0] * 5)
    assert noise_between(same, same) == NOISE_FLOOR


def test_noise_combines_both_spreads() -> None:
    quiet, loud = summarize([100.0] * 5), summarize([80.0, 90.0, 100.0, 110.0, 120.0])
    assert noise_between(quiet, loud) == pytest.approx(2 * 0.1 * 1.4826)
    both = noise_between(loud, loud)
    assert both == pytest.approx(2 * 0.1 * 1.4826 * 2**0.5)


def test_relative_change() -> None:
    assert relative_change(50.0, 75.0) == pytest.approx(0.5)
    assert relative_change(0.0, 1.0) is None
