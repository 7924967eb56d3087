"""What an endpoint can take, in sentences, and as a picture."""

import math
from typing import Final

from reportsim.benchmark.endpoint.capacity import AtRate, Capacity
from reportsim.benchmark.report.charts.load_sweep import Mark, sweep_plot
from reportsim.core.number_format import duration, percent, three

FIGURE_WIDTH: Final = 420


def two(value: float) -> str:
    """A number with two digits: more would claim an accuracy that no forecast has."""
    return three(float(f"{value:.2g}"))


def headline(capacity: Capacity) -> str:
    """Where time-outs begin."""
    endpoint = capacity.endpoint
    patience = f"the time-out of {duration(endpoint.timeout_s)}"
    if capacity.knee is None:
        return (
            f"Your endpoint times out at any rate: {percent(endpoint.too_slow)} of the requests take longer than "
            f"{patience}, without any wait."
        )
    return (
        f"Your endpoint begins to time out at {two(capacity.knee)} requests/s with {workers(endpoint.workers)}: "
        f"from there on, {percent(endpoint.share)} of the clients or more reach {patience}."
    )


def advice(capacity: Capacity) -> str:
    """What sync and async need."""
    found = capacity.at_rate
    if found is None:
        return (
            "Async clients do not wait, so none times out: all results arrive as long as the workers keep up, which is "
            f"below {two(capacity.endpoint.saturation)} requests/s. Give a rate to see what each pattern needs."
        )
    return f"{at_this_rate(capacity, found)} {needs(found)}"


def at_this_rate(capacity: Capacity, found: AtRate) -> str:
    """What becomes of sync clients at the rate that was given."""
    rate = f"At {three(found.rate)} requests/s"
    if found.rho >= 1:
        return (
            f"{rate} more arrives than {workers(capacity.endpoint.workers)} can do, so that in the end all of them "
            "time out."
        )
    return f"{rate}, {percent(found.timeout_share)} of them do."


def needs(found: AtRate) -> str:
    """How many workers each pattern needs at that rate."""
    within = duration(float(f"{found.async_p99_s:.2g}"))
    results = f"none of its clients times out, and 99 % of the results arrive within {within}"
    if found.sync_workers is None:
        return f"No number of workers makes sync fit; async needs {workers(found.async_workers)}: {results}."
    return f"Sync needs {workers(found.sync_workers)} there. Async needs {found.async_workers}: {results}."


def workers(count: int) -> str:
    """So many workers."""
    return f"{count} worker{'' if count == 1 else 's'}"


def assumptions(capacity: Capacity) -> str:
    """What the answer rests on."""
    endpoint = capacity.endpoint
    length = endpoint.setting(endpoint.saturation, endpoint.workers).duration_s
    return (
        "Durations are taken for service times, so they should be from a time without queueing. Independent arrivals; "
        f"simulated runs of {duration(float(f'{length:.2g}'))} from empty; cancelling: {endpoint.cancel}."
    )


def capacity_plot(capacity: Capacity) -> str:
    """Time-outs by rate, with the knee and the rate that was given, as a file of its own."""
    return sweep_plot(capacity.sweep, marks=marks_of(capacity))


def capacity_figure(capacity: Capacity) -> str:
    """The same for a page, as narrow as a phone, so that it need not be shrunk much there."""
    return sweep_plot(capacity.sweep, marks=marks_of(capacity), paper=None, width=FIGURE_WIDTH)


def marks_of(capacity: Capacity) -> list[Mark]:
    """The knee and the rate that was given, in ascending order."""
    marks = [] if capacity.knee is None else [Mark(capacity.knee, f"knee {two(capacity.knee)}/s")]
    rate = capacity.endpoint.rate or math.inf
    low, high = capacity.sweep.points[0].value, capacity.sweep.points[-1].value
    if low <= rate <= high:
        marks.append(Mark(rate, f"yours {three(rate)}/s"))
    return sorted(marks, key=lambda mark: mark.value)
