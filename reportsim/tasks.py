"""Background tasks: nothing else in the house makes one, so that none ends without somebody's notice.

What serves for as long as a block lasts is run by `in_background`: its end ends the block. One piece of work is started
by `start`: its failure is logged unless its caller handles it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

# The loop keeps only weak references to its tasks.
_started: Final[set["asyncio.Task[Any]"]] = set()


class BackgroundTaskError(Exception):
    """A task that had to run for as long as its block has ended before."""


def start(
    coroutine: Coroutine[Any, Any, T], *, name: str, handled: tuple[type[BaseException], ...] = ()
) -> "asyncio.Task[T]":
    """Starts one piece of work; its failure is logged, unless it is one of those that the caller handles."""

    def check(task: "asyncio.Task[T]") -> None:
        _started.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, handled):
            log.error("%s has failed", name, exc_info=error)

    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _started.add(task)
    task.add_done_callback(check)
    return task


async def wait_for_end(task: "asyncio.Task[Any]") -> None:
    """Waits until a task has ended, be it cancelled, and raises its error.

    A cancellation of the caller ends the task, too, and is raised then: it is not taken for the task's own.
    """
    for outcome in await asyncio.gather(task, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


class Background:
    """The tasks of one block, and whether they may end."""

    def __init__(self, tasks: "list[asyncio.Task[None]]", on_end: Callable[[], object]) -> None:
        """Calls `on_end` when one of them ends too early."""
        self.tasks = tasks
        self.ended: asyncio.Task[None] | None = None
        self._may_end = False
        self._on_end = on_end
        for task in tasks:
            task.add_done_callback(self._check)

    def let_end(self) -> None:
        """Says that the tasks may end from now on."""
        self._may_end = True

    def _check(self, task: "asyncio.Task[None]") -> None:
        if self._may_end or self.ended is not None:
            return
        self.ended = task
        error = None if task.cancelled() else task.exception()
        log.critical("the background task %s has ended unexpectedly", task.get_name(), exc_info=error)
        self._on_end()

    def error(self) -> BackgroundTaskError:
        """The error of the block whose task has ended too early."""
        assert self.ended is not None
        error = BackgroundTaskError(f"the background task {self.ended.get_name()} has ended unexpectedly")
        error.__cause__ = None if self.ended.cancelled() else self.ended.exception()
        return error


@contextlib.asynccontextmanager
async def in_background(
    *coroutines: Coroutine[Any, Any, None], names: tuple[str, ...], on_end: Callable[[], object] | None = None
) -> AsyncIterator[Background]:
    """Runs tasks for as long as the block lasts, and cancels them at its end.

    One that ends before cancels the block, which then raises `BackgroundTaskError`; or `on_end` is called.
    """
    host = asyncio.current_task()
    assert host is not None
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(coroutine, name=name) for coroutine, name in zip(coroutines, names, strict=True)]
    background = Background(tasks, on_end or host.cancel)
    try:
        try:
            yield background
        finally:
            background.let_end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        if background.ended is None or on_end is not None or host.uncancel() > 0:
            raise
        raise background.error() from background.error().__cause__
    except BaseException:
        if background.ended is not None and on_end is None:
            host.uncancel()
        raise
    if background.ended is not None and on_end is None:
        host.uncancel()
        raise background.error()
