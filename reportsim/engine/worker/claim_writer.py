"""Writing the claims of work that began from memory, once it takes longer than a moment."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from reportsim.core.model import Request
from reportsim.engine.owner import Owner
from reportsim.store import requests as store
from reportsim.store.pool import OUTAGES

log = logging.getLogger(__name__)

WRITE_AFTER_S: Final = 0.05
RETRY_S: Final = 1.0


@dataclass(eq=False, slots=True)
class Work:
    """A request being worked on."""

    request: Request
    task: "asyncio.Task[None]"
    since: float
    """From when on the slot is held for it, on the monotonic clock."""
    began: float
    written: bool
    """Whether its row says that it is worked on."""
    holds_slot: bool = True


class ClaimWriter:
    """Writes the claims of work whose row does not say yet that it is worked on."""

    def __init__(self, owner: Owner, works: Mapping[UUID, Work], publish: Callable[[list[Request]], None]) -> None:
        """Watches the work of an owner; `publish` takes the states that were written."""
        self._owner = owner
        self._works = works
        self._publish = publish
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """Announces work whose claim is not written."""
        self._wakeup.set()

    async def run(self) -> None:
        """Writes claims until it is cancelled."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while any(not work.written for work in self._works.values()):
                await asyncio.sleep(WRITE_AFTER_S)
                try:
                    await self._write(time.monotonic() - WRITE_AFTER_S)
                except OUTAGES as error:
                    log.warning("claims could not be written: %r", error)
                    await asyncio.sleep(RETRY_S)
                except Exception:
                    log.exception("claims could not be written")
                    await asyncio.sleep(RETRY_S)

    async def _write(self, before: float) -> None:
        late = [work for work in self._works.values() if not work.written and work.holds_slot and work.began <= before]
        if late:
            owner = self._owner
            written = await store.begin(owner.connections, owner.id, owner.lease, [work.request for work in late])
            for work in late:
                work.written = work.request.id in written
            self._publish([work.request for work in late if work.written])
