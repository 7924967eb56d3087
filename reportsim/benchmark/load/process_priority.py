"""The priority of processes that help the service: what a page waits for must not slow down requests."""

import contextlib
import os
from asyncio.subprocess import Process
from typing import Final

NICER: Final = 10
NICEST: Final = 19


def lower_priority(process: Process) -> None:
    """Lets the service's own work go before that of a helper."""
    priority = min(os.getpriority(os.PRIO_PROCESS, 0) + NICER, NICEST)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpriority(os.PRIO_PROCESS, process.pid, priority)
