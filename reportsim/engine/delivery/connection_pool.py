"""Connections that are kept for the next request to the same origin."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from reportsim.engine.delivery.connection import Connection

MOST: Final = 128
MOST_OF_ORIGIN: Final = 4
# More of an origin are idle for a moment while each of its deliveries is followed by the next one.
MOMENT_S: Final = 0.1


class ConnectionPool:
    """Idle connections by origin, each until a time of its own; the newest is used first, the oldest goes first."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Takes a clock that never goes back; the pool is empty."""
        self._now = now
        self._idle: dict[Connection, tuple[str, float]] = {}  # the one that was kept last is the last
        self._of_origin: defaultdict[str, list[Connection]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        """How many connections are idle."""
        return len(self._idle)

    def keep(self, origin: str, connection: Connection, until: float) -> None:
        """Keeps a connection that nothing more is expected on; one too many for a moment only."""
        connection.keep()
        if len(self._of_origin[origin]) >= MOST_OF_ORIGIN:
            until = min(until, self._now() + MOMENT_S)
        if len(self._idle) >= MOST:
            self._remove(next(iter(self._idle))).close()
        self._idle[connection] = origin, until
        self._of_origin[origin].append(connection)
        if self._timer is None or until < self._timer_at:
            self.close_expired()

    def take(self, origin: str) -> Connection | None:
        """A connection that may be used for another request, if one is left; it is not idle any more."""
        while connections := self._of_origin.get(origin):
            connection = connections[-1]
            _, until = self._idle[connection]
            self._remove(connection)
            if self._now() < until and connection.is_silent:
                return connection
            connection.close()
        return None

    def close_expired(self) -> None:
        """Closes the connections whose time is over, and does so again when the time of the next one is."""
        now = self._now()
        for connection in [each for each, (_, until) in self._idle.items() if until <= now]:
            self._remove(connection).close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._idle:
            self._timer_at = min(until for _, until in self._idle.values())
            self._timer = asyncio.get_running_loop().call_later(self._timer_at - now, self.close_expired)

    async def close_all(self) -> None:
        """Closes all idle connections, and waits until their files are free."""
        closed = [self._remove(connection) for connection in [*self._idle]]
        for connection in closed:
            connection.close()
        self.close_expired()
        for connection in closed:
            await connection.wait_closed()

    def _remove(self, connection: Connection) -> Connection:
        origin, _ = self._idle.pop(connection)
        self._of_origin[origin].remove(connection)
        if not self._of_origin[origin]:
            del self._of_origin[origin]
        return connection
