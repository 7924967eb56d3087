"""Percentiles over all offered and their intervals, against sums in exact fractions."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.results.percentiles import LEVELS, interval, needed, percentiles, rank

SHARES = {level: Fraction(str(share)) for level, share in LEVELS.items()}
TIMES = st.lists(st.one_of(st.floats(0, 1e6), st.just(math.inf)), max_size=120)


def fewer(count: int, share: Fraction, successes: int) -> Fraction:
    """P(fewer than so many of n observations are below the quantile)."""
    return sum(
        (Fraction(math.comb(count, k)) * share**k * (1 - share) ** (count - k) for k in range(successes)), Fraction(0)
    )


@given(st.integers(1, 150), st.sampled_from(sorted(LEVELS)))
def test_the_interval_is_the_narrowest_with_at_most_a_fortieth_on_either_side(count: int, level: str) -> None:
    share, outside = SHARES[level], Fraction(1, 40)
    ranks = interval(count, LEVELS[level])
    if fewer(count, share, count) < 1 - outside:
        # Even beyond the largest observation there is more than a fortieth.
        assert ranks is None
        return
    assert ranks is not None
    low, high = ranks
    assert fewer(count, share, low) <= outside < fewer(count, share, low + 1)
    assert 1 - fewer(count, share, high) <= outside < 1 - fewer(count, share, high - 1)


def test_how_many_it_takes() -> None:
    assert {level: needed(share) for level, share in LEVELS.items()} == {
        "p50": 6,
        "p90": 36,
        "p95": 72,
        "p99": 368,
        "p99_9": 3688,
    }
    for share in LEVELS.values():
        assert interval(needed(share) - 1, share) is None
        assert interval(needed(share), share) is not None


@pytest.mark.parametrize("count", [1_000, 20_000, 200_000])
@pytest.mark.parametrize("share", LEVELS.values())
def test_large_intervals_are_about_two_standard_errors_wide(count: int, share: float) -> None:
    ranks = interval(count, share)
    if ranks is None:
        assert count < needed(share)
        return
    reach = 1.96 * math.sqrt(count * share * (1 - share))
    assert ranks[0] == pytest.approx(count * share - reach, abs=3)
    assert ranks[1] == pytest.approx(count * share + reach, abs=4)


def test_ranks_do_not_suffer_from_binary_fractions() -> None:
    for count in range(1, 2_001):
        for level, share in LEVELS.items():
            assert rank(count, share) == max(math.ceil(count * SHARES[level]), 1)


@given(TIMES, st.floats(0, 1e6))
def test_percentiles_are_what_sorting_says(times: list[float], bound: float) -> None:
    found = percentiles(times, bound)
    ordered = sorted(times)
    resolved = [time for time in ordered if time < math.inf]
    longest = max([bound, *resolved[-1:]])
    for level, share in LEVELS.items():
        value = found[level]
        assert value.n == len(times)
        if len(times) < needed(share):
            assert (value.value, value.low, value.high, value.censored) == (None, None, None, False)
            continue
        brute = ordered[math.ceil(len(times) * SHARES[level]) - 1]
        assert value.value == (longest if brute == math.inf else brute)
        assert value.censored == (brute == math.inf)
        assert value.low is not None
        assert value.value is not None
        assert value.low <= value.value <= (math.inf if value.high is None else value.high)


@given(TIMES, st.floats(0, 1e6))
def test_higher_percentiles_are_not_lower(times: list[float], bound: float) -> None:
    values = [each.value for each in percentiles(times, bound).values() if each.value is not None]
    assert values == sorted(values)


def test_what_never_came_is_no_fast_answer() -> None:
    # Ninety answers within 90 ms, ten clients that gave up after 8 s.
    times = [float(time) for time in range(1, 91)] + [math.inf] * 10
    found = {level: value.as_json() for level, value in percentiles(times, 8_000).items()}
    assert found["p50"] == {"value": 50, "low": 40, "high": 61, "n": 100, "censored": False}
    assert found["p90"] == {"value": 90, "low": 84, "high": None, "n": 100, "censored": False}
    assert found["p95"] == {"value": 8_000, "low": 90, "high": None, "n": 100, "censored": True}
    assert found["p99"] == {"value": None, "low": None, "high": None, "n": 100, "censored": False}
    assert found["max"] == {"value": 8_000, "low": 8_000, "high": None, "n": 100, "censored": True}


def test_nothing_offered() -> None:
    assert all(value.value is None for value in percentiles([]).values())
