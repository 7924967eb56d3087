"""Files that are gone from this replica's disk, made again: same snapshot, same parameters, same bytes."""

import asyncio
import os
from typing import BinaryIO, Final
from uuid import UUID

from reportsim.core.model import Request
from reportsim.core.problems import Problem, unavailable
from reportsim.engine.worker.slots import Slots
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.generate import LedgerDeleted, generate
from reportsim.store import ledgers
from reportsim.store.pool import OUTAGES, Lends
from reportsim.tasks import start

MOST_TIMES: Final = 2


class ReportRegenerator:
    """Hands out report files, and makes those again that are not there: in a slot, and each only once at a time."""

    def __init__(self, *, connections: Lends, files: ReportFiles, slots: Slots, timeout: float) -> None:
        """Makes a regenerator that waits `timeout` seconds for a slot."""
        self._connections = connections
        self._files = files
        self._slots = slots
        self._timeout = timeout
        self._making: dict[UUID, asyncio.Task[None]] = {}

    async def check(self, request: Request) -> None:
        """Makes sure that a completed request has a file, or can get it again; makes none.

        Raises:
            Problem: 410 when it cannot be made again.
        """
        if (handle := self._open(request)) is not None:
            handle.close()
            return
        check_version(request)
        async with self._connections.acquire() as connection:
            if not await ledgers.exists(connection, request.ledger_id):
                raise ledger_gone()

    async def open(self, request: Request) -> BinaryIO:
        """The file of a completed request, to be closed by the caller.

        Raises:
            Problem: 410 when it cannot be made again, 500 when it came out differently, 503 without a free slot.
        """
        # What was made may be the oldest again before anybody reads it, but hardly twice.
        for _ in range(MOST_TIMES):
            if (handle := self._open(request)) is not None:
                return handle
            task = self._making.get(request.id)
            if task is None:
                task = start(self._make(request), name=f"remake-{request.id}", handled=(Problem, *OUTAGES))
                self._making[request.id] = task
                task.add_done_callback(lambda _: self._making.pop(request.id, None))
            # A client that disconnects does not stop the work, for which others may wait.
            await asyncio.shield(task)
        raise unavailable("There is no room to keep the file until it is read.")

    def _open(self, request: Request) -> BinaryIO | None:
        """The file in its full length, which a crash of the machine may have cut."""
        handle = self._files.open(request.id)
        if handle is not None and handle.seek(0, os.SEEK_END) != (request.result_payload or {}).get("bytes"):
            handle.close()
            return None
        return handle

    async def _make(self, request: Request) -> None:
        check_version(request)
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            detail = f"The file is gone, and no slot came free within {self._timeout:g} s to make it again."
            raise Problem("no-capacity", detail, headers={"Retry-After": "1"}) from None
        try:
            await self._write(request)
        except LedgerDeleted:
            raise ledger_gone() from None
        finally:
            self._slots.release()

    async def _write(self, request: Request) -> None:
        expected = (request.result_payload or {}).get("sha256")
        with self._files.draft(request.id) as draft:
            await generate(self._connections, request, draft)
            if draft.sha256 != expected:
                raise Problem("report-differs", f"Its hash is {draft.sha256} now, and was {expected}.")


def check_version(request: Request) -> None:
    """Refuses a report that this build makes differently."""
    if CATALOG[request.input_payload["report_type"]].version != request.report_version:
        raise Problem("report-expired", "The file is gone, and this version of the report is no longer made.")


def ledger_gone() -> Problem:
    """The 410 of a report on a ledger that was deleted."""
    return Problem("report-expired", "The file is gone, and so is its ledger.")
