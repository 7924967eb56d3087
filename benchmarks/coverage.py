"""How often the 95 % intervals of the instrument hold the truth, on simulated queues whose truth is known.

    python -m benchmarks.coverage [--runs 1000] [--write docs/benchmark.md]

Each run is simulated by this file's own event loop, independent of the product's simulation, and analysed by the code
that analyses real runs. A cell is a distribution of service times, a load, a number of blocks and a share of time-outs.
An interval with an open end counts as holding; how many are open above is shown beside.
"""

import argparse
import functools
import heapq
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from reportsim.benchmark.statistics.intervals import (
    BlockTimes,
    Estimate,
    estimate_request_mean,
    estimate_share,
)

SERVERS: Final = 4
MEAN_S: Final = 0.18
# What async costs beyond sync in the simulation: a little time in the slot, and the way of the callback.
EXTRA_SERVICE_S: Final = 0.003
DELIVERY_S: Final = 0.02
TRUTH_BLOCKS: Final = 10_000
START: Final = "<!-- coverage: written by python -m benchmarks.coverage -->"
END: Final = "<!-- end of coverage -->"
FIGURES: Final = ("p50", "p95", "p99", "mean", "difference", "difference_median", "share", "a_a")


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting; `timeout_share` is the share of sync requests whose client gives up."""

    service: str
    rho: float
    blocks: int
    timeout_share: float

    @property
    def block_s(self) -> float:
        """Longer blocks for higher loads."""
        return 6.0 if self.rho >= 0.9 else 4.0


CELLS: Final = tuple(
    Cell(service, rho, blocks, share)
    for service in ("exponential", "lognormal")
    for rho in (0.5, 0.8, 0.9, 0.95)
    for blocks in (10, 20)
    for share in (0.0, 0.001, 0.01, 0.1)
)


@dataclass(frozen=True, slots=True)
class Requests:
    """One block: the sync times, the async times, and those of a second sync side with noise of its own, in seconds."""

    sync: list[float]
    other: list[float]
    again: list[float]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the intervals are to hold; times in seconds."""

    timeout_s: float
    p50: float
    p95: float
    p99: float
    mean: float
    difference: float
    difference_median: float
    share: float


def draw_service(service: str, source: Random) -> float:
    """A service time; the lognormal one has a squared coefficient of variation of e − 1."""
    if service == "exponential":
        return source.expovariate(1 / MEAN_S)
    return source.lognormvariate(math.log(MEAN_S) - 0.5, 1.0)


def simulate_block(cell: Cell, source: Random) -> Requests:
    """A block from empty: Poisson arrivals, first come first served, the same load on all sides."""
    rate = cell.rho * SERVERS / MEAN_S
    free, free_other = [0.0] * SERVERS, [0.0] * SERVERS
    requests = Requests([], [], [])
    moment = source.expovariate(rate)
    while moment < cell.block_s:
        service = draw_service(cell.service, source)
        end = max(heapq.heappop(free), moment) + service
        heapq.heappush(free, end)
        end_other = max(heapq.heappop(free_other), moment) + service + EXTRA_SERVICE_S
        heapq.heappush(free_other, end_other)
        requests.sync.append(end - moment + source.expovariate(1 / 0.001))
        requests.other.append(end_other - moment + source.expovariate(1 / DELIVERY_S))
        requests.again.append(end - moment + source.expovariate(1 / 0.001))
        moment += source.expovariate(rate)
    return requests


def cut(times: Sequence[float], timeout_s: float) -> list[float]:
    """The times as clients see them that give up; async clients do not."""
    return [time if time <= timeout_s else math.inf for time in times]


def subtract(sync: Sequence[float], other: Sequence[float], limit_s: float) -> list[float]:
    """Async − sync, both cut off at the time-out."""
    return [min(b, limit_s) - min(a, limit_s) for a, b in zip(sync, other, strict=True)]


@functools.cache
def truth_blocks(service: str, rho: float, block_s: float) -> tuple[list[float], list[float]]:
    """All times of many blocks: sync and async."""
    source = Random(f"truth/{service}/{rho}")
    cell = Cell(service, rho, 0, 0.0)
    assert cell.block_s == block_s
    sync: list[float] = []
    other: list[float] = []
    for _ in range(TRUTH_BLOCKS):
        block = simulate_block(cell, source)
        sync += block.sync
        other += block.other
    return sync, other


def find_truth(cell: Cell) -> Truth:
    """The truth of a cell, from many blocks."""
    sync, other = truth_blocks(cell.service, cell.rho, cell.block_s)
    ordered = sorted(sync)
    at = functools.partial(quantile_of, ordered)
    timeout_s = at(1 - cell.timeout_share) if cell.timeout_share else math.inf
    differences = sorted(subtract(sync, other, timeout_s))
    return Truth(
        timeout_s=timeout_s,
        p50=at(0.5),
        p95=at(0.95),
        p99=at(0.99),
        mean=math.fsum(min(time, timeout_s) for time in sync) / len(sync),
        difference=math.fsum(differences) / len(differences),
        difference_median=quantile_of(differences, 0.5),
        share=sum(time > timeout_s for time in sync) / len(sync),
    )


def quantile_of(ordered: Sequence[float], share: float) -> float:
    """The smallest value that the share does not exceed."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def estimate_run(cell: Cell, truth: Truth, seed: int) -> Iterator[tuple[str, Estimate, float]]:
    """The intervals of one run, each with the value that it is to hold; times in seconds."""
    source = Random(f"run/{cell}/{seed}")
    blocks = [simulate_block(cell, source) for _ in range(cell.blocks)]
    times = [cut(block.sync, truth.timeout_s) for block in blocks]
    found = BlockTimes(times, truth.timeout_s if math.isfinite(truth.timeout_s) else None)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        yield name, found.quantile(share), getattr(truth, name)
    yield "mean", found.mean(truth.timeout_s), truth.mean
    differences = [subtract(block.sync, block.other, truth.timeout_s) for block in blocks]
    yield "difference", estimate_request_mean(differences), truth.difference
    yield "difference_median", BlockTimes(differences).quantile(0.5), truth.difference_median
    timeouts = [block.count(math.inf) for block in times]
    yield "share", estimate_share(timeouts, [len(block) for block in times]), truth.share
    same = [subtract(block.sync, block.again, truth.timeout_s) for block in blocks]
    yield "a_a", estimate_request_mean(same), 0.0


def holds(estimate: Estimate, true: float) -> bool:
    """Whether an interval holds a value; an open end does."""
    return (estimate.low is None or estimate.low <= true) and (estimate.high is None or true <= estimate.high)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of runs whose interval held the truth, and whose interval was open above."""

    cell: Cell
    runs: int
    held: dict[str, float]
    open_above: dict[str, float]


def cover(cell: Cell, runs: int) -> Coverage:
    """The coverage in a cell."""
    truth = find_truth(cell)
    held: Counter[str] = Counter()
    open_above: Counter[str] = Counter()
    for seed in range(runs):
        for name, estimate, true in estimate_run(cell, truth, seed):
            held[name] += holds(estimate, true)
            open_above[name] += estimate.high is None
    return Coverage(
        cell, runs, {name: held[name] / runs for name in FIGURES}, {name: open_above[name] / runs for name in FIGURES}
    )


def write_table(found: Sequence[Coverage]) -> str:
    """The table in Markdown."""
    lines = [
        f"Share of {found[0].runs:,} simulated runs a row whose interval held the truth, in percent; in parentheses how"
        " many were open above.",
        "",
        "| service | ρ | blocks | time-outs | p50 | p95 | p99 | mean | difference | its median | share | A/A |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        cells = []
        for name in FIGURES:
            opened = f" ({100 * each.open_above[name]:.0f})" if each.open_above[name] else ""
            cells.append(f"{100 * each.held[name]:.1f}{opened}")
        cell = each.cell
        settings = f"{cell.service} | {cell.rho} | {cell.blocks} × {cell.block_s:g} s | {100 * cell.timeout_share:g} %"
        lines.append(f"| {settings} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table, or writes it into a document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    with ProcessPoolExecutor() as processes:
        found = list(processes.map(functools.partial(cover, runs=options.runs), CELLS))
    table = write_table(found)
    print(table)
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        between = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
        options.write.write_text(between.sub(lambda _: f"{START}\n{table}\n{END}", text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
