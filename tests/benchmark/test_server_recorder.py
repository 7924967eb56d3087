"""What the server sees of a run: areas that are sums of spans, whatever comes in which order, and however late."""

import math
import time
from array import array
from itertools import count
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.server_recorder import Area, Recorder, complete, load_columns

ROWS = 8


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=20), st.randoms(use_true_random=False))
def test_an_area_is_the_sum_of_its_spans_in_whatever_order_they_are_noted(
    spans: list[tuple[float, float]], random: object
) -> None:
    changes = [(min(span), +1) for span in spans] + [(max(span), -1) for span in spans]
    random.shuffle(changes)  # type: ignore[attr-defined]
    area = Area()
    for moment, by in changes:
        area.change(by, moment)
    assert area.value == 0
    assert area.total == pytest.approx(sum(abs(a - b) for a, b in spans), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), st.sampled_from("qseoc")), max_size=60))
def test_whatever_happens_to_requests_the_identities_hold(steps: list[tuple[int, str]]) -> None:
    """Queued, started, ended, opened and closed in any order, and more than once."""
    clock = count(1)
    ids: list[UUID] = [uuid4() for _ in range(ROWS)]
    seen = Recorder(["sync", "async"], ROWS)
    opened: dict[int, float] = {}
    with patch.object(time, "monotonic", lambda: float(next(clock))):
        for index, id in enumerate(ids):
            seen.takes(id, "sync", index)
        for index, step in steps:
            side = seen.sides["sync"]
            match step:
                case "q":
                    seen.queued(ids[index])
                case "s" if math.isnan(side.started[index]):
                    assert seen.started(ids[index], 0.5) >= 0.5
                case "e":
                    seen.ended(ids[index])
                case "o" if index not in opened and math.isnan(side.held[index]):
                    opened[index] = time.monotonic()
                    seen.opens("sync", opened[index])
                case "c" if index in opened:
                    seen.closes("sync", index, opened.pop(index))
        for id in ids:
            seen.ended(id)
        for index, moment in opened.items():
            seen.closes("sync", index, moment)
    assert seen.waiting == 0
    assert seen.over == ROWS
    areas, parts = seen.dump()
    columns = load_columns(["sync", "async"], parts)["sync"]
    spent = [end - start for start, end in zip(columns["started"], columns["ended"], strict=True)]
    assert areas["sync"]["busy_s"] == pytest.approx(math.fsum(each for each in spent if not math.isnan(each)))
    assert areas["sync"]["open_s"] == pytest.approx(math.fsum(each for each in columns["held"] if not math.isnan(each)))
    queued = sum(not math.isnan(each) for each in columns["queued"])
    assert areas["sync"]["accepted"] == queued
    assert areas["sync"]["queue_s"] >= 0


def test_moments_become_seconds_of_their_own_block() -> None:
    samples = Samples.empty("async", array("d", [0.0, 1.0, 0.0]), (0, 2, 3))
    samples.result[:] = array("d", [0.5, 1.75, math.nan])
    seen = {
        "queued": array("d", [100.1, 101.1, 200.1]),
        "started": array("d", [100.2, 101.2, math.nan]),
        "ended": array("d", [100.4, 101.7, 203.0]),
        "held": array("d", [0.1, 0.1, 0.1]),
    }
    areas, _ = Recorder(["sync", "async"], 3).dump()
    integrals = complete(samples, seen, areas["async"], (100.0, 200.0))
    assert samples.seen.queued.tolist() == pytest.approx([0.1, 1.1, 0.1])
    assert samples.seen.ended.tolist() == pytest.approx([0.4, 1.7, 3.0])
    assert math.isnan(samples.seen.started[2])
    # Until each block was empty: the last result of the first, the last end of the second.
    assert integrals.elapsed_s == pytest.approx(1.75 + 3.0)
