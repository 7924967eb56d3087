"""Regenerating files that this replica's disk does not have: same snapshot, same parameters, same bytes."""

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

MAX_TRIES: Final = 2


class ReportRegenerator:
    """Opens report files, and regenerates missing ones: in a slot, and each once at a time."""

    def __init__(self, *, connections: Lends, files: ReportFiles, slots: Slots, timeout: float) -> None:
        """Waits `timeout` seconds for a slot."""
        self._connections = connections
        self._files = files
        self._slots = slots
        self._timeout = timeout
        self._making: dict[UUID, asyncio.Task[None]] = {}

    async def check(self, request: Request) -> None:
        """Checks that a completed request has a report, or that it can be regenerated; makes no file.

        Raises:
            Problem: 410 when it cannot be regenerated.
        """
        if self._files.size(request.id) == expected_bytes(request):
            return
        check_version(request)
        async with self._connections.acquire() as connection:
            if not await ledgers.exists(connection, request.ledger_id):
                raise ledger_gone()

    async def open(self, request: Request) -> BinaryIO:
        """The file of a completed request, to be closed by the caller.

        Raises:
            Problem: 410 when it cannot be regenerated, 500 when its bytes are not those of the same version any more,
                503 without a free slot.
        """
        # A regenerated file may be deleted as the oldest before it is opened, but rarely twice.
        for _ in range(MAX_TRIES):
            if (handle := self._open(request)) is not None:
                return handle
            task = self._making.get(request.id)
            if task is None:
                task = start(self._make(request), name=f"remake-{request.id}", handled=(Problem, *OUTAGES))
                self._making[request.id] = task
                task.add_done_callback(lambda _: self._making.pop(request.id, None))
            # Other clients may wait for the same file, so a client that disconnects does not stop it.
            await asyncio.shield(task)
        raise unavailable("There is no room to keep the file until it is read.")

    def _open(self, request: Request) -> BinaryIO | None:
        """The file if it is complete: a crash of the machine may have truncated it."""
        handle = self._files.open(request.id)
        if handle is not None and handle.seek(0, os.SEEK_END) != expected_bytes(request):
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
                if request.report_version != current_version(request):
                    raise version_gone()
                raise Problem("report-differs", f"Its hash is {draft.sha256} now, and was {expected}.")


def expected_bytes(request: Request) -> int | None:
    """How many bytes the file of a completed request has."""
    return (request.result_payload or {}).get("bytes")


def check_version(request: Request) -> None:
    """Refuses a report that this build cannot generate; one of an older version may come out otherwise."""
    oldest = CATALOG[request.input_payload["report_type"]].oldest_version
    if not oldest <= request.report_version <= current_version(request):
        raise version_gone()


def current_version(request: Request) -> int:
    """The version that this build generates."""
    return CATALOG[request.input_payload["report_type"]].version


def version_gone() -> Problem:
    """The 410 of a report that only another build can generate."""
    return Problem("report-expired", "The file is gone, and this version of the report is no longer made.")


def ledger_gone() -> Problem:
    """The 410 of a report on a ledger that was deleted."""
    return Problem("report-expired", "The file is gone, and so is its ledger.")
