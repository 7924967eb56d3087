"""A service whose event loop is watched: `python -m benchmarks.parts.watched_service FILE`.

A ticker appends to FILE what kept the loop longer than a millisecond: CPU milliseconds of the loop's thread since the
last tick, which bound every single callback from above, and how late the tick was, which includes waits for the disk
and the time that the process was not running at all.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TextIO

from reportsim.__main__ import main

TICK_S: Final = 0.001


async def tick(file: TextIO) -> None:
    """Notes what kept the loop."""
    while True:
        used, due = time.thread_time(), time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        held, late = 1000 * (time.thread_time() - used), 1000 * (time.perf_counter() - due)
        if max(held, late) > 1:
            file.write(f"{held:.3f} {late:.3f}\n")
            file.flush()


def watch(file: TextIO) -> None:
    """Has every runner of an event loop run a ticker beside what it runs."""
    run = asyncio.Runner.run

    async def watched(coro: Coroutine[Any, Any, Any]) -> Any:
        ticker = asyncio.create_task(tick(file))
        try:
            return await coro
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker

    def run_watched(runner: asyncio.Runner, coro: Coroutine[Any, Any, Any], **options: Any) -> Any:
        return run(runner, watched(coro), **options)

    asyncio.Runner.run = run_watched  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w") as file:
        watch(file)
        sys.exit(main(["serve"]))
