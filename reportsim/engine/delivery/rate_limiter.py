"""How often each destination may be called: an even rate, and a burst."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST_S: Final = 2.0
MOST_DESTINATIONS: Final = 10_000


class DestinationRateLimiter:
    """The generic cell rate algorithm for each destination; those called least lately are forgotten first.

    A destination that is forgotten has a burst again, which it takes `MOST_DESTINATIONS` others to bring about.
    """

    def __init__(self, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        """Takes calls a second, of which `BURST_S` seconds' worth may come at once."""
        self._interval = 1 / rate
        self._arrivals: OrderedDict[str, float] = OrderedDict()
        self.now = now

    def count(self, destination: str) -> None:
        """Counts a call."""
        now = self.now()
        self._arrivals[destination] = max(self._arrivals.pop(destination, now), now) + self._interval
        if len(self._arrivals) > MOST_DESTINATIONS:
            self._arrivals.popitem(last=False)

    def next_call(self, destination: str) -> float | None:
        """The moment from which the next call may come; None when it may come at once."""
        now = self.now()
        moment = self._arrivals.get(destination, now) - max(BURST_S - self._interval, 0)
        return moment if moment > now else None
