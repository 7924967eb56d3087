"""Connections for the engine's own tasks: kept open, reused from task to task, replaced when they break.

A pool must reset each connection that it takes back, at the price of a task and several waits for every statement. The
engine's tasks need none of that: they are few, and each uses its connection alone.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import asyncpg

from reportsim.store.connection import DatabaseConnection
from reportsim.store.connector import Connector
from reportsim.store.pool import share_connections
from reportsim.tasks import start

# Idle connections that are always kept; those of a burst beyond that are kept for a minute.
MIN_IDLE: Final = 4
IDLE_S: Final = 60.0
MAX_CONNECTIONS: Final = 16
CANCEL_S: Final = 2.0

# Each statement has one plan for all parameters: planning costs more than any of them would gain by its own plan.
GENERIC_PLANS: Final = {"plan_cache_mode": "force_generic_plan"}
# The statements of the queue look rows up by an index, one by one. A plan that reads a whole table or index would be
# the cheapest while the table is small, and be kept for a prepared statement when it has grown.
LOOK_UPS: Final[Mapping[str, str]] = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    **GENERIC_PLANS,
}
# No account of a report is looked up twice: a Memoize node would only copy its entries.
REPORTS: Final[Mapping[str, str]] = {"enable_memoize": "off", **GENERIC_PLANS}


class EngineConnections:
    """Idle connections, last used first; as many as are in use at once, up to a bound."""

    def __init__(
        self,
        dsn: str,
        *,
        statement_cache: int,
        size: int = MAX_CONNECTIONS,
        cancel_timeout: float = CANCEL_S,
        session: Mapping[str, str] | None = None,
    ) -> None:
        """Connects when first used, with some settings of the session.

        `cancel_timeout` bounds the wait for the end of a cancelled statement.
        """
        self._connector = Connector(dsn, statement_cache=statement_cache, session=session)
        self._cancel_timeout = cancel_timeout
        self._places = asyncio.Semaphore(size)
        self._idle: deque[tuple[DatabaseConnection, float]] = deque()
        self._ending: set[asyncio.Task[None]] = set()

    def acquire(self) -> "Loan":
        """Provides a connection; one that is left within a statement or a transaction is closed.

        The statement is cancelled on the server, and has ended, before this returns.
        """
        return Loan(self)

    async def take(self) -> DatabaseConnection:
        """Takes a connection, in its turn."""
        await self._places.acquire()
        try:
            while self._idle and self._idle[-1][0].is_closed():
                self._idle.pop()
            return self._idle.pop()[0] if self._idle else await self._connector.connect()
        except BaseException:
            self._places.release()
            raise

    async def give_back(self, connection: DatabaseConnection, *, is_reusable: bool) -> None:
        """Gives a connection back, to be kept or closed."""
        try:
            if is_reusable and not connection.is_closed():
                self._keep(connection)
            else:
                await self._end(connection)
        finally:
            self._places.release()

    async def _end(self, connection: DatabaseConnection) -> None:
        """Closes a connection once its statement has ended, even when the caller is cancelled again."""
        ending = start(close(connection, self._cancel_timeout), name="close-connection", handled=(Exception,))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    def _keep(self, connection: DatabaseConnection) -> None:
        now = time.monotonic()
        self._idle.append((connection, now))
        while len(self._idle) > MIN_IDLE and self._idle[0][1] <= now - IDLE_S:
            self._idle.popleft()[0].terminate()

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Runs one statement."""
        async with self.acquire() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args)
        return rows

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop()[0].terminate()


class Loan:
    """A connection as long as a block lasts; a generator in its place would take several times as long."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: EngineConnections) -> None:
        """Takes where the connection comes from."""
        self._connections = connections

    async def __aenter__(self) -> DatabaseConnection:
        """The connection."""
        self._connection = await self._connections.take()
        return self._connection

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Gives it back; after an error only one that can still be used is kept."""
        is_reusable = error is None or (
            isinstance(error, asyncpg.PostgresError)
            # The server has become a standby: the next connection is made to the current primary.
            and not isinstance(error, asyncpg.ReadOnlySQLTransactionError)
            and not self._connection.is_closed()
            and not self._connection.is_in_transaction()
        )
        await self._connections.give_back(self._connection, is_reusable=is_reusable)


async def close(connection: DatabaseConnection, timeout: float) -> None:
    """Cancels a connection's statement, waits for its end, and closes; terminates the connection after the timeout."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        await connection.close(timeout=timeout)


class ConnectionGroups(NamedTuple):
    """The connections of a process besides the clients' pool; a long COPY must not delay a short statement."""

    engine: EngineConnections
    reports: EngineConnections
    readiness: EngineConnections


def open_connections(dsn: str, pool_size: int | None, statement_cache: int) -> ConnectionGroups:
    """Shares the connections of a process between the engine's statements, reports, and the readiness check."""
    shares = share_connections(dsn, pool_size)
    return ConnectionGroups(
        engine=EngineConnections(dsn, statement_cache=statement_cache, size=shares.engine, session=LOOK_UPS),
        reports=EngineConnections(dsn, statement_cache=statement_cache, size=shares.reports, session=REPORTS),
        readiness=EngineConnections(dsn, statement_cache=0, size=1, cancel_timeout=0.0),
    )
