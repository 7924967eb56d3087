"""The connection pool for those who ask from outside, and single connections."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from reportsim.core.database_address.url import parse_database_url
from reportsim.store.connection import DatabaseConnection
from reportsim.store.connector import Connector
from reportsim.store.errors import AWAY as AWAY
from reportsim.store.errors import OUTAGES as OUTAGES
from reportsim.store.errors import DatabaseTimeout, DatabaseUnavailable

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:  # asyncpg's classes are generic for the type checker alone
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection

log = logging.getLogger(__name__)

T = TypeVar("T")


class Fetches(Protocol):
    """Whatever runs one statement and returns its rows."""

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Runs the statement."""
        ...


class Lends(Protocol):
    """Whatever lends a connection for a while."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Lends one as long as the block lasts."""
        ...


# Joined to a statement whose loss in a crash of the database would only mean that it is repeated: claims need not wait
# for the disk. What they lead to is committed after them, and durably.
ASYNC_COMMIT: Final = "(SELECT set_config('synchronous_commit', 'off', true)) AS lightly"
ACQUIRE_TIMEOUT_S: Final = 5.0

# Not among the conditions, of which the server may look at any first.
TERMINATE_SESSIONS: Final = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = $1 AND pid <> pg_backend_pid()
"""
COUNT_SESSIONS: Final = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::integer[])"
TERMINATED_LOOK_S: Final = 0.01
TERMINATED_LOOKS: Final = 200

MOST_CONNECTIONS: Final = 64
LEAST_CONNECTIONS: Final = 6
# Leases, news of other replicas, and readiness have one each.
HOUSEKEEPING: Final = 3
MOST_FOR_STATEMENTS: Final = 8


@dataclass(frozen=True, slots=True)
class Shares:
    """How the connections of a process are divided: clients' requests, the engine's statements, and reports."""

    clients: int
    engine: int
    reports: int


def share_connections(url: str, wanted: int | None) -> Shares:
    """Divides as many connections as are wanted, or as the address allows."""
    total = wanted or parse_database_url(url).connections or MOST_CONNECTIONS
    rest = max(total, LEAST_CONNECTIONS) - HOUSEKEEPING
    each = min((rest + 1) // 3, MOST_FOR_STATEMENTS)
    return Shares(clients=each, engine=each, reports=rest - 2 * each)


async def keep_state(connection: Connection) -> None:
    """Replaces asyncpg's reset query: no pooled connection ever has session state, so there is nothing to reset."""


class BoundedPool(Pool):
    """A pool in which nobody waits for a connection without an end, when statements hang on all of them."""

    def __init__(self, connector: Connector, size: int) -> None:
        """Connects when first used, and gives broken connections up."""

        async def connect(*_: Any, **__: Any) -> DatabaseConnection:
            return await connector.connect()

        super().__init__(
            connect=connect,
            init_size=0,
            min_size=0,
            max_size=size,
            max_queries=50_000,
            loop=None,
            connection_class=DatabaseConnection,
            record_class=asyncpg.Record,
            max_inactive_connection_lifetime=60,
            reset=keep_state,
        )
        self._acquire_timeout = connector.address.acquire_timeout

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Any]:  # type: ignore[override]
        """Lends a connection as long as the block lasts; asyncpg gives taking it back the same time."""
        limit = timeout or self._acquire_timeout or ACQUIRE_TIMEOUT_S
        try:
            connection = await super().acquire(timeout=limit)
        except DatabaseUnavailable:
            raise
        except TimeoutError as error:
            raise DatabaseTimeout(f"no connection came free within {limit:g} s") from error
        except asyncpg.InterfaceError as error:
            if self.is_closing():
                raise DatabaseUnavailable("the service is stopping") from error
            raise
        try:
            yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            # The server has become a standby: the next connection leads to whichever is the primary now.
            await self.expire_connections()
            raise
        finally:
            await self.release(connection)


def create_pool(dsn: str, *, size: int, statement_cache: int) -> Pool:
    """A pool that connects when first used; not opened yet."""
    return BoundedPool(Connector(dsn, statement_cache=statement_cache), size)


async def connect(dsn: str, *, statement_cache: int = 0) -> DatabaseConnection:
    """A connection of its own, outside the pool.

    Raises:
        DatabaseMisconfigured: no waiting mends what is wrong.
        DatabaseUnavailable: the database is not there.
    """
    return await Connector(dsn, statement_cache=statement_cache).connect()


async def persist(
    action: Callable[[], Awaitable[T]],
    *,
    through: tuple[type[Exception], ...] = OUTAGES,
    first_wait: float = 0.05,
    longest_wait: float = 1.0,
) -> T:
    """Repeats an action until the database is there to carry it out; other errors than those pass through."""
    wait = first_wait
    while True:
        try:
            return await action()
        except through as error:
            if wait == first_wait:
                log.warning("the database does not do what it is asked to, which is repeated: %r", error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest_wait)


def name_sessions(dsn: str, name: str) -> str:
    """An address whose sessions on the server have a name."""
    return f"{dsn}{'&' if '?' in dsn else '?'}application_name={name}"


async def terminate_sessions(dsn: str, name: str) -> int:
    """Ends all sessions of a name, whatever they are doing, and waits for that; returns how many there were."""
    connection = await connect(dsn)
    try:
        pids = [row["pid"] for row in await connection.fetch(TERMINATE_SESSIONS, name)]
        for _ in range(TERMINATED_LOOKS):
            if not await connection.fetchval(COUNT_SESSIONS, pids):
                break
            await asyncio.sleep(TERMINATED_LOOK_S)
    finally:
        await connection.close()
    return len(pids)
