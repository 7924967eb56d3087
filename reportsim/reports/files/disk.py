"""Writing to a disk that may be full."""

import errno
import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from reportsim.core.problems import Problem

log = logging.getLogger(__name__)
T = TypeVar("T")
# The errors of a file system without space, or of a user without quota.
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
LOG_EVERY_S: Final = 60.0


class Disk:
    """Writes to a disk that may be full: the oldest reports are deleted until there is room for the newest."""

    def __init__(self, make_room: Callable[[], bool] = lambda: False) -> None:
        """Makes room by a function that deletes the oldest report, and returns whether there was one."""
        self._make_room = make_room
        self._logged_at = float("-inf")
        self.failed = False

    def write(self, change: Callable[[], T]) -> T:
        """Makes a change to the disk, and repeats it while it needs room that can be made.

        Raises:
            Problem: `report-failed`: a full or broken disk is not waited for, unlike an unavailable database.
        """
        while True:
            try:
                done = change()
            except OSError as error:
                if error.errno in NO_ROOM and self._make_room():
                    self._log(logging.WARNING, "the disk of the report files is full: the oldest are deleted")
                    continue
                self.failed = True
                self._log(logging.ERROR, f"a report file cannot be written: {error}")
                raise Problem("report-failed", "The report file could not be written.") from error
            self.failed = False
            return done

    def _log(self, level: int, text: str) -> None:
        if time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.log(level, text)
