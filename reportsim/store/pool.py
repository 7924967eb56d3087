"""The connection pool, made from whatever form of DATABASE_URL people have at hand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from yarl import URL

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


# Parameters that other drivers and vendors put into the address; asyncpg would hand them to the server, which refuses.
FOREIGN: Final = frozenset(
    {
        "channel_binding",
        "pgbouncer",
        "connection_limit",
        "pool_timeout",
        "prepared_statement_cache_size",
        "schema",
        "connect_timeout",
        "options[project]",
    }
)
# Joined to a statement whose loss in a crash of the database would only mean that it is repeated: claims need not wait
# for the disk. What they lead to is committed after them, and durably.
LIGHTLY: Final = "(SELECT set_config('synchronous_commit', 'off', true)) AS lightly"
# Startup parameters that poolers keep per client.
SESSION: Final = {"datestyle": "ISO, YMD", "standard_conforming_strings": "on"}
STATEMENT_TIMEOUT_S: Final = 15.0
CONNECT_TIMEOUT_S: Final = 5.0
ACQUIRE_TIMEOUT_S: Final = 5.0

# What only an absent database raises: asyncpg's own errors are what it says of a connection that was lost meanwhile.
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
# What it looks like when the database is away, starting, stopping, replaced, or short of something.
OUTAGES: Final = (
    *AWAY,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)


def clean_dsn(url: str) -> str:
    """The address in the form that asyncpg takes.

    `postgresql+asyncpg://` and `postgres://` are accepted, and parameters that only other drivers know are taken out.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgres", "postgresql"}:
        raise ValueError("DATABASE_URL must start with postgresql://")
    parsed = URL(f"postgresql://{rest}")
    query = [(name, value) for name, value in parsed.query.items() if name not in FOREIGN]
    return str(parsed.with_query(query)) if len(query) != len(parsed.query) else f"postgresql://{rest}"


async def keep_state(connection: Connection) -> None:
    """Replaces asyncpg's reset query: no pooled connection ever has session state, so there is nothing to reset."""


class BoundedPool(Pool):
    """A pool in which nobody waits for a connection without an end, when statements hang on all of them."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Lends a connection; asyncpg gives taking it back the same time."""
        return super().acquire(timeout=ACQUIRE_TIMEOUT_S if timeout is None else timeout)


def create_pool(dsn: str, *, size: int, statement_cache: int) -> Pool:
    """A pool that connects when first used and gives broken connections up; not opened yet."""
    return BoundedPool(
        dsn,
        init_size=0,
        min_size=0,
        max_size=size,
        max_queries=50_000,
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        max_inactive_connection_lifetime=60,
        statement_cache_size=statement_cache,
        command_timeout=STATEMENT_TIMEOUT_S,
        timeout=CONNECT_TIMEOUT_S,
        reset=keep_state,
        server_settings=SESSION,
    )


async def connect(dsn: str, *, statement_cache: int = 0) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection of its own, outside the pool."""
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=STATEMENT_TIMEOUT_S,
        statement_cache_size=statement_cache,
        server_settings=SESSION,
    )


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
