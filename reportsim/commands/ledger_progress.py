"""How far a long command is, on standard error and only where somebody watches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

REFRESH_S: Final = 0.1


class Steps:
    """The steps of a command: one line each, with a bar where the size is known."""

    def __init__(self, shown: Progress, size: int | None = None) -> None:
        """`size` is that of the first step, in bytes."""
        self._shown = shown
        self._size = size
        self._step: str | None = None
        self._line = shown.add_task("", start=False, visible=False)

    def advance(self, step: str, size: int = 0) -> None:
        """Says which step it is, and how many bytes of it were just done."""
        if step != self._step:
            if self._step is not None:
                self._shown.update(self._line, total=1, completed=1)
            total = self._size if self._step is None else None
            self._line = self._shown.add_task(step, total=total)
            self._step = step
        self._shown.advance(self._line, size)


@contextlib.asynccontextmanager
async def steps(size: int | None = None) -> AsyncIterator[Steps]:
    """Shows steps while the block runs; drawn by the loop, not by a thread."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    shown = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)

    async def refresh() -> None:
        while True:
            shown.refresh()
            await asyncio.sleep(REFRESH_S)

    with shown:
        drawing = asyncio.create_task(refresh())
        try:
            yield Steps(shown, size)
        finally:
            drawing.cancel()
