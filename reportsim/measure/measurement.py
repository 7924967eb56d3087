"""One measurement of a target: the generator, the service at the other end, and what the process sees of itself."""

import asyncio
import contextlib
import gc
import os
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.design import Design
from reportsim.benchmark.load.block_starts import Started, list_blocks
from reportsim.benchmark.load.generator import Generator
from reportsim.benchmark.load.process_monitor import ProcessMonitor, monitored_process, watch_arrivals
from reportsim.benchmark.load.process_setup import collect_garbage, raise_priority
from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.results.samples import CLIENT, Samples
from reportsim.benchmark.schedule import draw_arrivals
from reportsim.measure.http_client import open_client
from reportsim.measure.plan import MeasurePlan
from reportsim.measure.service import ForeignService
from reportsim.measure.target.model import Poll, Target

# What a block may take beyond the longest that anything is waited for.
GRACE_S: Final = 5.0
NOT_ACCEPTED: Final = "socket.accept()"


class MeasurementError(Exception):
    """The measurement has no result that could be believed."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """What a measurement has recorded, be it all of it or what there was when it was interrupted."""

    plan: MeasurePlan
    samples: dict[str, Samples]
    conditions: Conditions
    counts: dict[str, int]
    """What came beside the results of the async side, each kind under its own name."""
    blocks: list[dict[str, Any]]
    pairs: int
    """The pairs of blocks that the samples have."""
    interrupted: bool = False
    left_out: int = 0
    """Requests that were sent, but are not part of the samples because of the interruption."""

    @property
    def design(self) -> Design:
        """What the analysis of the samples needs."""
        design = self.plan.design
        if not self.interrupted:
            return design
        assert design.second_side_first is not None
        # Who has been answered of a block that was cut short is no matter of chance alone.
        poisson = design.poisson_rate if len(self.blocks) >= self.pairs * len(design.sides) else None
        order = design.second_side_first[: self.pairs]
        return replace(design, blocks=self.pairs, second_side_first=order, poisson_rate=poisson)

    @property
    def parameters(self) -> dict[str, Any]:
        """The plan, as far as it was carried out; none of it is secret."""
        done = {"blocks": self.pairs, "duration_s": self.pairs * self.plan.block_s} if self.interrupted else {}
        return {**self.plan.as_json(), **done}


@dataclass(slots=True, eq=False)
class Measurement:
    """A measurement in progress."""

    target: Target
    plan: MeasurePlan
    loads: dict[str, SideLoad] = field(default_factory=dict)
    """The sides, once it has begun; to be watched."""
    _done: list[Started] = field(default_factory=list)

    async def run(self) -> Measured:
        """Measures; when it is cancelled, returns what there is.

        Raises:
            MeasurementError: Callbacks could not be accepted.
            WayError: Results cannot be learned in the way that the target file says.
        """
        load_average, interrupted = os.getloadavg()[0], False
        async with open_client() as client, frozen_garbage(), monitored_process() as monitor:
            service = ForeignService(self.target, client)
            generator = self._generator(service)
            async with service.running(generator.sides), accepting():
                try:
                    await self._run_blocks(generator, monitor)
                    await asyncio.sleep(self._settle_s)
                except asyncio.CancelledError:
                    interrupted = True
                    task = asyncio.current_task()
                    assert task is not None
                    task.uncancel()
            counts = {} if service.results is None else service.results.finish()
        conditions = Conditions(
            generator_loop_lag_p99_ms=monitor.lag_p99_ms,
            generator_cpu_share=monitor.cpu_share,
            load_average=load_average,
            gc_pause_sum_ms=monitor.pause_sum_ms,
            gc_pause_max_ms=monitor.pause_max_ms,
            elapsed_s=sum(map(self._elapsed_s, generator.sides.values())),
        )
        plan, samples, blocks = self.plan, generator.samples, list_blocks(self._done)
        measured = Measured(
            plan=plan, samples=samples, conditions=conditions, counts=counts, blocks=blocks, pairs=plan.pairs
        )
        return self._cut(measured) if interrupted else measured

    def _generator(self, service: ForeignService) -> Generator:
        due, bounds = draw_arrivals(self.plan)
        limits = self.target.limits
        patience_s = max(limits.client_timeout_s, limits.result_deadline_s) + GRACE_S
        generator = Generator(self.plan, due, bounds, service, patience_s=patience_s, recorded=False)
        self.loads = generator.sides
        return generator

    @property
    def _settle_s(self) -> float:
        """How long is waited for what comes twice; a client that asks gets nothing twice."""
        later = self.target.later
        return 0.0 if later is None or isinstance(later.way, Poll) else self.target.limits.settle_s

    async def _run_blocks(self, generator: Generator, monitor: ProcessMonitor) -> None:
        for blocks in self.plan.steps:
            collect_garbage()
            with raise_priority():
                async with watch_arrivals(monitor, self.plan.block_s):
                    began = await generator.run(blocks)
            self._done += [Started(block, began) for block in blocks]

    def _elapsed_s(self, load: SideLoad) -> float:
        samples = load.samples
        return sum(
            max((moment for moment in samples.result[block.start : block.stop] if moment > 0), default=0.0)
            for block in samples.blocks
        )

    def _cut(self, measured: Measured) -> Measured:
        """What there is after an interruption: the pairs of blocks that are whole, or else what of the first has ended.

        A request that was still open is in neither: that would make quick ones count for more.
        """
        done = [[each for each in self._done if each.block.side == side] for side in self.plan.sides]
        pairs = min(map(len, done))
        kept = {}
        for name, load in self.loads.items():
            samples = load.samples
            kept[name] = select(samples, samples.blocks[:pairs] or [self._ended(load)])
        sent = sum(load.sent for load in self.loads.values())
        return replace(
            measured,
            samples=kept,
            pairs=max(pairs, 1),
            interrupted=True,
            left_out=sent - sum(map(len, kept.values())),
        )

    @staticmethod
    def _ended(load: SideLoad) -> Sequence[int]:
        """The requests of the first block that nothing is waited for any more."""
        waiting = load.open | load.missing
        return [index for index in load.samples.blocks[0] if load.starts and index not in waiting]


@contextlib.asynccontextmanager
async def frozen_garbage() -> AsyncIterator[None]:
    """Leaves what exists now out of every collection as long as the context lasts."""
    collect_garbage()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


@contextlib.asynccontextmanager
async def accepting() -> AsyncIterator[None]:
    """Notices that connections could not be accepted: their callbacks would count as lost.

    Raises:
        MeasurementError: That happened while the context lasted.
    """
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context["message"]).startswith(NOT_ACCEPTED):
            failures.append(str(context.get("exception") or context["message"]))
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
    if failures:
        raise MeasurementError(f"callbacks could not be accepted: {failures[0]}")


def select(samples: Samples, blocks: Sequence[Sequence[int]]) -> Samples:
    """Some requests of a side, block by block."""
    indices = [index for block in blocks for index in block]
    bounds = [0]
    for block in blocks:
        bounds.append(bounds[-1] + len(block))

    def pick(column: "array[float]") -> "array[float]":
        return array("d", (column[index] for index in indices))

    due, sent, accepted, result = (pick(samples.column(name)) for name in CLIENT)
    return Samples(
        side=samples.side,
        bounds=tuple(bounds),
        due=due,
        sent=sent,
        accepted=accepted,
        result=result,
        outcomes=array("b", (samples.outcomes[index] for index in indices)),
        earliest=None if samples.earliest is None else pick(samples.earliest),
        reported=None if samples.reported is None else pick(samples.reported),
        duplicates=samples.duplicates,
        numbers=indices,
    )
