"""The folder of report files: written under a temporary name, renamed when whole, never synced.

A file that is lost can be generated again from the same snapshot, byte for byte, so durability is not needed.
Small reports are stored together in a spool, and get a file of their own when one is requested.
"""

import contextlib
import errno
import io
import itertools
import re
from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.core.identifiers import UUID7Generator, boot_id
from reportsim.core.problems import Problem
from reportsim.reports.files.disk import Disk
from reportsim.reports.files.draft import Draft
from reportsim.reports.files.locks import lock
from reportsim.reports.files.spool import SUFFIX, Spool

NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.csv", re.ASCII)
# Reports of fewer bytes than this go into a spool; how large one becomes, and how many are kept.
SMALL: Final = 1 << 16
SPOOL: Final = 1 << 24
SPOOLS: Final = 16
# Written to learn whether a disk that was full has room again.
PROBE: Final = bytes(1 << 16)


class ReportFiles:
    """The report files on this replica's disk."""

    def __init__(self, folder: Path, most_bytes: int, *, small: int = SMALL) -> None:
        """Makes the folder, removes what a crash left half written, and counts the rest.

        Above `most_bytes` the oldest go: ids are ordered by time, so names are too. Other processes may be at work in
        the same folder: what they are writing is left alone. Reports of fewer than `small` bytes are spooled.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        close_to_others(folder)
        self._folder = folder
        self._most = most_bytes
        self._small = min(small, most_bytes // 8)
        self._boot = boot_id()
        self._numbers = itertools.count(1)
        self._new_id = UUID7Generator()
        # What is there, oldest first, with its size: files by their request, and spools.
        self._sizes: OrderedDict[UUID | Spool, int] = OrderedDict()
        self._total = 0
        self._spooled: dict[UUID, Spool] = {}
        self._spools: deque[Spool] = deque()
        self._spool: Spool | None = None
        self._disk = Disk(self._remove_oldest)
        # A copy of what is here already is worth no other report.
        self._disk_of_copies = Disk()
        paths = sorted(folder.iterdir())
        separate = {parse_name(path.name) for path in paths}
        for path in paths:
            with contextlib.suppress(OSError):
                if (request_id := parse_name(path.name)) is not None:
                    self._keep(request_id, path.stat().st_size)
                elif path.suffix == SUFFIX:
                    self._adopt(path, separate)
                elif path.suffix == ".part":
                    remove_abandoned(path)

    def path(self, request_id: UUID) -> Path:
        """Where the file of a request is, if its report is here."""
        path = self._path(request_id)
        if (spool := self._spooled.get(request_id)) is not None:
            with contextlib.suppress(OSError, Problem):
                draft = self._draft(request_id, self._disk_of_copies)
                try:
                    draft.add(spool.read(request_id))
                    draft.finish(path)
                    self._keep(request_id, draft.bytes)
                finally:
                    draft.discard()
        return path

    def open(self, request_id: UUID) -> BinaryIO | None:
        """A report to read, from its own file or else from a spool; None where it is not here, or garbled."""
        path = self.path(request_id)
        with contextlib.suppress(OSError):
            if (spool := self._spooled.get(request_id)) is not None:
                return io.BytesIO(spool.read(request_id))
            return path.open("rb")
        return None

    def ids(self) -> list[UUID]:
        """The requests whose reports are here."""
        return [*self._spooled, *(what for what in self._sizes if isinstance(what, UUID))]

    def is_writable(self) -> bool:
        """Whether reports can be written: tried where the last one could not."""
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

    def close(self) -> None:
        """Lets go of the spool that is being written."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _path(self, request_id: UUID) -> Path:
        return self._folder / f"{request_id}.csv"

    @contextlib.contextmanager
    def draft(self, request_id: UUID) -> Iterator[Draft]:
        """A report that is here whole when the block ends well, and not at all otherwise.

        Two executions may write the same report at once, here or in another process on the same disk.
        """
        draft = self._draft(request_id)
        try:
            yield draft
            whole = draft.content
            if whole is not None and len(whole) < self._small:
                self._disk.write(lambda: self._put(request_id, whole))
            else:
                draft.finish(self._path(request_id))
                self._keep(request_id, draft.bytes)
        finally:
            draft.discard()

    def _draft(self, request_id: UUID, disk: Disk | None = None) -> Draft:
        part = self._folder / f"{request_id}.{self._boot}-{next(self._numbers)}.part"
        return Draft(part, disk or self._disk)

    def _put(self, request_id: UUID, content: bytes) -> None:
        """Spools a report."""
        spool = self._spool
        if spool is None or spool.size + len(content) > min(SPOOL, self._most // 8):
            self.close()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Ordered by time, as the names of files are.
            spool = self._spool = Spool.create(self._folder / f"{self._new_id()}{SUFFIX}")
            self._add(spool)
        self._forget(request_id)
        if request_id in self._sizes:
            self.remove([request_id])
        try:
            spool.append(request_id, content)
        except OSError as error:
            if error.errno == errno.EFBIG and spool.size:
                # Files may be no larger than that here: another one takes it.
                self.close()
                self._put(request_id, content)
                return
            raise
        self._spooled[request_id] = spool
        self._count(spool, spool.size)

    def _adopt(self, path: Path, separate: Container[UUID | None]) -> None:
        """Takes over what a process that has ended has spooled, but for what has a file of its own."""
        if (spool := Spool.adopt(path)) is None:
            return
        self._add(spool)
        self._count(spool, spool.size)
        for request_id in list(spool):
            if request_id in separate:
                spool.forget(request_id)
            else:
                self._forget(request_id)
                self._spooled[request_id] = spool
        if not spool:
            self._drop(spool)

    def _add(self, spool: Spool) -> None:
        """Adds a spool, and removes the oldest if that is one too many."""
        self._spools.append(spool)
        if len(self._spools) > SPOOLS:
            self._drop(self._spools[0])

    def _forget(self, request_id: UUID) -> bool:
        """Forgets a spooled report, and deletes the spool with its last one; returns whether it was spooled."""
        if (spool := self._spooled.pop(request_id, None)) is None:
            return False
        if request_id in spool:
            spool.forget(request_id)
        if not spool and spool is not self._spool:
            self._drop(spool)
        return True

    def remove(self, request_ids: Iterable[UUID]) -> None:
        """Deletes reports, as far as they are here."""
        for request_id in request_ids:
            self._total -= self._sizes.pop(request_id, 0)
            if not self._forget(request_id):
                with contextlib.suppress(OSError):
                    self._path(request_id).unlink(missing_ok=True)

    def remove_before(self, oldest: UUID) -> None:
        """Deletes a spool in which every report is of a request before some id, whether its row is known or not.

        The next one goes the next time: each takes the loop some milliseconds.
        """
        for spool in self._spools:
            if spool is not self._spool and all(request_id < oldest for request_id in spool):
                self._drop(spool)
                break

    def _drop(self, spool: Spool) -> None:
        self._total -= self._sizes.pop(spool, 0)
        for request_id in list(spool):
            if self._spooled.get(request_id) is spool:
                del self._spooled[request_id]
        if spool is self._spool:
            self._spool = None
        self._spools.remove(spool)
        spool.remove()

    def _keep(self, request_id: UUID, size: int) -> None:
        """Counts a file, as the newest, and as the only one of its report."""
        self._forget(request_id)
        self._total -= self._sizes.pop(request_id, 0)
        self._count(request_id, size)

    def _count(self, what: UUID | Spool, size: int) -> None:
        """Counts what is there now, as the newest, and removes the oldest while it is too much in all."""
        self._total += size - self._sizes.get(what, 0)
        self._sizes[what] = size
        self._sizes.move_to_end(what)
        while self._total > self._most and len(self._sizes) > 1:
            self._remove_oldest()

    def _remove_oldest(self) -> bool:
        """Deletes the oldest file or spool; False where there is none."""
        if (oldest := next(iter(self._sizes), None)) is None:
            return False
        if isinstance(oldest, Spool):
            self._drop(oldest)
        else:
            self.remove([oldest])
        return True


def close_to_others(folder: Path) -> None:
    """Takes a folder of reports that was open away from other users, with all that is in it."""
    with contextlib.suppress(PermissionError):
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def remove_abandoned(part: Path) -> None:
    """Removes a half-written file, unless its writer lives."""
    with part.open("rb") as handle:
        if lock(handle):
            part.unlink()


def parse_name(name: str) -> UUID | None:
    """The request that a file name belongs to; None for every other name, so that no path is made of it."""
    match = NAME.fullmatch(name)
    return UUID(match[1]) if match else None
