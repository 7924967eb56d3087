"""Exports of a finished run: CSV, and the percentile distribution in the format of HdrHistogram."""

import csv
import io
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import MOMENTS, Outcome, Samples
from reportsim.benchmark.results.side_samples import ordered_times
from reportsim.benchmark.schedule import draw_seeds, service_s
from reportsim.benchmark.statistics.percentile_levels import rank

HEADER: Final = (
    "mode",
    "index",
    "block",
    *(f"{name}_s" for name in MOMENTS),
    "held_s",
    "planned_service_s",
    "outcome",
    "time_to_result_ms",
)
FOREIGN: Final = ("earliest_s", "server_timing_s")
"""Columns of services that are not our own."""
# Lines that are joined into one piece of text.
BATCH: Final = 1_000
TICKS: Final = 5


def samples_csv(plan: Plan, sides: Sequence[Samples]) -> Iterator[str]:
    """A run of our own as CSV.

    The service times are those of the samples, of which a run of an earlier version has another number than its plan
    would have today.
    """
    seeds = draw_seeds(plan, max(map(len, sides)))
    return write_csv(plan.as_json(), plan.slo_s, [service_s(plan, seed) for seed in seeds], sides)


def write_csv(
    plan: Mapping[str, Any], slo_s: float, services: Sequence[float], sides: Sequence[Samples]
) -> Iterator[str]:
    """CSV with a row for each request of each side, in pieces; moments in seconds from the start of its block.

    The first line has the plan. `services` are the planned service times, if there are any.

    A moment that did not happen is an empty cell, as is the time to a result that never came.
    """
    foreign = any(samples.server is None for samples in sides)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    buffer.write(f"# plan: {json.dumps(plan, ensure_ascii=False)}\n")
    writer.writerow((*HEADER, *(FOREIGN if foreign else ())))
    written = 0
    for samples in sides:
        times = samples.times_to_result()
        for number, block in enumerate(samples.blocks):
            for index in block:
                planned = services[index] if services else math.nan
                row = csv_row(slo_s, planned, samples, number, index, times[index])
                writer.writerow((*row, *(foreign_cells(samples, index) if foreign else ())))
                written += 1
                if written % BATCH == 0:
                    yield buffer.getvalue()
                    buffer.seek(0)
                    buffer.truncate()
    yield buffer.getvalue()


def foreign_cells(samples: Samples, index: int) -> Iterator[str]:
    """What is only known of requests to services of others."""
    for column in (samples.earliest, samples.reported):
        yield "" if column is None else cell(column[index])


def csv_row(
    slo_s: float, planned_s: float, samples: Samples, block: int, index: int, time: float
) -> Iterator[str | int]:
    """The cells of one request."""
    outcome = Outcome(samples.outcomes[index])
    late = outcome is Outcome.OK and time > slo_s
    yield from (samples.side, samples.numbers[index], block + 1)
    yield from (cell(samples.column(name)[index]) for name in MOMENTS)
    yield from (cell(samples.seen.held[index]), cell(planned_s))
    yield (Outcome.OK_LATE if late else outcome).label
    yield cell(1000 * time)


def cell(value: float) -> str:
    """A number to a tenth of a microsecond, empty for what is none."""
    return f"{value:.7f}" if math.isfinite(value) else ""


def hgrm(plan: Plan, samples: Samples) -> str:
    """The time to result as HdrHistogram prints its percentile distribution, in milliseconds.

    Requests whose clients waited in vain stand at the end, with the time that they waited at least. Requests that ended
    with an error have no time, and are only counted.
    """
    times = [1000 * time for time in ordered_times(samples)]
    finite = [time for time in times if time < math.inf]
    timeout_s = plan.timeout_of(plan.mode_of(samples.side))
    timeout_ms = 0.0 if math.isinf(timeout_s) else 1000 * timeout_s
    longest = max([timeout_ms, *finite[-1:]])
    values = finite + [longest] * (len(times) - len(finite))
    lines = ["       Value     Percentile TotalCount 1/(1-Percentile)", ""]
    for share in distribution_shares(len(values)):
        at = rank(len(values), share)
        tail = f" {1 / (1 - share):14.2f}" if share < 1 else ""
        lines.append(f"{values[at - 1]:12.3f} {share:14.12f} {at:10d}{tail}")
    mean = statistics.fmean(values) if values else 0.0
    spread = statistics.pstdev(values) if values else 0.0
    lines += [
        f"#[Mean    = {mean:12.3f}, StdDeviation   = {spread:12.3f}]",
        f"#[Max     = {longest:12.3f}, Total count    = {len(values):12d}]",
        f"#[No result = {len(values) - len(finite):10d}, Without a time = {len(samples) - len(values):12d}]",
    ]
    return "\n".join(lines) + "\n"


def distribution_shares(count: int) -> Iterator[float]:
    """The shares at which HdrHistogram reports: five per halving of what is left, up to the last request; then 1."""
    share = 0.0
    while count and 1 - share > 1 / count:
        yield share
        halvings = math.floor(math.log2(1 / (1 - share))) + 1
        share += 1 / (TICKS * 2**halvings)
    if count:
        yield 1.0
