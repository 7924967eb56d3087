"""What each client has waiting, as far as this replica knows: an upper bound, which spares most counts.

The bound on what one client may have waiting is checked by the statement that inserts its requests, which reads what it
has waiting there. That would cost the more the longer the queue is. So a count is remembered for a moment, everything
that is inserted here is added to it, and nobody is counted of whom this is far below the bound. Requests that plan to
hold a slot are always counted: few of them are a lot of work.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from reportsim.store.requests import Insertion, NewRequest, Waiting

# How long a count is remembered: what other replicas insert meanwhile is unknown here.
REMEMBERED_S: Final = 0.25
# The part of the bound up to which nobody is counted anew; N processes exceed the bound by N - 1 of it at most.
RELIED_ON: Final = 0.1
MAX_CLIENTS: Final = 10_000


@dataclass(slots=True)
class KnownQueue:
    """What a client had waiting at a moment, and what was added since."""

    counted_at: float
    requests: int


class ClientQueues:
    """The known queues of the clients of this replica; statements that insert must follow each other."""

    def __init__(self, bound: Waiting, now: Callable[[], float]) -> None:
        """Takes what one client may have waiting, and a clock that never goes back."""
        self.bound = bound
        self._now = now
        self._known: dict[bytes, KnownQueue] = {}

    def add(self, new: Sequence[NewRequest]) -> set[bytes]:
        """Adds requests that are about to be inserted; returns the clients that must be counted meanwhile."""
        fresh_since = self._now() - REMEMBERED_S
        counted = set()
        for item in new:
            if (client := item.request.client) is not None:
                if (known := self._known.get(client)) is not None:
                    known.requests += 1
                if item.request.planned_s or not self._is_relied_on(known, fresh_since):
                    counted.add(client)
        return counted

    def learn(self, new: Sequence[NewRequest], found: Insertion, began: float) -> None:
        """Remembers what a statement that began at a moment has counted and inserted."""
        if len(self._known) + len(found.waiting) > MAX_CLIENTS:
            self._forget()
        inserted = Counter(item.request.client for item, is_new in zip(new, found.inserted, strict=True) if is_new)
        for client, waiting in found.waiting.items():
            self._known[client] = KnownQueue(began, waiting.requests + inserted[client])

    def _is_relied_on(self, known: KnownQueue | None, fresh_since: float) -> bool:
        return (
            known is not None and known.counted_at >= fresh_since and known.requests <= RELIED_ON * self.bound.requests
        )

    def _forget(self) -> None:
        """Forgets counts that are too old, or all: whoever is not known is counted."""
        fresh_since = self._now() - REMEMBERED_S
        self._known = {client: known for client, known in self._known.items() if known.counted_at >= fresh_since}
        if len(self._known) > MAX_CLIENTS // 2:
            self._known.clear()
