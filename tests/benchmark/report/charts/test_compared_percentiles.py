"""The picture of two runs compared: a mark for each known percentile, a line for its interval, and words for both."""

from typing import Any
from xml.etree import ElementTree

import pytest

from reportsim.benchmark.report.charts.compared_percentiles import compared_percentiles

SVG = "{http://www.w3.org/2000/svg}"


def side(**levels: tuple[float | None, float | None, float | None]) -> dict[str, Any]:
    unknown = (None, None, None)
    return {
        "time_to_result_ms": {
            level: dict(zip(("value", "low", "high"), levels.get(level, unknown), strict=True))
            for level in ("p50", "p90", "p95", "p99", "p99_9", "max", "mean")
        }
    }


def test_each_run_has_a_mark_and_an_interval_for_each_level() -> None:
    first, second = side(p50=(100, 80, 120), p99=(400, 300, None)), side(p50=(200, 150, 260))
    root = ElementTree.fromstring(compared_percentiles("sync", first, second))
    assert root.findtext(f"{SVG}title") == "Time to result of sync in both runs"
    assert root.findtext(f"{SVG}desc") == "p50: 100 ms and 200 ms; p99: 400 ms and unknown"
    # One of each in the legend.
    assert len(root.findall(f".//{SVG}circle")) == 1 + 2
    assert len(root.findall(f".//{SVG}rect")) == 1 + 1
    intervals = [path for path in root.findall(f".//{SVG}path") if path.get("stroke-width") == "3"]
    assert len(intervals) == 3
    assert sum(path.get("stroke-dasharray") is not None for path in intervals) == 1


def test_higher_times_are_drawn_higher_on_one_scale() -> None:
    root = ElementTree.fromstring(compared_percentiles("a", side(p50=(100, None, None)), side(p50=(300, None, None))))
    [circle] = [float(each.get("cy", "")) for each in root.findall(f"./{SVG}circle")]
    [square] = [float(each.get("y", "")) + 5 for each in root.findall(f"./{SVG}rect")]
    assert 230 - square == pytest.approx(3 * (230 - circle), abs=0.05)


def test_nothing_is_drawn_where_nothing_is_known_and_zeros_do_no_harm() -> None:
    assert compared_percentiles("sync", side(), side()) == ""
    assert ElementTree.fromstring(compared_percentiles("sync", side(p50=(0, 0, 0)), side()))
