"""One side of a load in progress: what has been sent, answered and resulted, as clients see it."""

import asyncio
import math
import time
from bisect import bisect_right
from dataclasses import dataclass, field

from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.workload import Side
from reportsim.core.model import Mode


@dataclass(slots=True, eq=False)
class SideLoad:
    """The requests of one side: their samples, and what is still waited for."""

    side: Side
    samples: Samples
    changed: asyncio.Event
    """Set when no answer, or no result, is waited for any more."""
    heard: bytearray
    """Of each request, whether its result came by itself: by a callback, or by asking for it."""
    open: set[int] = field(default_factory=set)
    """Requests of the block in progress that have no answer, and whose client has not left."""
    missing: set[int] = field(default_factory=set)
    """Requests of the block in progress whose result may still come by itself."""
    starts: dict[int, float] = field(default_factory=dict)
    """When each block began, on the monotonic clock."""
    sent: int = 0
    answered: int = 0
    worst_lag_s: float = 0.0

    def begin(self, number: int, indices: range, began: float) -> None:
        """Begins a block."""
        self.starts[number] = began
        self.open = set(indices)
        self.missing = set(indices) if self.side.mode is Mode.ASYNC else set()

    def due_at(self, index: int) -> float:
        """When a request of a block that has begun is due, on the monotonic clock."""
        return self.starts[self.block_of(index)] + self.samples.due[index]

    def since_start(self, index: int) -> float:
        """The moment in seconds from the start of a request's own block, which may be over."""
        return time.monotonic() - self.starts[self.block_of(index)]

    def has_begun(self, index: int) -> bool:
        """Whether there is a request of this index in a block that has begun."""
        return index < len(self.samples) and self.block_of(index) in self.starts

    def block_of(self, index: int) -> int:
        """The number of the block that a request belongs to."""
        return bisect_right(self.samples.bounds, index) - 1

    def send(self, index: int) -> None:
        """Records that a request is on its way."""
        moment = self.samples.sent[index] = self.since_start(index)
        self.sent += 1
        self.worst_lag_s = max(self.worst_lag_s, moment - self.samples.due[index])

    def answer(self, index: int, outcome: Outcome, *, responded: bool = True, may_result: bool = False) -> None:
        """Records the end of a request's exchange: an answer, or that the connection was lost or never made.

        `may_result`: the result may still come by itself. It may also have been faster than the answer.
        """
        samples = self.samples
        if responded:
            self.answered += 1
            samples.accepted[index] = self.since_start(index)
        if not self.heard[index]:
            samples.outcomes[index] = outcome
            if outcome is Outcome.OK:
                samples.result[index] = samples.accepted[index]
        self.close(index, may_result=may_result)

    def leave(self, index: int, *, may_result: bool = False) -> None:
        """Records that a client has given up waiting for an answer."""
        if not self.heard[index]:
            self.samples.outcomes[index] = Outcome.CLIENT_TIMEOUT
        self.close(index, may_result=may_result)

    def close(self, index: int, *, may_result: bool) -> None:
        """Waits no longer for an answer, and perhaps not for a result either."""
        self.open.discard(index)
        if not may_result:
            self.missing.discard(index)
        if not self.open:
            self.changed.set()

    def hear(self, index: int, outcome: Outcome, moment: float | None = None) -> bool:
        """Records a result that came by itself, now or at a moment of the monotonic clock.

        False where one had come before, which counts as a duplicate.
        """
        samples = self.samples
        if self.heard[index]:
            samples.duplicates += 1
            return False
        self.heard[index] = 1
        since = self.since_start(index) if moment is None else moment - self.starts[self.block_of(index)]
        samples.result[index] = since if outcome is Outcome.OK else math.nan
        samples.outcomes[index] = outcome
        self.lose(index)
        return True

    def lose(self, index: int) -> None:
        """Waits no longer for a result."""
        self.missing.discard(index)
        if not self.missing:
            self.changed.set()
