"""Lets the workers of a process stand still for a while, for demonstration."""

import asyncio


class Freeze:
    """While it lasts, no worker ends its work, so that none begins any either once all slots are taken."""

    def __init__(self) -> None:
        """Is not in force."""
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        """Is in force for some seconds from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._thawed.clear()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._thawed.set)

    async def over(self) -> None:
        """Waits until it is not in force."""
        await self._thawed.wait()
