"""Worker slots: the capacity that sync, async and regenerated reports share."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable


class Slots:
    """A first-come first-served semaphore that can also hand out all free slots at once.

    Each slot comes with the moment since which it has been free, on the monotonic clock.
    """

    def __init__(self, width: int) -> None:
        """Makes `width` free slots."""
        self.width = width
        self._free: deque[float] = deque([time.monotonic()] * width)
        self._waiting: deque[asyncio.Future[float]] = deque()

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self.width - len(self._free)

    async def acquire(self) -> float:
        """Takes the slot that has been free for longest, waiting its turn."""
        if self._free and not self._waiting:
            return self._free.popleft()
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back([turn.result()])
            else:
                # It is not in the queue any more when a slot was returned meanwhile.
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def take_free(self) -> list[float]:
        """Takes every free slot that nobody waits for."""
        if self._waiting:
            return []
        taken = list(self._free)
        self._free.clear()
        return taken

    def release(self) -> None:
        """Frees a slot that was in use until now."""
        self.give_back([time.monotonic()])

    def give_back(self, slots: Iterable[float]) -> None:
        """Gives slots back that have been free since some moments, first to those who wait."""
        for free_since in slots:
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(free_since)
                    break
            else:
                self._free.append(free_since)
