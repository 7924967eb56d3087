"""The folder of report files: written under a temporary name, renamed when whole, never synced.

A file that is lost can be made again from the same snapshot, byte for byte, so durability would be paid for nothing.
"""

import contextlib
import hashlib
import itertools
import re
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.core.identifiers import boot_id
from reportsim.core.problems import Problem

if sys.platform != "win32":
    import fcntl

NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.csv", re.ASCII)
KEPT: Final = 1 << 20
BUFFER: Final = 1 << 13
CELL: Final = re.compile(r'("(?:[^"]|"")*"|[^,\n]*)[,\n]')


@contextlib.contextmanager
def disk() -> Iterator[None]:
    """Makes a full or broken disk fail the report: unlike an absent database, it is not waited for."""
    try:
        yield
    except OSError as error:
        raise Problem("report-failed", "The report file could not be written.") from error


class Draft:
    """A file being written: counts and hashes what passes through, and keeps a megabyte of it in memory."""

    def __init__(self, part: Path) -> None:
        """Is written to a path, which is there once there is more than memory keeps."""
        self._part = part
        self._handle: BinaryIO | None = None
        self._kept: list[bytes] = []
        self._written = 0
        self._hash = hashlib.sha256()
        self._last = b""
        self.bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Appends a chunk; a coroutine function, because then COPY uses no thread."""
        self._hash.update(chunk)
        self._last = chunk
        self.bytes += len(chunk)
        self._kept.append(chunk)
        if self.bytes - self._written > KEPT:
            self._flush()

    def _flush(self) -> None:
        with disk():
            self._handle = self._handle or opened(self._part)
            self._handle.writelines(self._kept)
            self._handle.flush()
        self._kept.clear()
        self._written = self.bytes

    def finish(self, path: Path) -> None:
        """Makes the file appear under its name."""
        self._flush()
        with disk():
            self._part.replace(path)

    def discard(self) -> None:
        """Closes the file, and leaves nothing of it unless it is finished."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.close()
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)

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
        self._boot = boot_id()
        self._numbers = itertools.count(1)
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
    def draft(self, request_id: UUID) -> Iterator[Draft]:
        """A file that appears whole when the block ends well, and not at all otherwise.

        Two executions may write the same report at once, here or in another process on the same disk.
        """
        draft = Draft(self._folder / f"{request_id}.{self._boot}-{next(self._numbers)}.part")
        try:
            yield draft
            draft.finish(self.path(request_id))
            self._keep(request_id, draft.bytes)
        finally:
            draft.discard()

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


def opened(part: Path) -> BinaryIO:
    """A new file that no other process takes for abandoned; its folder may have been deleted."""
    try:
        handle = part.open("wb", buffering=BUFFER)
    except FileNotFoundError:
        part.parent.mkdir(parents=True, exist_ok=True)
        handle = part.open("wb", buffering=BUFFER)
    lock(handle)
    return handle


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
