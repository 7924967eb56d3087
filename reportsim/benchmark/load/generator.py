"""The load of a run: requests are sent at the planned times, whatever becomes of earlier ones, and recorded.

What the service is, and how requests get there, is the business of a `Target`.
"""

import asyncio
import contextlib
import time
from array import array
from collections.abc import Sequence
from typing import Final, Protocol

from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.workload import Block, Side, Workload

START_IN_S: Final = 0.05
# asyncio's timers may come up to a millisecond late: what is due within half of that is sent with its neighbours.
AHEAD_S: Final = 0.0005
# A generator that is late must still read the responses that arrive.
BREATHE_EVERY: Final = 16
# How often the target is asked whether any result is still to come.
ASK_EVERY_S: Final = 0.5


class Target(Protocol):
    """A service that the load goes to."""

    def send(self, load: SideLoad, index: int, deadline: float) -> None:
        """Sends a request and records in its load what becomes of it, at the latest at the end of the block's time."""
        ...

    async def expects_results(self, loads: Sequence[SideLoad]) -> bool:
        """Whether any of the missing results may still come."""
        ...


class Generator:
    """The load of one run."""

    def __init__(
        self,
        workload: Workload,
        due: "array[float]",
        bounds: tuple[int, ...],
        target: Target,
        *,
        patience_s: float,
        recorded: bool,
    ) -> None:
        """Sends to a target, and waits `patience_s` after a block's load at most; `recorded` by the server, or not."""
        self._workload = workload
        self._due = due
        self._bounds = bounds
        self._target = target
        self._patience_s = patience_s
        self._changed = asyncio.Event()
        self.sides = {side.name: self._load_of(side, recorded=recorded) for side in workload.sides}

    def _load_of(self, side: Side, *, recorded: bool) -> SideLoad:
        samples = Samples.empty(side.name, self._due, self._bounds, recorded=recorded)
        return SideLoad(side, samples, self._changed, bytearray(len(samples)))

    @property
    def samples(self) -> dict[str, Samples]:
        """What was recorded, by side."""
        return {name: load.samples for name, load in self.sides.items()}

    async def run(self, blocks: Sequence[Block]) -> float:
        """Runs one block, or both sides' at once, to the end and returns the start on the monotonic clock."""
        loads = [self.sides[block.side.name] for block in blocks]
        number = blocks[0].number
        indices = range(self._bounds[number], self._bounds[number + 1])
        began = time.monotonic() + START_IN_S
        deadline = began + self._workload.block_s + self._patience_s
        for load in loads:
            load.begin(number, indices, began)
        for index in indices:
            if (left := began + self._due[index] - time.monotonic()) > AHEAD_S:
                await asyncio.sleep(left)
            for load in loads:
                self._target.send(load, index, deadline)
            if index % BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        while any(load.open for load in loads):
            await self._change()
        await self._hear_the_rest(loads, deadline)
        return began

    async def _hear_the_rest(self, loads: Sequence[SideLoad], deadline: float) -> None:
        """Waits until no result is missing, none is to be expected any more, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while any(load.missing for load in loads) and await self._target.expects_results(loads):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_EVERY_S):
                            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
