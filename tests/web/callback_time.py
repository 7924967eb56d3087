"""The CPU time of the event loop's callbacks."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

LONGEST_CALLBACK_S: Final = 0.02
ATTEMPTS: Final = 4


@contextlib.contextmanager
def measured_callbacks() -> Iterator[list[float]]:
    """Collects the seconds of CPU time that each callback of this thread's loop takes.

    The garbage collector waits: what it takes depends on all that the tests have made.
    """
    taken: list[float] = []
    run = asyncio.Handle._run

    def measure(handle: asyncio.Handle) -> None:
        before = time.thread_time()
        run(handle)
        taken.append(time.thread_time() - before)

    gc.collect()
    gc.disable()
    asyncio.Handle._run = measure  # type: ignore[method-assign, assignment]
    try:
        yield taken
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.enable()


async def without_a_stall(act: Callable[[], Awaitable[T]]) -> T:
    """Carries out an act that must have no long callback; returns its result."""
    with measured_callbacks() as taken:
        return await within_bound(taken, act)


async def within_bound(taken: list[float], act: Callable[[], Awaitable[T]]) -> T:
    """Carries out an act of which no callback may take long while they are measured; returns its result.

    It is repeated when one did: the code's own work is in every attempt, and what a busy machine adds is not.
    """
    longest = []
    for _ in range(ATTEMPTS):
        taken.clear()
        result = await act()
        longest.append(max(taken))
        if longest[-1] < LONGEST_CALLBACK_S:
            return result
    raise AssertionError(f"a callback took too long in each of {ATTEMPTS} attempts: {longest}")
