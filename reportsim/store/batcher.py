"""Group commit: concurrent callers share the next statement."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg

from reportsim.store.errors import DatabaseUnavailable
from reportsim.tasks import in_background

# What the last statement is given when there is no other bound.
LEAVE_S: Final = 5.0
# And what it is given however little time is left.
LAST_WORD_S: Final = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")

# Errors that one row can cause: its neighbours are tried again without it. A deadlock takes several rows.
ROW_ERRORS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
    asyncpg.TransactionRollbackError,
)


class Overloaded(Exception):
    """More callers wait than the bound allows; nothing was written."""


class Batcher(Generic[Item, Result]):
    """Gathers items while a statement runs and writes them with the next one.

    Idle, an item is flushed at once, without a timer. The flushing task belongs to the batcher, so that a caller who
    leaves takes nobody along: before the flush its item is dropped, after it the row stands.

    Args:
        flush: writes many items in one statement and returns one result per item, in order.
        largest: items per statement.
        pause: seconds after a statement in which more is gathered for the next one; the first is not delayed.
        waiting: items that may wait; one more raises `Overloaded`.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        name: str,
        largest: int = 200,
        pause: float = 0.0,
        waiting: int = 10_000,
    ) -> None:
        """Makes a batcher that works once its `running` context is entered."""
        self.name = name
        self._flush = flush
        self._largest = largest
        self._pause = pause
        self._bound = waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    @contextlib.asynccontextmanager
    async def running(self, grace: Callable[[], float] = lambda: LEAVE_S) -> AsyncIterator["Batcher[Item, Result]"]:
        """Runs the flushing task; on leaving, what waits is still written, if `grace` seconds are enough."""
        async with in_background(self._run(), names=(f"batcher-{self.name}",)) as background:
            try:
                yield self
            finally:
                background.let_end()
                self._closing = True
                self._wake.set()
                await asyncio.wait(background.tasks, timeout=max(grace(), LAST_WORD_S))

    async def submit(self, item: Item) -> Result:
        """Writes one item together with whatever else is waiting.

        Raises:
            Overloaded: too many are waiting.
            Exception: whatever the statement raised.
        """
        return await self.put(item)

    def put(self, item: Item) -> "asyncio.Future[Result]":
        """Has one item written as `submit` does; raises `Overloaded`, and the rest is in the future."""
        if len(self._waiting) >= self._bound or self._closing:
            raise Overloaded(self.name)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wake.set()
        return future

    async def _run(self) -> None:
        try:
            while not (self._closing and not self._waiting):
                await self._wake.wait()
                self._wake.clear()
                while batch := self._next_batch():
                    await self._write(batch)
                    if self._pause and not self._closing:
                        await asyncio.sleep(self._pause)
        finally:
            # However it ends, nobody waits for it any more.
            self._closing = True
            fail(self._waiting, self._stopped())

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._largest:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _write(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except ROW_ERRORS as error:
            if len(batch) == 1:
                fail(batch, error)
            else:
                await self._write_singly(batch)
        except TimeoutError as error:
            # The database hangs: those who wait would hang too, batch after batch.
            fail(batch, error)
            fail(self._waiting, error)
        except Exception as error:
            fail(batch, error)
        except asyncio.CancelledError:
            fail(batch, self._stopped())
            raise

    async def _write_singly(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            for entry in batch:
                await self._write([entry])
        finally:
            fail(batch, self._stopped())

    def _stopped(self) -> Exception:
        return DatabaseUnavailable(f"{self.name} was stopped")


def fail(batch: Iterable[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
    """Hands the error to everyone who still waits for this batch."""
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
