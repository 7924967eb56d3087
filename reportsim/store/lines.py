"""Connections for the engine's own tasks: kept open, handed from task to task, replaced when they break.

A pool must clean up after whoever it lends to, at the price of a task and several waits for every statement. The
engine's tasks need none of that: they are few, no client cancels them, and each has its connection to itself.
"""

import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from reportsim.store.pool import Connection, connect

# So many are kept, and what a rush left beyond them is kept for a minute.
FEW: Final = 4
IDLE_S: Final = 60.0


class Lines:
    """Idle connections, the latest used first; as many as are in use at once."""

    def __init__(self, dsn: str, *, statement_cache: int) -> None:
        """Connects when first used."""
        self._dsn = dsn
        self._statement_cache = statement_cache
        self._idle: deque[tuple[asyncpg.Connection[asyncpg.Record], float]] = deque()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lends a connection; one that is left in the middle of something is closed."""
        while self._idle and self._idle[-1][0].is_closed():
            self._idle.pop()
        if self._idle:
            connection, _ = self._idle.pop()
        else:
            connection = await connect(self._dsn, statement_cache=self._statement_cache)
        whole = False
        try:
            yield connection
            whole = True
        except asyncpg.PostgresError:
            whole = not connection.is_closed() and not connection.is_in_transaction()
            raise
        finally:
            if whole:
                self._keep(connection)
            else:
                connection.terminate()

    def _keep(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
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
