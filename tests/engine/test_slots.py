"""Worker slots: first come, first served; none is lost and none is made, whoever leaves when."""

import asyncio
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.engine.worker.slots import Slots


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def queue(slots: Slots, count: int) -> tuple[list[asyncio.Task[None]], list[int]]:
    """Tasks that ask for a slot in turn, and the order in which they get one."""
    order: list[int] = []

    async def take(number: int) -> None:
        await slots.acquire()
        order.append(number)

    return [asyncio.create_task(take(number)) for number in range(count)], order


async def cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_free_slots_are_taken_without_waiting() -> None:
    slots = Slots(2)
    assert (slots.width, slots.busy) == (2, 0)
    async with asyncio.timeout(1):
        await slots.acquire()
        await slots.acquire()
    assert slots.busy == 2


async def test_those_who_wait_are_served_in_their_order() -> None:
    slots = Slots(1)
    await slots.acquire()
    tasks, order = queue(slots, 4)
    await settle()
    assert order == []
    for served in range(1, 5):
        slots.release()
        await settle()
        assert order == list(range(served))
        assert slots.busy == 1
    await asyncio.gather(*tasks)


async def test_a_slot_is_handed_over_and_nobody_slips_in_between() -> None:
    slots = Slots(1)
    await slots.acquire()
    tasks, order = queue(slots, 1)
    await settle()
    slots.release()
    # The one who waited has not run yet, and the slot is no longer free.
    assert len(slots.take_free()) == 0
    late, late_order = queue(slots, 1)
    await settle()
    assert (order, late_order) == ([0], [])
    slots.release()
    await asyncio.gather(*tasks, *late)


async def test_taking_what_is_free_leaves_nothing_over() -> None:
    slots = Slots(3)
    await slots.acquire()
    taken = [*slots.take_free()]
    assert len(taken) == 2
    assert slots.busy == 3
    assert len(slots.take_free()) == 0
    slots.give_back(taken)
    assert slots.busy == 1


async def test_nobody_takes_what_is_free_while_others_wait() -> None:
    slots = Slots(2)
    assert len(slots.take_free()) == 2
    tasks, order = queue(slots, 1)
    await settle()
    assert len(slots.take_free()) == 0
    slots.release()
    slots.release()
    await settle()
    assert order == [0]
    assert len(slots.take_free()) == 1
    await asyncio.gather(*tasks)


async def test_many_slots_at_once_go_to_as_many_as_wait() -> None:
    slots = Slots(4)
    assert len(slots.take_free()) == 4
    tasks, order = queue(slots, 2)
    await settle()
    slots.give_back([0.0] * 4)
    await settle()
    assert order == [0, 1]
    assert slots.busy == 2
    await asyncio.gather(*tasks)


class TestLeaving:
    async def test_one_who_leaves_the_queue_is_passed_over(self) -> None:
        slots = Slots(1)
        await slots.acquire()
        tasks, order = queue(slots, 3)
        await settle()
        await cancel(tasks[0])
        slots.release()
        await settle()
        assert order == [1]
        slots.release()
        await asyncio.gather(*tasks[1:])
        assert slots.busy == 1

    async def test_one_who_leaves_with_a_slot_in_hand_gives_it_back(self) -> None:
        slots = Slots(1)
        await slots.acquire()
        tasks, order = queue(slots, 2)
        await settle()
        slots.release()
        await cancel(tasks[0])
        await settle()
        assert order == [1]
        slots.release()
        assert slots.busy == 0

    @pytest.mark.parametrize("others", [0, 1])
    async def test_one_who_leaves_just_as_a_slot_is_given_back_leaves_quietly(self, others: int) -> None:
        """A shutdown cancels the claimer while a report ends: in one turn of the loop."""
        slots = Slots(1)
        await slots.acquire()
        tasks, order = queue(slots, 1 + others)
        await settle()
        tasks[0].cancel()
        slots.release()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await settle()
        assert order == [1] * others
        assert slots.busy == others

    async def test_when_all_have_left_the_slot_is_free(self) -> None:
        slots = Slots(1)
        await slots.acquire()
        tasks, _ = queue(slots, 3)
        await settle()
        await cancel(*tasks)
        slots.release()
        assert slots.busy == 0
        assert len(slots.take_free()) == 1


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("acrtTy"), st.integers(0, 9)), max_size=40))
def test_slots_are_never_lost_and_never_made(width: int, steps: list[tuple[str, int]]) -> None:
    """Whatever is done in whatever order: ask, cancel, release, take all, or let the loop turn."""

    async def play() -> None:
        slots = Slots(width)
        held = 0
        asking: list[asyncio.Task[None]] = []

        async def ask() -> None:
            nonlocal held
            await slots.acquire()
            held += 1

        for step, number in steps:
            if step == "a":
                asking.append(asyncio.create_task(ask()))
            elif step == "c" and asking:
                asking[number % len(asking)].cancel()
            elif step == "r" and held:
                held -= 1
                slots.release()
            elif step == "t":
                held += len(slots.take_free())
            elif step == "y":
                await asyncio.sleep(0)
            assert 0 <= held <= width
            assert held <= slots.busy <= width
        await settle()
        # With slots given back for as long as somebody asks, everyone who did not leave is served.
        while any(not task.done() for task in asking):
            assert held > 0
            held -= 1
            slots.release()
            await settle()
        assert all(task.cancelled() or task.exception() is None for task in asking)
        assert slots.busy == held

    asyncio.run(play())


async def test_each_slot_is_known_to_have_been_free_since_it_was_given_back() -> None:
    slots = Slots(2)
    taken = [await slots.acquire(), await slots.acquire()]
    assert taken == sorted(taken)
    slots.give_back([2.0, 3.0])
    assert await slots.acquire() == 2.0
    assert slots.take_free() == [3.0]
    waiting = asyncio.create_task(slots.acquire())
    await settle()
    before = time.monotonic()
    slots.release()
    assert before <= await waiting <= time.monotonic()
