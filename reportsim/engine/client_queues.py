"""What each client has waiting, as far as this replica knows: an upper bound, which spares most counts.

The bound on what one client may have waiting is checked by the statement that inserts its requests, which reads what it
has waiting there. That would cost the more the longer the queue is. So a count is remembered for a moment, everything
that is inserted here is added to it, and nobody is counted of whom this is far below the bound.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from reportsim.store.requests import Insertion, NewRequest, Waiting

# How long a count is remembered: what other replicas insert meanwhile is unknown here.
REMEMBERED_S: Final = 0.25
# The part of the bound up to which nobody is counted anew: two replicas that rely on it stay within the bound together.
RELIED_ON: Final = 0.5
MAX_CLIENTS: Final = 10_000


@dataclass(slots=True)
class KnownQueue:
    """What a client had waiting at a moment, and what was added since."""

    counted_at: float
    requests: int
    planned_s: float

    def add(self, new: NewRequest) -> None:
        """Adds a request that is about to be inserted."""
        self.requests += 1
        self.planned_s += new.request.planned_s


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
        clients = set()
        for item in new:
            if (client := item.request.client) is not None:
                clients.add(client)
                if (known := self._known.get(client)) is not None:
                    known.add(item)
        return {client for client in clients if not self._is_relied_on(self._known.get(client), fresh_since)}

    def learn(self, new: Sequence[NewRequest], found: Insertion, began: float) -> None:
        """Remembers what a statement that began at a moment has counted and inserted."""
        if len(self._known) + len(found.waiting) > MAX_CLIENTS:
            self._forget()
        inserted = defaultdict[bytes, list[NewRequest]](list)
        for item, is_inserted in zip(new, found.inserted, strict=True):
            if is_inserted and item.request.client in found.waiting:
                inserted[item.request.client].append(item)
        for client, waiting in found.waiting.items():
            known = self._known[client] = KnownQueue(began, waiting.requests, waiting.planned_s)
            for item in inserted[client]:
                known.add(item)

    def _is_relied_on(self, known: KnownQueue | None, fresh_since: float) -> bool:
        return (
            known is not None
            and known.counted_at >= fresh_since
            and known.requests <= RELIED_ON * self.bound.requests
            and known.planned_s <= RELIED_ON * self.bound.planned_s
        )

    def _forget(self) -> None:
        """Forgets counts that are too old, or all: whoever is not known is counted."""
        fresh_since = self._now() - REMEMBERED_S
        self._known = {client: known for client, known in self._known.items() if known.counted_at >= fresh_since}
        if len(self._known) > MAX_CLIENTS // 2:
            self._known.clear()
