"""The CPU time of the event loop's callbacks."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator


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
