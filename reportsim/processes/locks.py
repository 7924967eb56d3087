"""A lock between processes, which the kernel releases when its holder dies."""

import fcntl
import os
import time
from typing import Final

WAIT_S: Final = 0.005
LOCK: Final = fcntl.LOCK_EX | fcntl.LOCK_NB


class ProcessLock:
    """Locks on single bytes of a file (POSIX record locks), one for each number.

    A lock is usually held for microseconds. A holder that was stopped in between must not stop the others as well:
    after some time they go on without the lock.
    """

    def __init__(self, file: int, wait_s: float = WAIT_S) -> None:
        """Takes an open file; a process must not open it a second time, since closing it would release its locks."""
        self._file = file
        self._wait_s = wait_s

    def acquire(self, number: int) -> bool:
        """Takes the lock of a number; False when its holder kept it for too long."""
        deadline = 0.0
        while True:
            try:
                fcntl.lockf(self._file, LOCK, 1, number)
                return True
            except OSError:
                now = time.monotonic()
                deadline = deadline or now + self._wait_s
                if now > deadline:
                    return False
                os.sched_yield()

    def release(self, number: int) -> None:
        """Gives the lock of a number back."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
