"""Worker slots: the one capacity that sync, async and re-made reports share."""

import asyncio
import contextlib
from collections import deque


class Slots:
    """A first-come first-served semaphore that can also give away whatever else is free."""

    def __init__(self, width: int) -> None:
        """Makes `width` free slots."""
        self.width = width
        self._free = width
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self.width - self._free

    async def acquire(self) -> None:
        """Takes one slot, waiting its turn."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            else:
                # It is gone when a slot was given back in between.
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def take_free(self) -> int:
        """Takes every free slot that nobody waits for, and says how many."""
        if self._waiting:
            return 0
        taken, self._free = self._free, 0
        return taken

    def release(self, count: int = 1) -> None:
        """Gives slots back, first to those who wait."""
        for _ in range(count):
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    break
            else:
                self._free += 1
