"""Other replicas on the same database: telling them what changed here, and hearing what changed there.

One connection outside the pool both listens and notifies. A notification goes out after its commit, one for all that
changed within the gathering time. Where LISTEN delivers nothing (PgBouncer in transaction mode accepts and forgets
it), which an echo of our own tells, changes are looked for every second instead.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from reportsim.core.model import CallbackLog, Request
from reportsim.engine.events import Hub
from reportsim.store import notifications as store
from reportsim.store.pool import OUTAGES, Connection, Pool, connect
from reportsim.store.requests import get

log = logging.getLogger(__name__)

GATHER_S: Final = 0.075
ECHO_S: Final = 1.0
POLL_S: Final = 1.0
CHECK_S: Final = 10.0
OVERLAP: Final = timedelta(seconds=2)
MOST_CHANGES: Final = 2_000
LOG_AGE: Final = timedelta(seconds=60)
MOST_SEEN: Final = 10_000


class Replicas:
    """The line to the other replicas."""

    def __init__(self, *, dsn: str, pool: Pool, hub: Hub, heard: Callable[[list[Request]], None]) -> None:
        """Makes the line; `heard` is given what others changed, in its newest state."""
        self._dsn = dsn
        self._pool = pool
        self._hub = hub
        self._heard = heard
        self._boot = hub.boot
        self._outbox: dict[UUID, None] = {}
        self._inbox: dict[UUID, None] = {}
        self._leave = asyncio.Event()
        self._arrive = asyncio.Event()
        self._echoed = asyncio.Event()
        self._seen_logs: OrderedDict[UUID, None] = OrderedDict()
        self.polling = False

    def tell(self, ids: Iterable[UUID]) -> None:
        """Says that requests changed here."""
        self._outbox.update(dict.fromkeys(ids))
        if len(self._outbox) > MOST_CHANGES:
            self._outbox = dict.fromkeys(list(self._outbox)[-store.MOST_IDS - 1 :])
        self._leave.set()

    def told_of(self, row: CallbackLog) -> None:
        """Remembers a log row of our own, so that it is not announced twice."""
        self._remember(row.id)

    async def run(self) -> None:
        """Keeps the line up through every outage."""
        first = True
        while True:
            try:
                connection = await connect(self._dsn)
                try:
                    await self._converse(connection, first)
                finally:
                    connection.terminate()
            except OUTAGES as error:
                log.warning("the line to other replicas is down: %s", str(error) or type(error).__name__)
            first = False
            await asyncio.sleep(POLL_S)

    async def _converse(self, connection: Connection, first: bool) -> None:
        lost = asyncio.get_running_loop().create_future()
        connection.add_termination_listener(lambda _: None if lost.done() else lost.set_result(None))
        await connection.add_listener(store.CHANNEL, self._hear)
        self._echoed.clear()
        await store.notify(connection, store.encode(self._boot, []))
        self.polling = not await within(self._echoed.wait(), ECHO_S)
        if self.polling and first:
            log.warning("LISTEN delivers nothing here (a pooler in transaction mode?): changes are polled for")
        if not first:
            # What was said while the line was down is lost.
            self._hub.reset()
            self._heard([])
        tasks = [asyncio.create_task(self._speak(connection)), asyncio.create_task(self._check(connection))]
        tasks.append(asyncio.create_task(self._poll() if self.polling else self._read()))
        try:
            done, _ = await asyncio.wait([lost, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise ConnectionError("the connection was lost")

    async def _speak(self, connection: Connection) -> None:
        while True:
            await self._leave.wait()
            self._leave.clear()
            changed, self._outbox = self._outbox, {}
            if changed:
                await store.notify(connection, store.encode(self._boot, list(changed)))
            await asyncio.sleep(GATHER_S)

    async def _check(self, connection: Connection) -> None:
        """Finds a connection that died without a word."""
        while True:
            await asyncio.sleep(CHECK_S)
            await connection.fetchval("SELECT 1")

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        boot, ids = store.decode(str(payload))
        if boot == self._boot:
            self._echoed.set()
        elif ids is None:
            self._hub.reset()
            self._heard([])
        else:
            self._inbox.update(dict.fromkeys(ids))
            self._arrive.set()

    async def _read(self) -> None:
        while True:
            await self._arrive.wait()
            self._arrive.clear()
            changed, self._inbox = self._inbox, {}
            await self._pass_on(await get(self._pool, changed))

    async def _poll(self) -> None:
        moment = await store.database_now(self._pool)
        while True:
            await asyncio.sleep(POLL_S)
            # Commits come out of order: what was stamped before the last look may only be seen now.
            changed, latest = await store.changed_since(self._pool, moment - OVERLAP, MOST_CHANGES)
            moment = max(moment, latest)
            if len(changed) == MOST_CHANGES:
                self._hub.reset()
            await self._pass_on(changed)

    async def _pass_on(self, changed: list[Request]) -> None:
        attempted = [request.id for request in changed if request.callback_attempts]
        if attempted:
            for row in await store.recent_logs(self._pool, attempted, LOG_AGE):
                if row.id not in self._seen_logs:
                    self._remember(row.id)
                    self._hub.publish_log(row)
        self._heard(changed)

    def _remember(self, log_id: UUID) -> None:
        self._seen_logs[log_id] = None
        if len(self._seen_logs) > MOST_SEEN:
            self._seen_logs.popitem(last=False)


async def within(awaitable: Any, seconds: float) -> bool:
    """Whether something happens in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await awaitable
            return True
    return False
