"""Background tasks: what ends unexpectedly ends the block that needs it."""

import ast
import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

import reportsim
from reportsim.store.batcher import Batcher, Overloaded
from reportsim.tasks import BackgroundTaskError, in_background, start, wait_for_end

PACKAGE = Path(reportsim.__file__).parent


async def fail() -> None:
    raise ZeroDivisionError


async def end() -> None:
    pass


async def last() -> None:
    """Lasts until it is cancelled; should nobody do that, the test ends all the same."""
    async with asyncio.timeout(20):
        await asyncio.Event().wait()


def bare_tasks(source: str) -> list[int]:
    """The lines that make a task."""
    makers = {"create_task", "ensure_future", "TaskGroup", "Task", "run_coroutine_threadsafe"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) in makers
    ]


def test_no_task_is_made_but_by_the_module_that_looks_after_them() -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := bare_tasks(path.read_text(encoding="utf-8")))
    }
    assert set(found) == {"tasks.py"}
    assert bare_tasks("asyncio.create_task(x())\nloop.create_task(x())\nasyncio.ensure_future(y)") == [1, 2, 3]


def test_no_cancellation_is_suppressed() -> None:
    """A caller that waits for a cancelled task like that loses its own cancellation."""
    found = [path for path in PACKAGE.rglob("*.py") if "suppress(asyncio.CancelledError" in path.read_text("utf-8")]
    assert found == []


@pytest.mark.parametrize("task", [fail, end])
async def test_a_task_that_ends_too_early_ends_its_block(task: object, caplog: pytest.LogCaptureFixture) -> None:
    cleaned = False
    with pytest.raises(BackgroundTaskError, match="fragile") as caught:  # noqa: PT012
        async with in_background(last(), task(), names=("solid", "fragile")):  # type: ignore[operator]
            try:
                await last()
            finally:
                await asyncio.sleep(0)
                cleaned = True
    assert cleaned
    assert isinstance(caught.value.__cause__, ZeroDivisionError if task is fail else type(None))
    assert "fragile has ended unexpectedly" in caplog.text
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


async def test_a_block_that_does_not_notice_raises_all_the_same() -> None:
    with pytest.raises(BackgroundTaskError):
        async with in_background(fail(), names=("fragile",)) as background:
            await asyncio.wait(background.tasks)
    with pytest.raises(BackgroundTaskError):  # noqa: PT012
        async with in_background(fail(), names=("fragile",)):
            with contextlib.suppress(asyncio.CancelledError):
                await last()


async def test_the_end_and_the_errors_of_a_block_are_its_own() -> None:
    async with in_background(last(), names=("solid",)) as background:
        pass
    assert background.tasks[0].cancelled()
    with pytest.raises(KeyError):
        async with in_background(last(), names=("solid",)):
            raise KeyError
    with pytest.raises(KeyError):  # noqa: PT012
        async with in_background(fail(), names=("fragile",)):
            try:
                await last()
            finally:
                raise KeyError


async def test_a_block_that_is_cancelled_from_outside_is_cancelled() -> None:
    async def block() -> None:
        async with in_background(last(), names=("solid",)):
            await last()

    task = asyncio.get_running_loop().create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_nobody_waits_for_is_logged_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    await asyncio.wait([start(fail(), name="lonely")])
    await asyncio.wait([start(fail(), name="handled", handled=(ZeroDivisionError,))])
    found = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in found] == ["lonely has failed"]


async def test_nobody_waits_for_a_batcher_whose_task_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def flush(items: object) -> list[int]:
        return [1]

    batcher: Batcher[int, int] = Batcher(flush, name="test")

    def burst() -> object:
        raise MemoryError

    monkeypatch.setattr(batcher, "_next_batch", burst)
    with pytest.raises(BackgroundTaskError):  # noqa: PT012
        async with batcher.running():
            waiting = [asyncio.get_running_loop().create_task(batcher.submit(number)) for number in range(3)]
            await last()
    for task in waiting:
        with pytest.raises((ConnectionError, Overloaded)):
            await task
    with pytest.raises(Overloaded):
        await batcher.submit(4)


async def test_the_end_of_a_cancelled_task_is_no_error_and_another_error_is() -> None:
    cancelled = start(last(), name="cancelled")
    cancelled.cancel()
    await wait_for_end(cancelled)
    assert cancelled.cancelled()
    with pytest.raises(ZeroDivisionError):
        await wait_for_end(start(fail(), name="failing", handled=(ZeroDivisionError,)))


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_while_a_cancelled_task_ends_is_not_lost(turns: int) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def end_slowly() -> None:
        try:
            await last()
        finally:
            await asyncio.sleep(0)

    async def leave() -> None:
        tasks.append(task := start(end_slowly(), name="slow"))
        await asyncio.sleep(0)
        task.cancel()
        await wait_for_end(task)

    leaving = asyncio.ensure_future(leave())
    for _ in range(turns):
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    for task in tasks:
        if turns == 3:
            assert task.done()
        task.cancel()
