"""A connection that says which errors are the database's absence, and repeats what lost a conflict."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg

from reportsim.store.errors import LOST, CommitUnknown, DatabaseTimeout, DatabaseUnavailable
from reportsim.tasks import start

if TYPE_CHECKING:
    Base: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # asyncpg's classes are generic for the type checker alone
    Base = asyncpg.Connection

T = TypeVar("T")

CONFLICT_ATTEMPTS: Final = 12
CONFLICT_PAUSE_S: Final = 0.2
CONFLICTS: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
# A server that did not answer a statement in time may not answer this one either.
ROLLBACK_S: Final = 1.0
CANCEL: Final = "cancel-statement"
LOST_STATEMENTS: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)


class Transaction(asyncpg.transaction.Transaction):
    """A transaction that may write, whatever the session's default is."""

    def __init__(self, connection: "DatabaseConnection", isolation: Any, readonly: bool, deferrable: bool) -> None:
        """Belongs to a connection."""
        super().__init__(connection, isolation, readonly, deferrable)
        self._session = connection
        self._writes = not readonly
        self._is_nested = False

    async def start(self) -> None:
        """Begins it."""
        self._is_nested = self._session.is_in_transaction()
        await super().start()
        if self._writes and not self._is_nested and "READ WRITE" in (self._session.begin or ""):
            await self._session.execute("SET TRANSACTION READ WRITE")

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Ends it; if the connection was lost meanwhile, what ended it says so, and not that it cannot be ended."""
        if self._session.is_closed():
            if kind is None:
                raise DatabaseUnavailable("the connection to the database was lost before COMMIT")
            return
        try:
            await super().__aexit__(kind, error, traceback)
        except LOST as loss:
            if kind is None and self._writes and not self._is_nested:
                raise CommitUnknown(f"the connection to the database was lost during COMMIT: {loss}") from loss
            raise


class DatabaseConnection(Base):
    """A connection of which every statement is at READ COMMITTED, alone or in a transaction."""

    find_pooler: Callable[[], None]
    """Called when prepared statements turn out not to last."""
    pooled: bool = False
    """Whether a pooler is between this connection and the server."""
    begin: str | None = None
    """How a transaction begins where the session's defaults are not the service's; only behind a pooler."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Runs a statement, or several without arguments."""
        return await self._run(
            lambda: super(DatabaseConnection, self).execute(query, *args, timeout=timeout),
            begins=query.lstrip()[:5].upper() == "BEGIN",
        )

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        """Runs a statement and returns its rows."""
        return await self._run(lambda: super(DatabaseConnection, self).fetch(query, *args, **options))

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        """Runs a statement and returns its first row."""
        return await self._run(lambda: super(DatabaseConnection, self).fetchrow(query, *args, **options))

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        """Runs a statement and returns the first value of its first row."""
        return await self._run(lambda: super(DatabaseConnection, self).fetchval(query, *args, **options))

    async def copy_from_query(self, *args: Any, **options: Any) -> str:
        """Copies the rows of a query into `output`, whose own errors are not the database's."""
        return await self._copy(super().copy_from_query(*args, **options))

    async def copy_to_table(self, *args: Any, **options: Any) -> str:
        """Copies `source`, whose own errors are not the database's, into a table."""
        return await self._copy(super().copy_to_table(*args, **options))

    async def _copy(self, copying: Awaitable[str]) -> str:
        try:
            return await copying
        except Exception as error:
            if (loss := self._find_loss(error)) is not None:
                raise loss from error
            raise

    def transaction(
        self, *, isolation: Any = "read_committed", readonly: bool = False, deferrable: bool = False
    ) -> Any:
        """A transaction at the service's isolation level; nested, a savepoint."""
        if self.is_closed():
            raise DatabaseUnavailable("the connection is closed")
        return Transaction(self, isolation, readonly, deferrable)

    def _cancel_current_command(self, *waiters: Any) -> None:
        """Sends a cancel request, which goes on to its end whatever becomes of this connection.

        PgBouncer 1.18 exits when a client gives up a request that is being passed on (its issue 801), as asyncpg
        does with those of a connection that is terminated.
        """
        start(self._cancel(*waiters), name=CANCEL)  # type: ignore[attr-defined]

    async def _run(self, call: Callable[[], Awaitable[T]], *, begins: bool = False) -> T:
        """Runs one statement; outside a transaction it is repeated when it loses a conflict."""
        if self.is_closed():
            raise DatabaseUnavailable("the connection is closed")
        if begins or self.is_in_transaction():
            return await self._call(call)
        commit = self._call if self.begin is None else self._commit
        for attempt in range(1, CONFLICT_ATTEMPTS):
            try:
                return await commit(call)
            except CONFLICTS:
                await asyncio.sleep(random.uniform(0, min(0.002 * 2**attempt, CONFLICT_PAUSE_S)))
        return await commit(call)

    async def _commit(self, call: Callable[[], Awaitable[T]]) -> T:
        """Runs one statement in a transaction of its own, where that has to be said."""
        await self._call(lambda: super(DatabaseConnection, self).execute(self.begin or ""))
        try:
            result = await self._call(call)
            await self._call(lambda: super(DatabaseConnection, self).execute("COMMIT"))
        except (asyncpg.PostgresError, DatabaseTimeout):
            if not self.is_closed():
                await self._roll_back()
            raise
        return result

    async def _roll_back(self) -> None:
        """Ends the transaction; a connection on which that fails is closed, so that nobody gets it within one."""
        try:
            await self._call(lambda: super(DatabaseConnection, self).execute("ROLLBACK", timeout=ROLLBACK_S))
        except (asyncpg.PostgresError, DatabaseUnavailable):
            self.terminate()

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if (loss := self._find_loss(error)) is not None:
                raise loss from error
            if isinstance(error, TimeoutError):
                raise DatabaseTimeout("the database did not answer in time") from error
            if isinstance(error, LOST_STATEMENTS):
                self.find_pooler()
                self.terminate()
                raise DatabaseUnavailable(
                    f"prepared statements do not last ({error}): they are switched off"
                ) from error
            raise

    def _find_loss(self, error: Exception) -> DatabaseUnavailable | None:
        """The loss of the connection that an error means; other errors are not the database's absence.

        A connection that was told of its end while idle refuses statements before it is closed: asyncpg then waits for
        the rest of that message, and says that another operation is in progress.
        """
        if isinstance(error, asyncpg.ProtocolError | DatabaseUnavailable):
            return None
        if isinstance(error, asyncpg.InternalClientError):
            self.terminate()
        elif not isinstance(error, OSError | asyncpg.InterfaceError) or not self.is_closed():
            return None
        return DatabaseUnavailable(f"the connection to the database was lost: {error}")


async def finish_cancels(timeout: float) -> None:
    """Waits for the cancel requests that are under way."""
    sending = [task for task in asyncio.all_tasks() if task.get_name() == CANCEL]
    if sending:
        await asyncio.wait(sending, timeout=timeout)
