"""The event simulation, against another one that is slow and obvious, and against theory within its interval."""

import heapq
import math
import statistics
from array import array
from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.plan import Cancel
from reportsim.benchmark.theory.erlang import mmc
from reportsim.benchmark.theory.finite_and_abandonment import fixed_patience, markov
from reportsim.benchmark.theory.simulation import Flow, simulate, simulate_bounded

# Whole numbers, so that two ways to add cannot differ; sixteenths, so that ties are frequent.
MOMENTS = st.integers(0, 400).map(lambda value: value / 16)
CUSTOMERS = st.lists(st.tuples(MOMENTS, MOMENTS), min_size=1, max_size=40)


@dataclass
class Obvious:
    """A clock, a queue, and workers, moved from event to event: slow, and plain to see."""

    services: list[float]
    workers: int
    cancel: Cancel
    found: list[tuple[float, float]]
    queue: deque[int] = field(default_factory=deque)
    running: dict[int, float] = field(default_factory=dict)

    def arrives(self, index: int, now: float) -> None:
        self.queue.append(index)

    def leaves(self, index: int, now: float) -> None:
        if index in self.queue:
            self.queue.remove(index)
            self.found[index] = (math.nan, now)
        elif self.cancel is Cancel.RUNNING and self.running.get(index, -1.0) > now:
            del self.running[index]
            self.found[index] = (self.found[index][0], now)

    def is_done(self, index: int, now: float) -> None:
        if self.running.get(index) == now:
            del self.running[index]

    def begin(self, now: float) -> list[tuple[float, int]]:
        """Whoever can be begun, with the moment at which he will be done."""
        begun = []
        while self.queue and len(self.running) < self.workers:
            index = self.queue.popleft()
            self.running[index] = now + self.services[index]
            self.found[index] = (now, self.running[index])
            begun.append((self.running[index], index))
        return begun


def obviously(
    arrivals: list[float], services: list[float], workers: int, timeout: float, cancel: Cancel
) -> list[tuple[float, float]]:
    """Start and end of each customer."""
    world = Obvious(services, workers, cancel, [(math.nan, math.nan)] * len(arrivals))
    # Of what happens at the same moment, ends come first, then leaving, then arriving, then beginning.
    steps = (world.is_done, world.leaves, world.arrives)
    events = [(moment, 2, index) for index, moment in enumerate(arrivals)]
    if cancel is not Cancel.NONE:
        events += [(moment + timeout, 1, index) for index, moment in enumerate(arrivals)]
    heapq.heapify(events)
    while events:
        now, kind, index = heapq.heappop(events)
        steps[kind](index, now)
        if not events or events[0][0] > now:
            for done, begun in world.begin(now):
                heapq.heappush(events, (done, 0, begun))
    return world.found


@given(CUSTOMERS, st.integers(1, 4), st.integers(1, 200).map(lambda value: value / 16), st.sampled_from(Cancel))
def test_it_is_what_an_obvious_simulation_does(
    customers: list[tuple[float, float]], workers: int, timeout: float, cancel: Cancel
) -> None:
    arrivals = sorted(moment for moment, _ in customers)
    # A service of no length would make two events of one moment depend on their order.
    services = [service + 1 / 16 for _, service in customers]
    deadlines = [moment + timeout for moment in arrivals]
    flow = simulate(arrivals, services, workers=workers, deadlines=deadlines, cancel=cancel)
    expected = obviously(arrivals, services, workers, timeout, cancel)
    assert list(zip(flow.starts, flow.ends, strict=True)) == [
        pytest.approx(pair, nan_ok=True, abs=1e-12) for pair in expected
    ]


@given(CUSTOMERS, st.integers(1, 4), st.integers(1, 200).map(lambda value: value / 16), st.sampled_from(Cancel))
def test_nothing_is_lost_and_nobody_overtakes(
    customers: list[tuple[float, float]], workers: int, timeout: float, cancel: Cancel
) -> None:
    arrivals = sorted(moment for moment, _ in customers)
    services = [service for _, service in customers]
    deadlines = [moment + timeout for moment in arrivals]
    flow = simulate(arrivals, services, workers=workers, deadlines=deadlines, cancel=cancel)
    begun = [start for start in flow.starts if not math.isnan(start)]
    assert begun == sorted(begun)
    assert all(wait >= 0 for wait in flow.waits())
    assert all(0 <= spent <= service + 1e-9 for spent, service in zip(flow.busy(), services, strict=True))
    for result, deadline, spent, service in zip(flow.results(), deadlines, flow.busy(), services, strict=True):
        assert result <= deadline or result == math.inf
        # Who has a result was served to the end.
        assert result == math.inf or spent == pytest.approx(service, abs=1e-9)
    # Never more at work than there are workers.
    changes = sorted(
        [(start, 1) for start in begun]
        + [(end, -1) for start, end in zip(flow.starts, flow.ends, strict=True) if not math.isnan(start)]
    )
    at_work = 0
    for _, change in changes:
        at_work += change
        assert at_work <= workers


def test_the_policies_by_hand() -> None:
    arrivals, services = [0.0, 1.0, 2.0, 3.0], [5.0, 4.0, 1.0, 1.0]
    deadlines = [moment + 4 for moment in arrivals]

    def times(cancel: Cancel) -> Flow:
        return simulate(arrivals, services, workers=1, deadlines=deadlines, cancel=cancel)

    nothing = times(Cancel.NONE)
    assert list(nothing.starts) == [0, 5, 9, 10]
    assert nothing.results() == [math.inf] * 4
    queued = times(Cancel.QUEUED)
    # The second one is dropped at 5, at the very moment at which its turn would come.
    assert [math.isnan(start) for start in queued.starts] == [False, True, False, False]
    assert (queued.starts[2], queued.ends[1], queued.results()) == (5, 5, [math.inf, math.inf, 6, 7])
    running = times(Cancel.RUNNING)
    assert list(running.ends) == [4, 5, 6, 7]
    assert running.results() == [math.inf, math.inf, 6, 7]
    assert running.busy() == [4, 1, 1, 1]


def load(rate: float, count: int, seed: int = 7) -> tuple["array[float]", "array[float]"]:
    source = Random(seed)
    arrivals, at = array("d"), 0.0
    for _ in range(count):
        at += source.expovariate(rate)
        arrivals.append(at)
    return arrivals, array("d", (source.expovariate(1.0) for _ in range(count)))


def within(found: list[float], expected: float, batches: int = 20) -> None:
    """Whether the mean of dependent values is what was expected, by batch means: four standard errors."""
    size = len(found) // batches
    means = [statistics.fmean(found[number * size : (number + 1) * size]) for number in range(batches)]
    error = statistics.stdev(means) / math.sqrt(batches)
    assert statistics.fmean(means) == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize(("rate", "workers"), [(9.0, 10), (7.0, 10), (0.7, 1)])
def test_without_limits_it_agrees_with_m_m_c(rate: float, workers: int) -> None:
    arrivals, services = load(rate, 100_000)
    flow = simulate(arrivals, services, workers=workers)
    theory = mmc(rate, 1.0, workers)
    waits = flow.waits()[5_000:]
    assert theory.mean_wait is not None
    assert theory.p_wait is not None
    within(waits, theory.mean_wait)
    within([float(wait > 0) for wait in waits], theory.p_wait)
    late = theory.p_timeout(4.0)
    assert late is not None
    within([float(result - due > 4) for result, due in zip(flow.results(), arrivals, strict=True)][5_000:], late)


@pytest.mark.parametrize("rate", [9.0, 12.0])
def test_dropping_what_waited_too_long_agrees_with_fixed_patience(rate: float) -> None:
    arrivals, services = load(rate, 100_000)
    deadlines = [moment + 2 for moment in arrivals]
    flow = simulate(arrivals, services, workers=10, deadlines=deadlines, cancel=Cancel.QUEUED)
    theory = fixed_patience(rate, 1.0, 10, 2.0)
    assert theory.p_abandon is not None
    assert theory.mean_wait is not None
    within([float(math.isnan(start)) for start in flow.starts][5_000:], theory.p_abandon)
    within(flow.waits()[5_000:], theory.mean_wait)


@pytest.mark.parametrize("rate", [9.0, 12.0])
def test_room_and_patience_agree_with_the_birth_death_chain(rate: float) -> None:
    arrivals, services = load(rate, 100_000)
    source = Random(11)
    deadlines = [moment + source.expovariate(1 / 3) for moment in arrivals]
    flow = simulate_bounded(arrivals, services, workers=10, capacity=16, deadlines=deadlines)
    theory = markov(rate, 1.0, 10, capacity=16, patience_s=3.0)
    blocked = [
        math.isnan(start) and end == moment for moment, start, end in zip(arrivals, flow.starts, flow.ends, strict=True)
    ]
    assert theory.p_block is not None
    assert theory.mean_wait is not None
    within([float(turned) for turned in blocked][5_000:], theory.p_block)
    within([wait for wait, turned in zip(flow.waits(), blocked, strict=True) if not turned][5_000:], theory.mean_wait)


def test_room_for_all_and_patience_for_ever_change_nothing() -> None:
    arrivals, services = load(12.0, 3_000)
    free = simulate(arrivals, services, workers=10)
    bounded = simulate_bounded(arrivals, services, workers=10, capacity=10**9, deadlines=[math.inf] * 3_000)
    assert (free.starts, free.ends) == (bounded.starts, bounded.ends)
    assert free.results() == bounded.results()


def test_nobody_comes() -> None:
    flow = simulate([], [], workers=3)
    assert (flow.waits(), flow.results(), flow.busy()) == ([], [], [])
