"""The folder of report files: written under a temporary name, renamed when whole, never synced.

A file that is lost can be made again from the same snapshot, byte for byte, so durability would be paid for nothing.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.core.problems import Problem

NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.csv", re.ASCII)


@contextlib.contextmanager
def disk() -> Iterator[None]:
    """Makes a full or broken disk fail the report: unlike an absent database, it is not waited for."""
    try:
        yield
    except OSError as error:
        raise Problem("report-failed", "The report file could not be written.") from error


class Draft:
    """A file being written: counts and hashes what passes through."""

    def __init__(self, handle: BinaryIO) -> None:
        """Wraps an open file."""
        self._handle = handle
        self._hash = hashlib.sha256()
        self.bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Appends a chunk; a coroutine function, because then COPY uses no thread."""
        with disk():
            self._handle.write(chunk)
        self._hash.update(chunk)
        self.bytes += len(chunk)

    @property
    def sha256(self) -> str:
        """The hash of everything so far, in hex."""
        return self._hash.hexdigest()


class ReportFiles:
    """The report files on this replica's disk."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder and removes what a crash left half written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        for leftover in folder.glob("*.part"):
            leftover.unlink(missing_ok=True)

    def path(self, request_id: UUID) -> Path:
        """Where the file of a request is, if it is there."""
        return self._folder / f"{request_id}.csv"

    @contextlib.contextmanager
    def draft(self, request_id: UUID, writer: str) -> Iterator[Draft]:
        """A file that appears whole when the block ends well, and not at all otherwise.

        `writer` tells two executions apart that write the same report at once.
        """
        part = self._folder / f"{request_id}.{writer}.part"
        with disk():
            handle = part.open("wb", buffering=1 << 20)
        try:
            yield Draft(handle)
            with disk():
                handle.close()
                part.replace(self.path(request_id))
        finally:
            with contextlib.suppress(OSError):
                handle.close()
            part.unlink(missing_ok=True)


def parse_name(name: str) -> UUID | None:
    """The request that a file name belongs to; None for every other name, so that no path is made of it."""
    match = NAME.fullmatch(name)
    return UUID(match[1]) if match else None
