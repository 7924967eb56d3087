"""Processes of our own that compute for the service, so that its event loop does not have to."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any, Final

PRIORITY_DROP: Final = 10
LOWEST_PRIORITY: Final = 19


async def spawn_helper(module: str, *, limit: int = 2**16) -> Process:
    """Starts `python -m module` with pipes for input and output, and without the service's settings.

    `limit` is the longest line that is read from it, in bytes.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=PIPE,
        stdout=PIPE,
        limit=limit,
        env={name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")},
    )


async def compute_in_helper(module: str, question: Any, longest_s: float) -> Any:
    """The answer of `python -m module` to a question, both as JSON; a caller that is cancelled stops the computation.

    Raises:
        TimeoutError: It took longer than it may.
    """
    process = await spawn_helper(module)
    lower_priority(process)
    try:
        async with asyncio.timeout(longest_s):
            output, _ = await process.communicate(json.dumps(question).encode())
    finally:
        await end_process(process)
    return json.loads(output)


def lower_priority(process: Process) -> None:
    """Lets the service's own work go before that of a helper."""
    priority = min(os.getpriority(os.PRIO_PROCESS, 0) + PRIORITY_DROP, LOWEST_PRIORITY)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpriority(os.PRIO_PROCESS, process.pid, priority)


async def end_process(process: Process) -> None:
    """Kills a process that may have ended already, and waits for its end."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
