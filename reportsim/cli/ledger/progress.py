"""What the commands on ledgers share: the database, and how far they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from reportsim.cli.console import open_console
from reportsim.cli.database import with_migrated
from reportsim.cli.errors import CommandError
from reportsim.store.errors import OUTAGES, CommitUnknown
from reportsim.tasks import in_background

T = TypeVar("T")

REFRESH_S: Final = 0.1


def on_database(action: Callable[..., Awaitable[T]], *, count: int = 1, existing: bool = False) -> T:
    """Runs an action on connections to a database that is up to date; one that ends with an error changed nothing."""
    try:
        return with_migrated(action, count=count, existing=existing)
    except CommitUnknown as error:
        raise CommandError(f"{error}: see `reportsim ledger list` for whether it was done") from None
    except (*OUTAGES, OSError, asyncpg.PostgresError) as error:
        raise CommandError(f"nothing was changed: {str(error) or type(error).__name__}") from None


class Steps:
    """The steps of a command: one line each, with a bar that fills where the size is known."""

    def __init__(self, shown: Progress, size: int | None) -> None:
        """`size` is that of the first step, in bytes."""
        self._shown = shown
        self._size = size
        self._step: str | None = None
        self._lines: list[TaskID] = []

    def advance(self, step: str, size: int = 0) -> None:
        """Says which step it is, and how many bytes of it were just done."""
        if step != self._step:
            self.finish()
            self._lines.append(self._shown.add_task(step, total=None if self._lines else self._size))
            self._step = step
            self._shown.refresh()
        self._shown.advance(self._lines[-1], size)

    def finish(self) -> None:
        """The step is over."""
        if self._lines:
            self._shown.update(self._lines[-1], total=1, completed=1)


@contextlib.asynccontextmanager
async def steps(size: int | None = None) -> AsyncIterator[Steps]:
    """Shows steps on standard error while the block runs, if somebody watches; the loop draws them, no thread."""
    console = open_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    shown = Progress(
        *columns, TimeElapsedColumn(), console=console, auto_refresh=False, disable=not console.is_terminal
    )

    async def refresh() -> None:
        while True:
            shown.refresh()
            await asyncio.sleep(REFRESH_S)

    with shown:
        found = Steps(shown, size)
        async with in_background(refresh(), names=("progress",)):
            yield found
            found.finish()
