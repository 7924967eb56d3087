"""A spool: many small reports in one file, one behind the other.

A file for each would cost more than the report itself. A file system has to find and to log a free inode for it, and
ext4 looks through all that were given back in the last minutes first.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.reports.files.locks import create as create_file
from reportsim.reports.files.locks import lock

SUFFIX: Final = ".spool"
# The id of a request, how many bytes of its report follow, and their checksum.
HEADER: Final = struct.Struct("<16sII")


class Spool:
    """One file of whole reports, and where each of them begins."""

    def __init__(self, path: Path, places: dict[UUID, tuple[int, int]], size: int) -> None:
        """Knows what is in a file already; `create` and `adopt` make one."""
        self.path = path
        self.size = size
        self._places = places
        self._handle: BinaryIO | None = None

    @classmethod
    def create(cls, path: Path) -> "Spool":
        """A new one, which no other process takes for abandoned while this one lives."""
        spool = cls(path, {}, 0)
        spool._handle = create_file(path, "w+b", 0)
        lock(spool._handle)
        return spool

    @classmethod
    def adopt(cls, path: Path) -> "Spool | None":
        """One that a process left behind; None while that process lives. A record that a crash cut is passed over."""
        with path.open("rb") as handle:
            if not lock(handle):
                return None
            places: dict[UUID, tuple[int, int]] = {}
            size = 0
            for id, start, length in records(handle):
                places[id], size = (start, length), start + length
            return cls(path, places, size)

    def __contains__(self, id: UUID) -> bool:
        return id in self._places

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def append(self, id: UUID, content: bytes) -> None:
        """Adds a report.

        Raises:
            OSError: there is no room for it, and nothing of it is left.
        """
        assert self._handle is not None
        record = encode_record(id, content)
        file = self._handle.fileno()
        try:
            written = os.pwrite(file, record, self.size)
            # A write that was cut short says why when it is to go on.
            if written != len(record):
                written += os.pwrite(file, record[written:], self.size + written)
            if written != len(record):
                raise OSError("the report was cut short")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self.size)
            raise
        self.size += len(record)
        self._places[id] = (self.size - len(content), len(content))

    def read(self, id: UUID) -> bytes:
        """A report that is in here.

        Raises:
            OSError: the file was deleted, or a crash of the machine corrupted it.
        """
        start, length = self._places[id]
        # Its own handle reads what somebody has deleted, too.
        with contextlib.nullcontext(self._handle) if self._handle else self.path.open("rb", buffering=0) as handle:
            record = os.pread(handle.fileno(), HEADER.size + length, start - HEADER.size)
        content = record[HEADER.size :]
        if record != encode_record(id, content):
            raise OSError("the report is corrupt")
        return content

    def forget(self, id: UUID) -> None:
        """Forgets a report; its bytes remain until the file is deleted."""
        del self._places[id]

    def close(self) -> None:
        """Takes nothing more."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def remove(self) -> None:
        """Deletes the file with all that is in it."""
        self.close()
        self._places.clear()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def encode_record(id: UUID, content: bytes) -> bytes:
    """A report as it stands in the file."""
    return HEADER.pack(id.bytes, len(content), zlib.crc32(content)) + content


def records(handle: BinaryIO) -> Iterator[tuple[UUID, int, int]]:
    """The whole records of a file: id, where the report begins, and its length."""
    end = os.fstat(handle.fileno()).st_size
    while len(head := handle.read(HEADER.size)) == HEADER.size:
        id, length, _ = HEADER.unpack(head)
        start = handle.tell()
        if start + length > end:
            return
        yield UUID(bytes=id), start, length
        handle.seek(length, os.SEEK_CUR)
