"""The 95 % intervals hold the truth about as often as they say, on queues; a tenth of what `make coverage` runs."""

import math

import pytest

from benchmarks.coverage import Cell, Coverage, cover

RUNS = 200
# What each figure must reach with 20 and with 10 blocks; A/A may be found different in 8 % of runs.
WANTED = {
    20: {"p50": 0.91, "p95": 0.82, "mean": 0.88, "difference": 0.91, "share": 0.88, "a_a": 0.92},
    10: {"p50": 0.87, "p95": 0.78, "mean": 0.83, "difference": 0.87, "share": 0.80, "a_a": 0.92},
}
CELLS = [
    Cell(service, rho, blocks, share)
    for service, rho, share in (
        ("exponential", 0.5, 0.0),
        ("exponential", 0.8, 0.1),
        ("exponential", 0.9, 0.01),
        ("exponential", 0.95, 0.001),
        ("lognormal", 0.8, 0.01),
        ("lognormal", 0.9, 0.1),
        ("lognormal", 0.95, 0.0),
    )
    for blocks in (10, 20)
]


def two_errors_below(share: float) -> float:
    """A threshold that a method with this coverage misses in one of forty suites."""
    return share - 2 * math.sqrt(share * (1 - share) / RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_intervals_hold_the_truth_on_queues(cell: Cell) -> None:
    found: Coverage = cover(cell, RUNS)
    short = {
        name: found.held[name]
        for name, wanted in WANTED[cell.blocks].items()
        if found.held[name] < two_errors_below(wanted)
    }
    assert not short, f"{short}; open above: {found.open_above}"


@pytest.mark.slow
def test_the_coverage_test_finds_intervals_that_are_too_narrow() -> None:
    """Requests taken for independent, as an order-statistics interval does, fall far short on a loaded queue."""
    from random import Random

    from benchmarks.coverage import find_truth, simulate_block

    cell = Cell("exponential", 0.9, 10, 0.0)
    truth = find_truth(cell)
    held = 0
    for seed in range(100):
        source = Random(f"narrow/{seed}")
        times = sorted(time for _ in range(cell.blocks) for time in simulate_block(cell, source).sync)
        reach = 1.96 * math.sqrt(len(times)) / 2
        low, high = (times[int(len(times) / 2 + side * reach)] for side in (-1, 1))
        held += low <= truth.p50 <= high
    assert held < 70
