"""Observation of the queue and the slots, for benchmark runs."""

from typing import Protocol
from uuid import UUID


class Observer(Protocol):
    """Receives when requests were queued, started and ended, on the monotonic clock."""

    def queued(self, id: UUID) -> None:
        """The request waits, after its COMMIT."""
        ...

    def started(self, id: UUID, moment: float) -> float:
        """A slot is held for it since that moment, or since it was queued; returns which."""
        ...

    def ended(self, id: UUID) -> None:
        """Its slot is free again, or it was dropped from the queue."""
        ...


class NullObserver:
    """Ignores everything."""

    def queued(self, id: UUID) -> None:
        """Nothing."""

    def started(self, id: UUID, moment: float) -> float:
        """The moment as it is given."""
        return moment

    def ended(self, id: UUID) -> None:
        """Nothing."""
