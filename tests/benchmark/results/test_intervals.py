"""Estimates from blocks: exact where a formula is known, bounded whatever the data, open where they must be."""

import math
import statistics
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.benchmark.statistics.distributions import beta_quantile, clopper_pearson, incomplete_beta, student_t
from reportsim.benchmark.statistics.intervals import (
    FEWEST_BLOCKS,
    BlockTimes,
    count_needed_blocks,
    estimate_mean,
    estimate_ratio,
    estimate_request_mean,
    estimate_share,
    is_vague,
)
from reportsim.benchmark.statistics.percentile_levels import LEVELS

TIMES = st.one_of(st.floats(0, 1e5), st.just(math.inf))
BLOCKS = st.lists(st.lists(TIMES, max_size=30), min_size=1, max_size=24)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (3, 3.18245), (9, 2.26216), (19, 2.09302), (49, 2.00958)]
)
def test_student_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, rel=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.001, 0.999))
def test_the_beta_function_is_a_sum_of_binomial_chances(a: int, b: int, x: float) -> None:
    count = a + b - 1
    by_hand = math.fsum(math.comb(count, k) * x**k * (1 - x) ** (count - k) for k in range(a, count + 1))
    assert incomplete_beta(a, b, x) == pytest.approx(by_hand, abs=1e-9)


@given(st.floats(0.3, 200), st.floats(0.3, 200), st.floats(0.01, 0.99))
def test_beta_quantiles_turn_the_function_back(a: float, b: float, probability: float) -> None:
    assert incomplete_beta(a, b, beta_quantile(probability, a, b)) == pytest.approx(probability, abs=1e-6)


def test_clopper_pearson_is_that_of_the_tables() -> None:
    assert clopper_pearson(0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(3, 20) == pytest.approx((0.03207, 0.37893), abs=1e-5)
    assert clopper_pearson(20, 20)[1] == 1


@given(st.lists(st.floats(-1e4, 1e4), min_size=FEWEST_BLOCKS, max_size=30))
def test_the_mean_of_blocks_has_the_interval_of_a_t_test(values: list[float]) -> None:
    found = estimate_mean(values)
    reach = student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=1e-6, abs=1e-6)


@given(BLOCKS, st.none() | st.floats(0, 1e5))
@settings(max_examples=200)
def test_quantiles_are_what_sorting_says_within_their_interval(
    blocks: list[list[float]], cut_off: float | None
) -> None:
    times = BlockTimes(blocks, cut_off)
    ordered = sorted(time for block in blocks for time in block)
    finite = [time for time in ordered if time < math.inf]
    for share in LEVELS.values():
        found = times.quantile(share)
        assert found.n == len(ordered)
        if not ordered:
            assert found.value is None
            continue
        exact = ordered[max(math.ceil(round(share * len(ordered), 9)), 1) - 1]
        assert found.censored == (exact == math.inf)
        assert found.value == (max([cut_off or 0.0, *finite[-1:]]) if found.censored else exact)
        if len(blocks) < FEWEST_BLOCKS:
            assert found.low is found.high is None
        assert found.value is not None
        assert found.low is None or found.low <= found.value
        assert found.high is None or (found.value <= found.high and not found.censored)


@given(BLOCKS)
def test_higher_quantiles_are_not_lower(blocks: list[list[float]]) -> None:
    values = [
        found.value for share in LEVELS.values() if (found := BlockTimes(blocks).quantile(share)).value is not None
    ]
    assert values == sorted(values)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=FEWEST_BLOCKS, max_size=30))
def test_shares_stay_within_their_bounds_and_mirror_their_complement(pairs: list[tuple[int, int]]) -> None:
    events, counts = [min(pair) for pair in pairs], [max(pair) for pair in pairs]
    found = estimate_share(events, counts)
    if not sum(counts):
        assert found.value is None
        return
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1
    mirrored = estimate_share([count - event for event, count in zip(events, counts, strict=True)], counts)
    if sum(events) * 2 != sum(counts):
        assert mirrored.low == pytest.approx(1 - found.high)
        assert mirrored.high == pytest.approx(1 - found.low)


def test_an_event_that_was_never_seen_has_an_upper_bound_from_the_blocks() -> None:
    found = estimate_share([0] * 20, [80] * 20)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_an_event_of_one_block_has_no_lower_bound_but_zero() -> None:
    found = estimate_share([40, *[0] * 19], [80] * 20)
    assert found.low == 0
    assert found.high is not None
    assert found.high > 0.2


def test_below_four_blocks_there_is_a_value_and_no_interval() -> None:
    assert estimate_request_mean([[1.0], [3.0], [5.0]]).as_json() == {"value": 3, "low": None, "high": None}
    assert estimate_share([1, 0, 0], [2, 2, 2]).high is None
    assert BlockTimes([[1.0, 2.0]] * 3).quantile(0.5).low is None
    assert estimate_ratio([], []).value is None


def test_a_tail_that_few_blocks_reach_is_open_above() -> None:
    source = Random(1)
    blocks = [[source.expovariate(1) for _ in range(20)] for _ in range(10)]
    times = BlockTimes(blocks)
    assert times.quantile(0.5).high is not None
    assert times.quantile(0.999).high is None
    assert times.quantile(0.999).low is not None


def test_dependence_within_blocks_widens_intervals_and_order_within_does_not() -> None:
    source = Random(2)
    levels = [source.expovariate(1) for _ in range(20)]
    together = [[level + 0.01 * source.random() for _ in range(50)] for level in levels]
    every = [time for block in together for time in block]
    source.shuffle(every)
    mixed = [every[50 * number : 50 * number + 50] for number in range(20)]
    wide, narrow = (estimate_request_mean(blocks) for blocks in (together, mixed))
    assert wide.value == pytest.approx(narrow.value)
    assert wide.low is not None
    assert wide.high is not None
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_what_never_came_is_censored_at_the_time_out() -> None:
    times = BlockTimes([[*map(float, range(1, 10)), math.inf] for _ in range(10)], 8_000.0)
    p95 = times.quantile(0.95)
    assert (p95.value, p95.high, p95.censored) == (8_000, None, True)
    assert p95.low is not None
    assert times.quantile(0.5).value == 5
    assert times.maximum().as_json() == {"value": 8_000, "low": None, "high": None, "n": 100, "censored": True}
    assert times.mean(8_000).value == pytest.approx((45 + 8_000) / 10)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=FEWEST_BLOCKS, max_size=20))
def test_as_many_blocks_as_are_needed_make_an_interval_that_says_something(pairs: list[tuple[int, int]]) -> None:
    events, counts = [min(pair) for pair in pairs], [max(pair) for pair in pairs]
    needed = count_needed_blocks(events, counts, 50)
    if needed is None:
        assert is_vague(estimate_share(events, counts))
        return
    assert needed <= 50
    repeats, rest = divmod(needed, len(counts))
    assert rest == 0
    assert not is_vague(estimate_share(events * repeats, counts * repeats))
    assert (repeats == 1) == (not is_vague(estimate_share(events, counts)))
