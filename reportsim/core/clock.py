"""Time as a dependency, so that tests can hold it still."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The two clocks that the service reads."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC: for history."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for durations."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()
