"""The tables of percentiles: what a run cannot resolve is left out and named, what is known stays."""

from typing import Any

import pytest

from reportsim.benchmark.report.time_tables import is_resolved, list_times
from reportsim.cli.benchmark.tables import time_rows

Estimate = dict[str, Any]


def estimate(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> Estimate:
    return {"value": value, "low": low, "high": high, "n": 200, "censored": False, **more}


SHORT = {
    "p50": estimate(250, 170, 330),
    "p95": estimate(700, 560),
    "p99": estimate(870, 550),
    "p99_9": estimate(1_000, 730, censored=True),
    "max": estimate(1_000, censored=True),
    "mean": estimate(280, 200, 360),
}


def result(sync: dict[str, Estimate], later: dict[str, Estimate]) -> dict[str, Any]:
    return {"sync": {"time_to_result_ms": sync}, "async": {"time_to_result_ms": later}}


def test_levels_without_an_upper_end_on_both_sides_are_left_out_and_named() -> None:
    both = result(SHORT, {**SHORT, "p95": estimate(690, 570, 860)})
    [table] = list_times(both)
    assert [row[0].text for row in table.rows] == ["p50", "p95", "max", "mean"]
    assert table.hint.endswith("; p99, p99.9 are left out, which a run as short as this one cannot resolve")
    assert [name for name, *_ in time_rows(both)] == [
        f"time to result, {level}" for level in ("p50", "p95", "max", "mean")
    ]


def test_nothing_is_named_where_everything_is_resolved() -> None:
    [table] = list_times(result({"p50": SHORT["p50"]}, {"p50": SHORT["p50"]}))
    assert table.hint == "with 95 % intervals from the blocks"


@pytest.mark.parametrize(
    ("estimates", "resolved"),
    [
        ([estimate(8_000, 8_000, censored=True)], True),  # so many gave up that no run, however long, has another bound
        ([estimate(8_000, 7_000, censored=True)], False),
        ([estimate(5)], True),  # too few blocks for any interval, which H10 says, or a maximum
        ([estimate(5, 4), estimate(5, 4, 6)], True),
        ([estimate(5, 4), estimate(None)], False),
        ([None, estimate(5, 4)], False),
        ([estimate(None)], True),
    ],
)
def test_what_is_resolved(estimates: list[Estimate | None], resolved: bool) -> None:
    assert is_resolved(estimates) is resolved
