"""From records to results: nothing is lost in counting, whatever the records are."""

import functools
import math
import operator
from array import array
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.results.concurrency import averages, counts, integral, most_at_once, spans
from reportsim.benchmark.results.samples import COLUMNS, MOMENTS, Outcome, Samples
from reportsim.benchmark.results.side_samples import Side, segment_columns, shortest_cut_off
from reportsim.benchmark.results.summary import SEGMENTS, summarise_side
from reportsim.core.model import Mode
from tests.benchmark.ideal_run import integrals_of
from tests.benchmark.runs import example, overload

PLAN = Plan(rate=10, duration_s=4, client_timeout_s=8, slo_s=5)


def summarise(samples: Samples) -> dict[str, Any]:
    side = Side(samples, PLAN.design)
    return summarise_side(side, shortest_cut_off([side])).as_json()


FIELDS = {
    "offered",
    "sent",
    "outcomes",
    "duplicates",
    "sched_lag_ms",
    "accept_ms",
    "time_to_result_ms",
    "from_send_ms",
    "segments_ms",
    "shares",
    "goodput",
    "goodput_interval",
    "throughput",
    "throughput_interval",
    "drain_s",
    "open_connections",
    "busy_workers_mean",
    "busy_workers_mean_interval",
    "queue",
    "wasted_share",
    "wasted_share_interval",
}


@st.composite
def records(draw: st.DrawFn) -> Samples:
    """Any records at all, of a few blocks."""
    count = draw(st.integers(2, 60))
    mode = draw(st.sampled_from(Mode))
    dues = sorted(draw(st.lists(st.floats(0, 2), min_size=count, max_size=count)))
    cuts = sorted(draw(st.lists(st.integers(0, count), min_size=5, max_size=5)))
    samples = Samples.empty(mode.value, array("d", dues), (0, *cuts, count))
    samples.duplicates = draw(st.integers(0, 3))
    for index, due in enumerate(dues):
        outcome = draw(st.sampled_from([one for one in Outcome if one is not Outcome.OK_LATE]))
        samples.outcomes[index] = outcome
        moment = due
        known = draw(st.integers(0, 5)) if outcome is not Outcome.OK else 5
        for name in ("sent", "queued", "started", "ended", "result")[:known]:
            moment += draw(st.floats(0, 4))
            samples.column(name)[index] = moment
        if outcome is not Outcome.OK:
            samples.result[index] = math.nan
        if draw(st.booleans()):
            samples.accepted[index] = due + draw(st.floats(0, 4))
        samples.seen.held[index] = draw(st.floats(0, 4))
    return samples


@given(records())
@settings(max_examples=200)
def test_every_request_offered_ends_in_exactly_one_way(samples: Samples) -> None:
    result = summarise(samples)
    assert set(result) == FIELDS
    assert result["offered"] == len(samples) == sum(result["outcomes"].values())
    assert set(result["outcomes"]) == {outcome.label for outcome in Outcome}
    counted = Counter(samples.outcomes)
    for outcome in Outcome:
        if outcome > Outcome.OK_LATE:
            assert result["outcomes"][outcome.label] == counted[outcome]
    times = samples.times_to_result()
    for outcome, count in result["outcomes"].items():
        assert result["shares"][outcome]["value"] == pytest.approx(count / len(samples), abs=1e-6)
    assert result["outcomes"]["ok"] == sum(time <= PLAN.slo_s for time in times)
    assert result["outcomes"]["ok_late"] == sum(PLAN.slo_s < time < math.inf for time in times)
    assert result["sent"] <= result["offered"]
    waited = [outcome for outcome in samples.outcomes if outcome <= Outcome.CLIENT_TIMEOUT]
    waited += [outcome for outcome in samples.outcomes if outcome == Outcome.CALLBACK_LOST]
    for clock in ("time_to_result_ms", "from_send_ms"):
        assert {value["n"] for value in result[clock].values()} == {len(waited)}
    cut_off = {Outcome.CLIENT_TIMEOUT, Outcome.CALLBACK_LOST}
    answers = zip(samples.accepted, samples.outcomes, strict=True)
    answered = sum(not math.isnan(moment) or outcome in cut_off for moment, outcome in answers)
    assert {value["n"] for value in result["accept_ms"].values()} == {answered}
    assert 0 <= (result["wasted_share"] or 0) <= 1
    assert result["drain_s"] >= 0


@given(records())
def test_segments_add_up_to_the_time_to_result(samples: Samples) -> None:
    times = samples.times_to_result()
    for index, (time, *spent) in enumerate(zip(times, *segment_columns(samples), strict=True)):
        if samples.resolved(index):
            assert sum(spent) == pytest.approx(time, abs=1e-9)
    result = summarise(samples)
    finite = [time for time in times if time < math.inf]
    if finite:
        assert sum(result["segments_ms"].values()) == pytest.approx(1000 * sum(finite) / len(finite), abs=0.01)
    else:
        assert result["segments_ms"] == dict.fromkeys(SEGMENTS)


@given(records())
def test_records_survive_packing(samples: Samples) -> None:
    again = Samples.unpack(samples.pack())
    assert (again.side, again.bounds, again.duplicates) == (samples.side, samples.bounds, samples.duplicates)
    assert again.outcomes == samples.outcomes
    for name in COLUMNS:
        assert again.column(name).tobytes() == samples.column(name).tobytes()


@given(records())
def test_the_uncorrected_clock_hides_the_lag_of_the_generator(samples: Samples) -> None:
    result = summarise(samples)
    for level, value in result["from_send_ms"].items():
        corrected = result["time_to_result_ms"][level]
        if value["value"] is not None and not corrected["censored"]:
            assert value["value"] <= corrected["value"] + 1e-6


def test_a_side_by_hand() -> None:
    samples = Samples.empty("sync", array("d", [0.0, 1.0, 0.0, 1.0]), (0, 2, 4))
    rows: list[tuple[Outcome, list[float]]] = [
        (Outcome.OK, [0.1, 2.1, 2.1, 0.2, 0.5, 2.0]),
        (Outcome.CLIENT_TIMEOUT, [1.1, math.nan, math.nan, 1.2, 2.0, 10.0]),
        (Outcome.OK, [0.0, 6.0, 6.0, 0.0, 1.0, 6.0]),
        (Outcome.SHED, [1.0, 1.1, math.nan, math.nan, math.nan, math.nan]),
    ]
    for index, (outcome, moments) in enumerate(rows):
        samples.outcomes[index] = outcome
        for name, moment in zip(("sent", "accepted", "result", "queued", "started", "ended"), moments, strict=True):
            samples.column(name)[index] = moment
    design = Plan(rate=1, duration_s=4, blocks=2, client_timeout_s=8, slo_s=5).design
    side = Side(samples, design)
    result = summarise_side(side, shortest_cut_off([side])).as_json()
    assert result["outcomes"]["ok"] == result["outcomes"]["ok_late"] == 1
    assert result["outcomes"]["client_timeout"] == result["outcomes"]["shed"] == 1
    assert result["sched_lag_ms"] == {"p50": 0.0, "p99": 100.0, "p99_9": 100.0, "max": 100.0}
    # Two results and a client that left after 8 s; what was shed has no time.
    times = result["time_to_result_ms"]
    assert times["max"] == {"value": 8000, "low": None, "high": None, "n": 3, "censored": True}
    assert times["mean"]["value"] == pytest.approx((2100 + 8000 + 6000) / 3, abs=0.001)
    assert result["segments_ms"] == {"lag": 50, "accept": 50, "queue": 650, "service": 3250, "delivery": 50}
    # Two windows of two seconds each.
    assert (result["goodput"], result["throughput"]) == (1 / 4, 2 / 4)
    assert result["open_connections"] == {
        "mean": pytest.approx((1.9 + 0.9 + 2.0 + 0.1) / 4), "mean_interval": {"low": None, "high": None}, "max": 2,
    }  # fmt: skip
    assert result["busy_workers_mean"] == pytest.approx((1.5 + 0.0 + 1.0) / 4)
    assert result["queue"]["mean"] == pytest.approx((0.3 + 0.8 + 1.0) / 4)
    # The first block is empty at 10, its last arrival was at 1.
    assert result["drain_s"] == 9
    assert result["wasted_share"] == pytest.approx(8 / 14.5, abs=1e-6)


def test_an_overload_is_told_as_it_is() -> None:
    _, result = example()
    sync, other = result["sync"], result["async"]
    assert sync["offered"] == other["offered"] == len(example()[0].schedule)
    assert sync["outcomes"]["client_timeout"] > 10
    assert other["outcomes"]["ok_late"] == pytest.approx(sync["outcomes"]["client_timeout"], abs=2)
    assert other["outcomes"]["ok"] + other["outcomes"]["ok_late"] == other["offered"]
    assert sync["wasted_share"] > other["wasted_share"] == 0
    assert sync["open_connections"]["mean"] > 100 * other["open_connections"]["mean"]
    assert sync["time_to_result_ms"]["max"]["censored"]
    assert 0 < sync["busy_workers_mean"] <= 8


@pytest.mark.parametrize("cancel", Cancel)
def test_who_cancels_wastes_less(cancel: Cancel) -> None:
    run = overload(cancel=cancel, rate=5.5)
    result = run.conclude()["sync"]
    lost = result["outcomes"]["client_timeout"] / result["offered"]
    wasted = {Cancel.NONE: (0.1, 0.9), Cancel.QUEUED: (0.1, 0.8), Cancel.RUNNING: (0.0, 0.3)}[cancel]
    assert wasted[0] <= result["wasted_share"] <= wasted[1]
    assert lost > 0


SPANS = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0, 20)).map(sorted).map(lambda pair: (pair[0], pair[1])), max_size=40
)


@given(SPANS)
def test_areas_and_averages_agree(pairs: list[tuple[float, float]]) -> None:
    found = averages(pairs, 0.7, 30)
    assert sum(found) * 0.7 == pytest.approx(integral(pairs), abs=1e-6)
    assert max(found) <= most_at_once(pairs) + 1e-9
    assert min(found) >= -1e-9
    assert sum(counts([start for start, _ in pairs], 0.7, 30)) == len(pairs)


@given(SPANS)
def test_the_most_at_once_is_found_at_some_beginning(pairs: list[tuple[float, float]]) -> None:
    brute = max((sum(start <= moment < end for start, end in pairs) for moment, _ in pairs), default=0)
    assert most_at_once(pairs) == brute


def test_unknown_moments_are_no_spans() -> None:
    assert list(spans([1.0, math.nan, 2.0, 3.0], [2.0, 5.0, math.nan, 1.0])) == [(1.0, 2.0)]
    assert list(counts([math.nan, -1.0, 0.5, 7.0], 1.0, 2)) == [1, 0]
    assert averages([(5.0, 9.0)], 1.0, 2).tolist() == [0, 0]


def test_the_integrals_of_a_block_are_those_of_its_records() -> None:
    run, _ = example()
    for mode, samples in run.samples.items():
        blocks = [integrals_of(samples, block) for block in samples.blocks]
        assert functools.reduce(operator.add, blocks) == run.integrals[mode]
        spent = sum(end - start for start, end in zip(samples.seen.started, samples.seen.ended, strict=True))
        assert run.integrals[mode].busy_s == pytest.approx(spent)
        assert run.integrals[mode].open_s == pytest.approx(sum(samples.seen.held))


def test_all_moments_are_columns() -> None:
    samples = Samples.empty("sync", array("d", [1.0]), (0, 1))
    assert [len(samples.column(name)) for name in COLUMNS] == [1] * len(COLUMNS)
    assert set(MOMENTS) < set(COLUMNS)


def test_a_server_that_records_nothing_is_unknown_and_costs_no_memory_of_its_own() -> None:
    samples = Samples.empty("sync", array("d", [1.0]), (0, 1), recorded=False)
    assert samples.server is None
    assert math.isnan(samples.seen.started[0])
    assert samples.seen is samples.seen
