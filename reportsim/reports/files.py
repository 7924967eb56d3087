"""The folder of report files: written under a temporary name, renamed when whole, never synced.

A file that is lost can be made again from the same snapshot, byte for byte, so durability would be paid for nothing.
"""

import contextlib
import hashlib
import re
import secrets
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.core.problems import Problem

if sys.platform != "win32":
    import fcntl

NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.csv", re.ASCII)
CELL: Final = re.compile(r'("(?:[^"]|"")*"|[^,\n]*)[,\n]')


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
        self._last = b""
        self.bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Appends a chunk; a coroutine function, because then COPY uses no thread."""
        with disk():
            self._handle.write(chunk)
        self._hash.update(chunk)
        self._last = chunk
        self.bytes += len(chunk)

    def last_record(self) -> list[str]:
        """The cells of the last line written; COPY hands over whole lines."""
        start, quotes = len(self._last), 0
        while start:
            end, start = start, self._last.rfind(b"\n", 0, start - 1) + 1
            quotes += self._last.count(b'"', start, end)
            # A line end with an odd number of quotes after it stands within a cell.
            if quotes % 2 == 0:
                break
        cells: list[str] = CELL.findall(self._last[start:].decode())
        return [cell[1:-1].replace('""', '"') if cell.startswith('"') else cell for cell in cells]

    @property
    def sha256(self) -> str:
        """The hash of everything so far, in hex."""
        return self._hash.hexdigest()


class ReportFiles:
    """The report files on this replica's disk."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Makes the folder, removes what a crash left half written, and counts the rest.

        Above `most_bytes` the oldest files go: ids are ordered by time, so names are too. Other processes may be at
        work in the same folder: what they are writing is left alone.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._most = most_bytes
        self._sizes: OrderedDict[UUID, int] = OrderedDict()
        self._total = 0
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):
                if (request_id := parse_name(path.name)) is not None:
                    self._keep(request_id, path.stat().st_size)
                elif path.suffix == ".part":
                    remove_abandoned(path)

    def path(self, request_id: UUID) -> Path:
        """Where the file of a request is, if it is there."""
        return self._folder / f"{request_id}.csv"

    @contextlib.contextmanager
    def draft(self, request_id: UUID, writer: str) -> Iterator[Draft]:
        """A file that appears whole when the block ends well, and not at all otherwise.

        `writer` tells two executions apart that write the same report at once; what is random does so for other
        processes on the same disk.
        """
        part = self._folder / f"{request_id}.{writer}.{secrets.token_hex(4)}.part"
        with disk():
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = part.open("wb", buffering=1 << 20)
        lock(handle)
        draft = Draft(handle)
        try:
            yield draft
            with disk():
                handle.flush()
                part.replace(self.path(request_id))
            self._keep(request_id, draft.bytes)
        finally:
            with contextlib.suppress(OSError):
                handle.close()
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def remove(self, request_ids: Iterable[UUID]) -> None:
        """Deletes files, as far as they are here."""
        for request_id in request_ids:
            self._total -= self._sizes.pop(request_id, 0)
            with contextlib.suppress(OSError):
                self.path(request_id).unlink(missing_ok=True)

    def _keep(self, request_id: UUID, size: int) -> None:
        self._total += size - self._sizes.pop(request_id, 0)
        self._sizes[request_id] = size
        while self._total > self._most and len(self._sizes) > 1:
            self.remove([next(iter(self._sizes))])


def lock(handle: BinaryIO) -> bool:
    """Takes a file as long as it is open; False when somebody else has it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def remove_abandoned(part: Path) -> None:
    """Removes a half-written file, unless its writer lives."""
    with part.open("rb") as handle:
        if lock(handle):
            part.unlink()


def parse_name(name: str) -> UUID | None:
    """The request that a file name belongs to; None for every other name, so that no path is made of it."""
    match = NAME.fullmatch(name)
    return UUID(match[1]) if match else None
