"""Group commit: idle it writes at once, busy it gathers, and nobody suffers for a neighbour."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from reportsim.store import batcher as module
from reportsim.store.batcher import Batcher, Overloaded
from reportsim.store.errors import DatabaseUnavailable
from tests.engine.jobs import until


class Press:
    """A flush that the test ends: each statement waits for its own future, and doubles what it was given."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self._ends: list[asyncio.Future[None]] = []

    async def flush(self, items: Sequence[int]) -> list[int]:
        self.statements.append(list(items))
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        await end
        return [item * 2 for item in items]

    def finish(self, error: Exception | None = None) -> None:
        """Ends the statement that has been running longest."""
        end = self._ends.pop(0)
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)


async def settle() -> None:
    """Lets everything run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


def submit(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(batcher.submit(item)) for item in items]


@pytest.fixture
def press() -> Press:
    return Press()


@pytest.fixture
async def batcher(press: Press) -> AsyncIterator[Batcher[int, int]]:
    made: Batcher[int, int] = Batcher(press.flush, name="test", largest=4, waiting=10)
    async with made.running():
        yield made


async def test_idle_it_writes_at_once(batcher: Batcher[int, int], press: Press) -> None:
    [task] = submit(batcher, 1)
    await settle()
    assert press.statements == [[1]]
    press.finish()
    assert await task == 2


async def test_what_comes_while_a_statement_runs_shares_the_next_one(batcher: Batcher[int, int], press: Press) -> None:
    first = submit(batcher, 1)
    await settle()
    others = submit(batcher, 2, 3, 4)
    await settle()
    assert press.statements == [[1]]
    press.finish()
    await settle()
    assert press.statements == [[1], [2, 3, 4]]
    press.finish()
    assert await asyncio.gather(*first, *others) == [2, 4, 6, 8]


async def test_with_a_pause_what_comes_within_it_shares_a_statement_and_the_first_does_not_wait(press: Press) -> None:
    async def has_begun_another() -> bool:
        return len(press.statements) == 2

    async with Batcher(press.flush, name="test", pause=0.5).running() as batcher:
        first = submit(batcher, 1)
        await settle()
        assert press.statements == [[1]]
        press.finish()
        await settle()
        others = [*submit(batcher, 2), *submit(batcher, 3)]
        await settle()
        assert press.statements == [[1]]
        await until(has_begun_another)
        press.finish()
        assert await asyncio.gather(*first, *others) == [2, 4, 6]
    assert press.statements == [[1], [2, 3]]


async def test_a_statement_is_no_longer_than_allowed_and_in_order(batcher: Batcher[int, int], press: Press) -> None:
    tasks = submit(batcher, *range(10))
    for _ in range(3):
        await settle()
        press.finish()
    assert await asyncio.gather(*tasks) == [item * 2 for item in range(10)]
    assert press.statements == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_one_more_than_may_wait_is_refused_and_writes_nothing(batcher: Batcher[int, int], press: Press) -> None:
    running = submit(batcher, 0)
    await settle()
    waiting = submit(batcher, *range(1, 11))
    await settle()
    with pytest.raises(Overloaded, match="test"):
        await batcher.submit(99)
    for _ in range(4):
        press.finish()
        await settle()
    assert await asyncio.gather(*running, *waiting) == [item * 2 for item in range(11)]
    assert 99 not in [item for statement in press.statements for item in statement]
    again = submit(batcher, 5)
    await settle()
    press.finish()
    assert await again[0] == 10


async def test_a_failed_statement_fails_everyone_in_it_and_nobody_else(
    batcher: Batcher[int, int], press: Press
) -> None:
    first = submit(batcher, 1)
    await settle()
    second = submit(batcher, 2, 3)
    await settle()
    press.finish(ConnectionResetError("gone"))
    await settle()
    press.finish()
    with pytest.raises(ConnectionResetError, match="gone"):
        await first[0]
    assert await asyncio.gather(*second) == [4, 6]


async def test_a_statement_that_hangs_fails_all_who_wait_so_that_they_do_not_hang_in_turn(
    batcher: Batcher[int, int], press: Press
) -> None:
    first = submit(batcher, 0)
    await settle()
    others = submit(batcher, *range(1, 11))
    await settle()
    press.finish(TimeoutError())
    await settle()
    results = await asyncio.gather(*first, *others, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 11
    assert press.statements == [[0]]
    later = submit(batcher, 20)
    await settle()
    press.finish()
    assert await later[0] == 40


class TestPoison:
    async def test_a_bad_row_fails_alone(self) -> None:
        statements: list[list[int]] = []

        async def flush(items: Sequence[int]) -> list[int]:
            statements.append(list(items))
            await asyncio.sleep(0)
            if 3 in items:
                raise asyncpg.DataError("bad row")
            return list(items)

        async with Batcher(flush, name="test").running() as batcher:
            results = await asyncio.gather(*submit(batcher, 1, 2, 3, 4), return_exceptions=True)
            assert statements == [[1, 2, 3, 4], [1], [2], [3], [4]]
            assert results[:2] + results[3:] == [1, 2, 4]
            assert isinstance(results[2], asyncpg.DataError)
            assert await batcher.submit(5) == 5

    async def test_other_errors_are_not_tried_again_row_by_row(self) -> None:
        statements = 0

        async def flush(items: Sequence[int]) -> list[int]:
            nonlocal statements
            statements += 1
            raise asyncpg.ConnectionDoesNotExistError("gone")

        async with Batcher(flush, name="test").running() as batcher:
            results = await asyncio.gather(*submit(batcher, 1, 2, 3), return_exceptions=True)
        assert [type(result) for result in results] == [asyncpg.ConnectionDoesNotExistError] * 3
        assert statements == 1


class TestLeaving:
    async def test_a_caller_who_leaves_before_the_statement_is_dropped(
        self, batcher: Batcher[int, int], press: Press
    ) -> None:
        first = submit(batcher, 1)
        await settle()
        gone, stays = submit(batcher, 2, 3)
        await settle()
        gone.cancel()
        press.finish()
        await settle()
        assert press.statements == [[1], [3]]
        press.finish()
        assert await asyncio.gather(*first, stays) == [2, 6]

    async def test_a_caller_who_leaves_during_the_statement_hurts_nobody(
        self, batcher: Batcher[int, int], press: Press
    ) -> None:
        gone, stays = submit(batcher, 1, 2)
        await settle()
        gone.cancel()
        await settle()
        later = submit(batcher, 3)
        press.finish()
        assert await stays == 4
        await settle()
        press.finish()
        assert await later[0] == 6
        assert press.statements == [[1, 2], [3]]

    async def test_when_all_have_left_no_statement_is_made(self, batcher: Batcher[int, int], press: Press) -> None:
        first = submit(batcher, 1)
        await settle()
        leaving = submit(batcher, 2, 3)
        await settle()
        for task in leaving:
            task.cancel()
        press.finish()
        await asyncio.gather(*first)
        await settle()
        assert press.statements == [[1]]

    async def test_those_who_left_make_room_for_others(self, batcher: Batcher[int, int], press: Press) -> None:
        submit(batcher, 0)
        await settle()
        leaving = submit(batcher, *range(1, 11))
        await settle()
        for task in leaving:
            task.cancel()
        press.finish()
        await settle()
        stays = submit(batcher, *range(20, 24))
        await settle()
        press.finish()
        assert await asyncio.gather(*stays) == [40, 42, 44, 46]


class TestEnding:
    async def test_what_waits_is_still_written_and_nothing_new_is_taken(self, press: Press) -> None:
        batcher: Batcher[int, int] = Batcher(press.flush, name="test")

        async def live() -> None:
            async with batcher.running():
                tasks.extend(submit(batcher, 1))
                await settle()
                tasks.extend(submit(batcher, 2, 3))
                await settle()

        tasks: list[asyncio.Task[int]] = []
        life = asyncio.create_task(live())
        await settle()
        await settle()
        await settle()
        with pytest.raises(Overloaded):
            await batcher.submit(4)
        assert not life.done()
        press.finish()
        await settle()
        press.finish()
        await life
        assert await asyncio.gather(*tasks) == [2, 4, 6]
        with pytest.raises(Overloaded):
            await batcher.submit(5)

    async def test_an_idle_one_ends_at_once(self, press: Press) -> None:
        async with asyncio.timeout(5):
            async with Batcher(press.flush, name="test").running():
                pass
            async with Batcher(press.flush, name="test").running():
                await settle()

    async def test_a_statement_that_hangs_is_not_waited_for_beyond_the_grace_time(
        self, press: Press, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LAST_WORD_S", 0.01)
        async with asyncio.timeout(5):
            async with Batcher(press.flush, name="test", largest=1).running(lambda: 0) as batcher:
                tasks = submit(batcher, 1, 2)
                await settle()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [DatabaseUnavailable] * 2

    async def test_stopped_in_the_middle_it_leaves_nobody_waiting(self, press: Press) -> None:
        batcher: Batcher[int, int] = Batcher(press.flush, name="test", largest=2)

        async def live() -> None:
            async with batcher.running():
                tasks.extend(submit(batcher, 1, 2, 3, 4))
                await settle()

        tasks: list[asyncio.Task[int]] = []
        life = asyncio.create_task(live())
        await settle()
        await settle()
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
        await settle()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert [type(result) for result in results] == [DatabaseUnavailable] * 4

    async def test_stopped_while_it_looks_for_the_bad_row_it_leaves_nobody_waiting(self) -> None:
        hang = asyncio.Event()

        async def flush(items: Sequence[int]) -> list[int]:
            if len(items) > 1:
                raise asyncpg.DataError("bad row")
            await hang.wait()
            return list(items)

        async def live() -> None:
            async with Batcher(flush, name="test").running() as batcher:
                tasks.extend(submit(batcher, 1, 2, 3))
                await settle()

        tasks: list[asyncio.Task[int]] = []
        life = asyncio.create_task(live())
        await settle()
        await settle()
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert [type(result) for result in results] == [DatabaseUnavailable] * 3


async def test_a_statement_with_too_few_results_fails_its_callers_and_not_the_batcher() -> None:
    async def flush(items: Sequence[int]) -> list[int]:
        return [] if 0 in items else list(items)

    async with asyncio.timeout(5):
        async with Batcher(flush, name="test").running() as batcher:
            with pytest.raises(ValueError, match="shorter"):
                await batcher.submit(0)
            assert await batcher.submit(1) == 1
