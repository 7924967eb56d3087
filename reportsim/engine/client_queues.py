"""What each client may still have inserted before what it has waiting is counted again.

The bound on what one client may have waiting is checked by the statement that inserts its requests, which counts what
it has waiting there. That would cost the more the longer the queue is. So after each count, a part of what was left of
the bound may be inserted here without another one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from reportsim.store.requests import Insertion, NewRequest, Waiting

# Of what is left of the bound, one in so many is inserted without a count. One process never exceeds the bound, since
# it knows what it has inserted; N processes, each of which may have counted when nothing was waiting, exceed it by
# N - 1 such parts at most.
PART: Final = 10
MAX_CLIENTS: Final = 10_000


class ClientQueues:
    """Which clients are to be counted; the statements that insert must follow each other."""

    def __init__(self, bound: Waiting) -> None:
        """Takes what one client may have waiting."""
        self.bound = bound
        self._uncounted: dict[bytes, int] = {}

    def add(self, new: Sequence[NewRequest]) -> set[bytes]:
        """Takes requests that are about to be inserted; returns the clients that must be counted meanwhile.

        Requests that plan to hold a slot are always counted: few of them are a lot of work.
        """
        counted = set()
        for item in new:
            if (client := item.request.client) is not None:
                left = self._uncounted.get(client, 0) - 1
                if left < 0 or item.request.planned_s:
                    counted.add(client)
                    # Until it is known what the statement has counted, which may get lost.
                    self._uncounted.pop(client, None)
                else:
                    self._uncounted[client] = left
        return counted

    def learn(self, new: Sequence[NewRequest], found: Insertion) -> None:
        """Takes what a statement has counted and inserted."""
        inserted = Counter(item.request.client for item, is_new in zip(new, found.inserted, strict=True) if is_new)
        if len(self._uncounted) + len(found.waiting) > MAX_CLIENTS:
            self._uncounted.clear()
        for client, waiting in found.waiting.items():
            left = self.bound.requests - waiting.requests - inserted[client]
            self._uncounted[client] = max(left, 0) // PART
