"""Files that are gone from this replica's disk, made again: same snapshot, same parameters, same bytes."""

import asyncio
from pathlib import Path
from uuid import UUID

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.engine.slots import Slots
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files import ReportFiles
from reportsim.reports.generate import LedgerDeleted, generate
from reportsim.store.pool import OUTAGES, Lends
from reportsim.tasks import start


class Remaker:
    """Hands out report files, and makes those again that are not there: in a slot, and each only once at a time."""

    def __init__(self, *, lines: Lends, files: ReportFiles, slots: Slots, timeout: float) -> None:
        """Makes a remaker that waits `timeout` seconds for a slot."""
        self._lines = lines
        self._files = files
        self._slots = slots
        self._timeout = timeout
        self._making: dict[UUID, asyncio.Task[Path]] = {}

    async def path(self, request: Request) -> Path:
        """Where the file of a completed request is.

        Raises:
            Problem: 410 when it cannot be made again, 500 when it came out differently, 503 without a free slot.
        """
        path = self._files.path(request.id)
        if is_whole(path, request):
            return path
        task = self._making.get(request.id)
        if task is None:
            task = start(self._make(request), name=f"remake-{request.id}", handled=(Problem, *OUTAGES))
            self._making[request.id] = task
            task.add_done_callback(lambda _: self._making.pop(request.id, None))
        # Whoever leaves does not stop the work that others may wait for.
        return await asyncio.shield(task)

    async def _make(self, request: Request) -> Path:
        if CATALOG[request.input_payload["report_type"]].version != request.report_version:
            raise Problem("report-expired", "The file is gone, and this version of the report is no longer made.")
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            detail = f"The file is gone, and no slot came free within {self._timeout:g} s to make it again."
            raise Problem("no-capacity", detail, headers={"Retry-After": "1"}) from None
        try:
            return await self._write(request)
        except LedgerDeleted:
            raise Problem("report-expired", "The file is gone, and so is its ledger.") from None
        finally:
            self._slots.release()

    async def _write(self, request: Request) -> Path:
        expected = (request.result_payload or {}).get("sha256")
        with self._files.draft(request.id) as draft:
            await generate(self._lines, request, draft)
            if draft.sha256 != expected:
                raise Problem("report-differs", f"Its hash is {draft.sha256} now, and was {expected}.")
        return self._files.path(request.id)


def is_whole(path: Path, request: Request) -> bool:
    """Whether the file is there in its full length: a crash of the machine may have cut it."""
    try:
        return path.stat().st_size == (request.result_payload or {}).get("bytes")
    except OSError:
        return False
