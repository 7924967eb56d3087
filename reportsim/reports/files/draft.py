"""A draft: a report file while it is being written."""

import contextlib
import functools
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from reportsim.reports.files.disk import Disk
from reportsim.reports.files.locks import create, lock

KEPT: Final = 1 << 20
BUFFER: Final = 1 << 13


class Draft:
    """A file being written: it is counted and hashed, and up to a megabyte of it is kept in memory.

    Attributes:
        last: what was written last, from the beginning of a record on.
    """

    def __init__(self, part: Path, disk: Disk | None = None) -> None:
        """Writes to a path, which is created once the draft is larger than what memory keeps."""
        self._part = part
        self._disk = disk or Disk()
        self._handle: BinaryIO | None = None
        self._kept: list[bytes] = []
        self._written = 0
        self._hash = hashlib.sha256()
        self.last = b""
        self.bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Appends a chunk; a coroutine function, because then COPY uses no thread."""
        self.add(chunk)

    def add(self, chunk: bytes) -> None:
        """Appends a chunk."""
        self._hash.update(chunk)
        self.last = chunk
        self.bytes += len(chunk)
        self._kept.append(chunk)
        if self.bytes - self._written > KEPT:
            self._flush()

    def _flush(self) -> None:
        handle = self._handle = self._handle or self._disk.write(lambda: create_locked(self._part))
        rest = memoryview(b"".join(self._kept))
        while rest:
            rest = rest[self._disk.write(functools.partial(os.write, handle.fileno(), rest)) :]
        self._kept.clear()
        self._written = self.bytes

    @property
    def content(self) -> bytes | None:
        """The whole content, while nothing of it is on disk."""
        return b"".join(self._kept) if self._handle is None else None

    def finish(self, path: Path) -> None:
        """Makes the file appear under its name."""
        self._flush()
        self._disk.write(lambda: self._part.replace(path))

    def discard(self) -> None:
        """Closes the file, and deletes it unless it is finished."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.close()
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """The hash of everything so far, in hex."""
        return self._hash.hexdigest()


def create_locked(part: Path) -> BinaryIO:
    """Creates a file that no other process takes for abandoned, and its folder if that was deleted."""
    try:
        handle = create(part, BUFFER)
    except FileNotFoundError:
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = create(part, BUFFER)
    lock(handle)
    return handle
