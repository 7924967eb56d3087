"""Other replicas on the same database: telling them what changed here, and hearing what changed there.

One connection outside the pool both listens and notifies. A notification goes out after its commit, one for all that
changed within the gathering time. Behind a pooler nothing is listened for: PgBouncer in transaction mode would leave
the LISTEN on a server connection that others use, and 1.18 ends when a notification comes there during a cancellation.
Where LISTEN delivers nothing for another reason, an echo tells. In both cases changes are polled for every second.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from reportsim.core.model import CallbackLog, Request
from reportsim.engine.consumption import EXCHANGE_S, Consumption
from reportsim.engine.events.hub import EventHub
from reportsim.store import consumption as consumption_store
from reportsim.store import notifications as store
from reportsim.store.connection import DatabaseConnection
from reportsim.store.errors import DatabaseUnavailable
from reportsim.store.pool import OUTAGES, Connection, Pool, connect
from reportsim.store.requests import get
from reportsim.tasks import start

log = logging.getLogger(__name__)

T = TypeVar("T")

GATHER_S: Final = 0.075
ECHO_S: Final = 1.0
POLL_S: Final = 1.0
CHECK_S: Final = 10.0
LEAVE_S: Final = 1.0
CATCH_UP_S: Final = 0.5
OVERLAP: Final = timedelta(seconds=2)
MOST_CHANGES: Final = 2_000
# Changes that a look considers; most are this replica's own, or were seen by the look before.
MOST_LOOKED_AT: Final = 20_000
# What is made of rows without letting others have their turn.
AT_ONCE: Final = 500
LOG_AGE: Final = timedelta(seconds=60)
MOST_SEEN: Final = 10_000


class Replication:
    """The line to the other replicas."""

    def __init__(
        self,
        *,
        dsn: str,
        pool: Pool,
        hub: EventHub,
        consumption: Consumption,
        is_first: bool = True,
        on_changes: Callable[[list[Request]], None],
        concerns: Callable[[], Iterable[UUID]],
    ) -> None:
        """Makes the line.

        `on_changes` is given what others changed, in its newest state; `concerns` names what somebody here waits for or
        works on, and is read whenever announcements were missed. The first process of a service speaks for all of them
        in the log.
        """
        self._dsn = dsn
        self._pool = pool
        self._hub = hub
        self._consumption = consumption
        self._is_first = is_first
        self._on_changes = on_changes
        self._concerns = concerns
        self._boot = hub.boot
        self._outbox: dict[UUID, None] = {}
        self._inbox: dict[UUID, None] = {}
        self._missed = False
        self._leave = asyncio.Event()
        # One statement at a time.
        self._speaking = asyncio.Lock()
        self._arrive = asyncio.Event()
        self._echoed = asyncio.Event()
        self._seen_logs: OrderedDict[UUID, None] = OrderedDict()
        self._said = False
        self.polling = False

    def tell(self, ids: Iterable[UUID]) -> None:
        """Says that requests changed here."""
        self._outbox.update(dict.fromkeys(ids))
        if len(self._outbox) > MOST_CHANGES:
            self._outbox = dict.fromkeys(list(self._outbox)[-store.MOST_IDS - 1 :])
        self._leave.set()

    def mark_published(self, row: CallbackLog) -> None:
        """Remembers a log row of our own, so that it is not announced twice."""
        self._remember(row.id)

    async def run(self) -> None:
        """Keeps the line up through every outage."""
        while True:
            try:
                connection = await connect(self._dsn)
                try:
                    await self._converse(connection)
                finally:
                    connection.terminate()
            except OUTAGES as error:
                log.warning("the line to other replicas is down: %s", str(error) or type(error).__name__)
            except Exception:
                log.exception("the line to other replicas is down")
            self._miss()
            await asyncio.sleep(POLL_S)

    async def _converse(self, connection: DatabaseConnection) -> None:
        lost = asyncio.get_running_loop().create_future()
        connection.add_termination_listener(lambda _: None if lost.done() else lost.set_result(None))
        # What an earlier connection heard says nothing of this one.
        self._echoed.clear()
        if connection.pooled:
            self._start_polling()
        else:
            await connection.add_listener(store.CHANNEL, self._hear)
            await connection.add_listener(consumption_store.CHANNEL, self._hear_consumption)
            await self._try_echo()
        tasks = [
            start(self._speak(connection), name="replicas-speak", handled=(Exception,)),
            start(self._listen(), name="replicas-listen", handled=(Exception,)),
            start(self._exchange_consumption(connection), name="replicas-consumption", handled=(Exception,)),
        ]
        try:
            done, _ = await asyncio.wait([lost, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise DatabaseUnavailable("the connection was lost")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not lost.done() and self._outbox:
                # What changed last is still said before leaving.
                with contextlib.suppress(*OUTAGES, TimeoutError):
                    async with asyncio.timeout(LEAVE_S):
                        await self._say(connection)

    async def _try_echo(self) -> None:
        """Finds out whether announcements arrive.

        The test is sent over the pool: on the listening connection a pooler would pass our own words back, and nobody
        else's.
        """
        await store.notify(self._pool, store.CHANNEL, store.encode(self._boot, []))
        if await within(self._echoed.wait(), ECHO_S):
            self.polling = False
        else:
            self._start_polling()

    def _start_polling(self) -> None:
        self.polling = True
        if not self._said and self._is_first:
            self._said = True
            log.warning("LISTEN delivers nothing here (a pooler?): changes are polled for")

    async def _speak(self, connection: Connection) -> None:
        while True:
            # A connection that died without a word is found by asking now and then.
            await within(self._leave.wait(), CHECK_S)
            self._leave.clear()
            await self._say(connection)
            await asyncio.sleep(GATHER_S)

    async def _say(self, connection: Connection) -> None:
        changed, self._outbox = self._outbox, {}
        try:
            async with self._speaking:
                if changed:
                    await store.notify(connection, store.CHANNEL, store.encode(self._boot, list(changed)))
                else:
                    await connection.fetchval("SELECT 1")
        except BaseException:
            self._outbox = changed | self._outbox
            raise

    async def _exchange_consumption(self, connection: Connection) -> None:
        """Tells what clients have used, at most every 250 ms; without notifications, looks for what others tell.

        It is told by a notification and by the table, since the others may be connected another way, or not yet.
        """
        ours = self._consumption
        moment = await store.database_now(self._pool)
        known: set[int] = set()
        is_new = True
        while True:
            if not self.polling and not is_new:
                # Whether notifications arrive may be found out meanwhile.
                await within(ours.wait(), CHECK_S)
            for notice in ours.take_notices():
                async with self._speaking:
                    await consumption_store.tell(connection, ours.service, notice)
            # What was told just before this line was up is in the table alone.
            if (self.polling or is_new) and ours.on_heard is not None:
                told, moment = await consumption_store.told_since(self._pool, moment, ours.service)
                for id in told.keys() - known:
                    ours.hear(told[id])
                known = set(told)
            is_new = False
            await asyncio.sleep(EXCHANGE_S)

    def _hear_consumption(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._consumption.hear(str(payload))

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        boot, _, changed = str(payload).partition(" ")
        if boot == self._boot:
            if not changed:
                self._echoed.set()
        elif (ids := store.decode(changed)) is None:
            self._miss()
        else:
            self._inbox.update(dict.fromkeys(ids))
            self._arrive.set()
            if len(self._inbox) > MOST_CHANGES:
                self._inbox.clear()
                self._miss()

    def _miss(self) -> None:
        """Remembers that an announcement was missed."""
        self._missed = True
        self._arrive.set()

    async def _listen(self) -> None:
        if self.polling:
            await self._poll()
        while True:
            await self._arrive.wait()
            self._arrive.clear()
            changed, self._inbox = self._inbox, {}
            missed, self._missed = self._missed, False
            if missed:
                self._hub.reset()
            await self._read([*changed, *(self._concerns() if missed else ())])
            if missed:
                # Others may go on to say "many" all the time; pages cannot read everything again as often.
                await asyncio.sleep(CATCH_UP_S)

    async def _poll(self) -> None:
        """Looks for changes every second, as long as no announcement arrives."""
        moment = await store.database_now(self._pool)
        while not await within(self._echoed.wait(), POLL_S):
            # Commits come out of order: what was stamped before the last look may only be seen now.
            changed, latest = await store.changed_since(self._pool, moment - OVERLAP, MOST_LOOKED_AT)
            moment = max(moment, latest)
            concerns = set(self._concerns())
            news = [item.id for item in changed if item.id in concerns or not self._hub.knows(item.id, item.progress)]
            too_many = len(changed) == MOST_LOOKED_AT or len(news) > MOST_CHANGES
            missed, self._missed = self._missed or too_many, False
            if missed:
                self._hub.reset()
                await self._read(concerns)
            await self._read(news[-MOST_CHANGES:])
        self.polling = False

    async def _read(self, ids: Iterable[UUID]) -> None:
        """Reads what changed and passes it on, a part at a time."""
        for some in parts(list(ids)):
            await self._pass_on(await get(self._pool, some))

    async def _pass_on(self, changed: Sequence[Request]) -> None:
        runs = {request.id: request.run_id for request in changed}
        attempted = [request.id for request in changed if request.callback_attempts]
        if attempted:
            for row in await store.recent_logs(self._pool, attempted, LOG_AGE):
                if row.id not in self._seen_logs:
                    self._remember(row.id)
                    self._hub.publish_log(row, runs[row.request_id])
        self._on_changes(list(changed))

    def _remember(self, log_id: UUID) -> None:
        self._seen_logs[log_id] = None
        if len(self._seen_logs) > MOST_SEEN:
            self._seen_logs.popitem(last=False)


def parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Many items, no more of them at once than others can wait for."""
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


async def within(awaitable: Any, seconds: float) -> bool:
    """Whether something happens in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await awaitable
            return True
    return False
