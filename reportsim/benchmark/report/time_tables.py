"""The tables of percentiles; those that a run is too short to resolve are left out, and named."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reportsim.benchmark.report.tables import OLDER_METHOD, Table, cells, side_names, time_cell

Json = Mapping[str, Any]
LEVELS: Final = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99_9": "p99.9", "max": "max", "mean": "mean"}
CLOCKS: Final = {
    "time_to_result_ms": "Time to result, from when a request was due",
    "accept_ms": "Until the client was free, from when a request was due",
    "from_send_ms": "Time to result from when it was sent, as most tools measure; it hides a late generator",
    "earliest_ms": "Lower bound of the time to result, where it was polled",
}


def list_times(result: Json) -> Iterator[Table]:
    """The percentiles and the mean of each clock."""
    older = result.get("intervals") == OLDER_METHOD
    for clock, caption in CLOCKS.items():
        names = [side for side in side_names(result) if clock in result[side]]
        levels = {
            level: [result[side][clock][level] for side in names]
            for level in LEVELS
            if names and level in result[names[0]][clock]
        }
        rows = [
            cells(LEVELS[level], *(time_cell(estimate, older=older) for estimate in estimates))
            for level, estimates in levels.items()
            if is_resolved(estimates)
        ]
        left_out = [LEVELS[level] for level, estimates in levels.items() if not is_resolved(estimates)]
        if rows:
            yield Table(
                caption, ("", *names), rows, "with 95 % intervals from the blocks" + describe_left_out(left_out)
            )


def is_resolved(estimates: Sequence[Json | None]) -> bool:
    """Whether a run says something of a level on either side, given its estimates."""
    known = [estimate for estimate in estimates if estimate is not None and estimate["value"] is not None]
    return not known or not all(map(lacks_upper_end, known))


def lacks_upper_end(estimate: Json) -> bool:
    """Whether the data bound a percentile from below only: too few blocks reach that far.

    This does not count where clients gave up so often that the percentile is at least their time-out.
    """
    if estimate["low"] is None or estimate["high"] is not None:
        return False
    return not (estimate.get("censored") and estimate["low"] >= estimate["value"])


def describe_left_out(levels: Sequence[str]) -> str:
    """The levels that are left out, and why."""
    if not levels:
        return ""
    verb = "is" if len(levels) == 1 else "are"
    return f"; {', '.join(levels)} {verb} left out, which a run as short as this one cannot resolve"
