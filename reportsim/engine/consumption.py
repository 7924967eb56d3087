"""What clients have used of their quotas here, told to other replicas, and what they used there.

A request is decided by what is known here, without asking anybody. What it used is told at most every 250 ms, to all
replicas at once.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

EXCHANGE_S: Final = 0.25
# Clients that are waiting to be told of; beyond that, what is used is known here alone.
MAX_CLIENTS: Final = 10_000
# Clients in one notification, which has to be shorter than 8,000 bytes, and notifications at once.
MAX_ENTRIES: Final = 200
MAX_NOTICES: Final = 10
# Notices that are known to have been heard: each comes as a notification, and may be found in the table as well.
MAX_HEARD: Final = 10_000
MARK: Final = "#"

Used = tuple[str, bytes, int]
"""A policy, the hash of a client, and how many requests it made."""


class Consumption:
    """What is to be told, and what is done with what others tell."""

    def __init__(self, service: str) -> None:
        """Tells in the name of a service, whose processes know it of each other."""
        self.service = service
        self.on_heard: Callable[[str, bytes, int], None] | None = None
        """What is done with what another service tells; one process of a service does it."""
        self._used: dict[tuple[str, bytes], int] = {}
        self._changed = asyncio.Event()
        self._heard: OrderedDict[str, None] = OrderedDict()

    def add(self, policy: str, client: bytes, count: int) -> None:
        """Counts what a client has used here."""
        key = policy, client
        if key in self._used or len(self._used) < MAX_CLIENTS:
            self._used[key] = self._used.get(key, 0) + count
            self._changed.set()

    async def wait(self) -> None:
        """Waits until there is something to tell."""
        await self._changed.wait()

    def take_notices(self) -> Iterator[str]:
        """What is to be told, as notifications; each counts as told once the next one is asked for."""
        for _ in range(MAX_NOTICES):
            entries = dict(list(self._used.items())[:MAX_ENTRIES])
            if not entries:
                self._changed.clear()
                break
            told = encode(self.service, [(*key, count) for key, count in entries.items()])
            yield f"{told} {MARK}{secrets.token_hex(6)}"
            for key, count in entries.items():
                self._used[key] -= count
                if not self._used[key]:
                    del self._used[key]

    def hear(self, notice: str) -> None:
        """Takes what another process tells, once."""
        mark = notice.rpartition(" ")[2]
        if self.on_heard is None or notice.partition(" ")[0] == self.service or mark in self._heard:
            return
        if mark.startswith(MARK):
            self._heard[mark] = None
            if len(self._heard) > MAX_HEARD:
                self._heard.popitem(last=False)
        for used in decode(notice)[1]:
            self.on_heard(*used)


def encode(service: str, used: list[Used]) -> str:
    """A notification: who speaks, and what clients have used."""
    return " ".join((service, *(f"{policy}:{client.hex()}:{count}" for policy, client, count in used)))


def decode(notice: str) -> tuple[str, list[Used]]:
    """Who speaks, and what clients have used; what cannot be read is left out, and so is a notice's mark."""
    service, *words = notice.split(" ")
    used: list[Used] = []
    for word in words:
        try:
            policy, client, count = word.split(":")
            used.append((policy, bytes.fromhex(client), int(count)))
        except ValueError:
            continue
    return service, used
