"""Connections for the engine's own tasks: kept open, handed from task to task, replaced when they break.

A pool must reset a connection after each use, at the price of a task and several waits for every statement. The
engine's tasks need none of that: they are few, and each has its connection to itself.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from reportsim.store.connection import DatabaseConnection
from reportsim.store.connector import Connector
from reportsim.store.pool import Connection
from reportsim.tasks import start

# So many are kept, and what a rush left beyond them is kept for a minute.
FEW: Final = 4
IDLE_S: Final = 60.0
MOST: Final = 16
CANCEL_S: Final = 2.0


class EngineConnections:
    """Idle connections, the latest used first; as many as are in use at once, up to a bound."""

    def __init__(self, dsn: str, *, statement_cache: int, size: int = MOST, cancel_timeout: float = CANCEL_S) -> None:
        """Connects when first used; `cancel_timeout` is what the end of a cancelled statement is waited for."""
        self._connector = Connector(dsn, statement_cache=statement_cache)
        self._cancel_timeout = cancel_timeout
        self._places = asyncio.Semaphore(size)
        self._idle: deque[tuple[DatabaseConnection, float]] = deque()
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lends a connection; one that is left in the middle of something is closed.

        What it was running is cancelled on the server, and over, before this returns.
        """
        async with self._places:
            while self._idle and self._idle[-1][0].is_closed():
                self._idle.pop()
            connection = self._idle.pop()[0] if self._idle else await self._connector.connect()
            whole = False
            try:
                yield connection
                whole = True
            except asyncpg.PostgresError as error:
                # A server that has become a standby is left for whichever is the primary now.
                is_usable = not isinstance(error, asyncpg.ReadOnlySQLTransactionError) and not connection.is_closed()
                whole = is_usable and not connection.is_in_transaction()
                raise
            finally:
                if whole and not connection.is_closed():
                    self._keep(connection)
                else:
                    await self._end(connection)

    async def _end(self, connection: DatabaseConnection) -> None:
        """Closes a connection once its statement is over, even if the waiting task is cancelled again."""
        ending = start(close(connection, self._cancel_timeout), name="close-connection", handled=(Exception,))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    def _keep(self, connection: DatabaseConnection) -> None:
        now = time.monotonic()
        self._idle.append((connection, now))
        while len(self._idle) > FEW and self._idle[0][1] <= now - IDLE_S:
            self._idle.popleft()[0].terminate()

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Runs one statement."""
        async with self.acquire() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args)
        return rows

    def close(self) -> None:
        """Closes what is idle."""
        while self._idle:
            self._idle.pop()[0].terminate()


async def close(connection: DatabaseConnection, timeout: float) -> None:
    """Closes a connection after the server has ended, as asked, what it was running; cuts it when that takes long."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        await connection.close(timeout=timeout)
