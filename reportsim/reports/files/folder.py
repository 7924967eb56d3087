"""Report files: in a folder, under a temporary name until they are whole, and never synced.

A file that is lost can be generated again from the same snapshot, byte for byte, so durability is not needed. So small
reports, which are cheap to generate, stay in memory, the newest of them; one that is requested gets its file.
"""

import contextlib
import io
import itertools
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.core.identifiers import boot_id
from reportsim.core.problems import Problem
from reportsim.reports.files.disk import Disk
from reportsim.reports.files.draft import Draft
from reportsim.reports.files.locks import lock

NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.csv", re.ASCII)
# Reports of fewer bytes than this stay in memory, this many bytes of them in all.
SMALL: Final = 1 << 16
CACHE: Final = 1 << 24
# Written to learn whether a disk that was full has room again.
PROBE: Final = bytes(1 << 16)
# Half-written files, and the shared files of small reports that an older build wrote.
ABANDONED: Final = frozenset({".part", ".spool"})


class ReportFiles:
    """The reports that this replica has: the files on its disk, and the newest small ones in memory."""

    def __init__(self, folder: Path, most_bytes: int, *, small: int = SMALL) -> None:
        """Makes the folder, removes what a crash left half written, and counts the rest.

        Above `most_bytes` the oldest go: ids are ordered by time, so names are too. Other processes may be at work in
        the same folder: what they are writing is left alone. Reports of fewer than `small` bytes stay in memory.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        close_to_others(folder)
        self._folder = folder
        self._most = most_bytes
        self._small = small
        self._boot = boot_id()
        self._numbers = itertools.count(1)
        # What is there, oldest first: files by their size, and reports in memory.
        self._sizes: OrderedDict[UUID, int] = OrderedDict()
        self._total = 0
        self._cached: OrderedDict[UUID, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._disk = Disk(self._remove_oldest)
        # A copy of what is in memory is worth no other report.
        self._disk_of_copies = Disk()
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):
                if (request_id := parse_name(path.name)) is not None:
                    self._count(request_id, path.stat().st_size)
                elif path.suffix in ABANDONED:
                    remove_abandoned(path)

    def path(self, request_id: UUID) -> Path:
        """Where the file of a request is, if its report is here; one in memory gets its file."""
        path = self._path(request_id)
        if (content := self._cached.get(request_id)) is not None:
            with contextlib.suppress(OSError, Problem):
                draft = self._draft(request_id, self._disk_of_copies)
                try:
                    draft.add(content)
                    draft.finish(path)
                    self._count(request_id, draft.bytes)
                    self._uncache(request_id)
                finally:
                    draft.discard()
        return path

    def open(self, request_id: UUID) -> BinaryIO | None:
        """A report to read, from its file or else from memory; None where it is not here."""
        path = self.path(request_id)
        if (content := self._cached.get(request_id)) is not None:
            return io.BytesIO(content)
        with contextlib.suppress(OSError):
            return path.open("rb")
        return None

    def size(self, request_id: UUID) -> int | None:
        """How many bytes of a report are here; None where it is not."""
        if (content := self._cached.get(request_id)) is not None:
            return len(content)
        with contextlib.suppress(OSError):
            return self._path(request_id).stat().st_size
        return None

    def ids(self) -> list[UUID]:
        """The requests whose reports are here."""
        return [*self._cached, *self._sizes]

    def is_writable(self) -> bool:
        """Whether files can be written: tried where the last one could not."""
        if self._disk.failed:
            probe = self._folder / f"probe.{self._boot}-{next(self._numbers)}.part"
            try:
                probe.write_bytes(PROBE)
                self._disk.failed = False
            except OSError:
                pass
            finally:
                with contextlib.suppress(OSError):
                    probe.unlink(missing_ok=True)
        return not self._disk.failed

    @contextlib.contextmanager
    def draft(self, request_id: UUID) -> Iterator[Draft]:
        """A report that is here whole when the block ends well, and not at all otherwise.

        Two executions may write the same report at once, here or in another process on the same disk.
        """
        draft = self._draft(request_id)
        try:
            yield draft
            content = draft.content
            if content is not None and len(content) < self._small:
                if request_id in self._sizes:
                    self.remove([request_id])
                self._cache(request_id, content)
            else:
                draft.finish(self._path(request_id))
                self._uncache(request_id)
                self._count(request_id, draft.bytes)
        finally:
            draft.discard()

    def remove(self, request_ids: Iterable[UUID]) -> None:
        """Deletes reports, as far as they are here."""
        for request_id in request_ids:
            self._uncache(request_id)
            self._total -= self._sizes.pop(request_id, 0)
            with contextlib.suppress(OSError):
                self._path(request_id).unlink(missing_ok=True)

    def _path(self, request_id: UUID) -> Path:
        return self._folder / f"{request_id}.csv"

    def _draft(self, request_id: UUID, disk: Disk | None = None) -> Draft:
        part = self._folder / f"{request_id}.{self._boot}-{next(self._numbers)}.part"
        return Draft(part, disk or self._disk)

    def _cache(self, request_id: UUID, content: bytes) -> None:
        """Takes a report into memory, as the newest, and drops the oldest while that is too much in all."""
        self._uncache(request_id)
        self._cached[request_id] = content
        self._cached_bytes += len(content)
        while self._cached_bytes > CACHE:
            self._cached_bytes -= len(self._cached.popitem(last=False)[1])

    def _uncache(self, request_id: UUID) -> None:
        self._cached_bytes -= len(self._cached.pop(request_id, b""))

    def _count(self, request_id: UUID, size: int) -> None:
        """Counts a file, as the newest, and removes the oldest while that is too much in all."""
        self._total += size - self._sizes.get(request_id, 0)
        self._sizes[request_id] = size
        self._sizes.move_to_end(request_id)
        while self._total > self._most and len(self._sizes) > 1:
            self._remove_oldest()

    def _remove_oldest(self) -> bool:
        """Deletes the oldest file; False where there is none."""
        if (oldest := next(iter(self._sizes), None)) is None:
            return False
        self._total -= self._sizes.pop(oldest)
        with contextlib.suppress(OSError):
            self._path(oldest).unlink(missing_ok=True)
        return True


def close_to_others(folder: Path) -> None:
    """Takes a folder of reports that was open away from other users, with all that is in it."""
    with contextlib.suppress(PermissionError):
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def remove_abandoned(path: Path) -> None:
    """Removes a file that only its writer has use for, unless that lives."""
    with path.open("rb") as handle:
        if lock(handle):
            path.unlink()


def parse_name(name: str) -> UUID | None:
    """The request that a file name belongs to; None for every other name, so that no path is made of it."""
    match = NAME.fullmatch(name)
    return UUID(match[1]) if match else None
