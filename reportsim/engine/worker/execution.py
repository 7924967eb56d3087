"""Executing a request: generates its report, and returns the request in its final state."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from reportsim.core.clock import Clock
from reportsim.core.model import Request, Status
from reportsim.core.problems import Problem
from reportsim.core.service_time import draw
from reportsim.engine.freeze import Freeze
from reportsim.reports.comparison import compared_days
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.generate import LedgerDeleted, Report, generate
from reportsim.store.pool import AWAY, Lends, persist

log = logging.getLogger(__name__)

MAX_TAKEOVERS: Final = 5
MAX_CANCELLED_STATEMENTS: Final = 3


@dataclass(frozen=True, slots=True)
class GeneratedReport:
    """A report and its file."""

    report: Report
    sha256: str
    bytes: int


async def generate_file(connections: Lends, files: ReportFiles, request: Request) -> GeneratedReport:
    """Writes a request's report into its file."""
    with files.draft(request.id) as draft:
        report = await generate(connections, request, draft)
    return GeneratedReport(report, draft.sha256, draft.bytes)


class Executor:
    """Executes requests; it holds no state between them."""

    def __init__(self, generate: Callable[[Request], Awaitable[GeneratedReport]], clock: Clock, freeze: Freeze) -> None:
        """Executes requests by `generate`, which writes a request's report; no report is done during a freeze."""
        self.generate = generate
        self._clock = clock
        self._freeze = freeze

    async def execute(self, request: Request, since: float) -> Request:
        """Returns the request as it ends; its slot has been held for it since a moment on the monotonic clock."""
        try:
            generated = await self._generate(request, since)
        except Problem as problem:
            return self._fail(request, problem)
        except LedgerDeleted:
            return self._fail(request, Problem("report-failed", "The ledger was deleted."))
        except Exception:
            log.exception("request %s failed unexpectedly", request.id)
            return self._fail(request, Problem("report-failed", "The report failed unexpectedly."))
        return self._complete(request, generated, time.monotonic() - since)

    async def _generate(self, request: Request, since: float) -> GeneratedReport:
        if request.takeovers >= MAX_TAKEOVERS:
            raise Problem("gave-up", f"Its worker stopped unexpectedly {request.takeovers} times.")
        simulate = request.input_payload.get("simulate")
        drawn = draw(simulate) if simulate else None
        generated = await self._generate_through_failures(request)
        if drawn:
            await asyncio.sleep(since + drawn.service_s - time.monotonic())
        await self._freeze.over()
        if drawn and drawn.fails:
            raise Problem("report-failed", "The failure that simulate asked for.", {"simulated": True})
        return generated

    async def _generate_through_failures(self, request: Request) -> GeneratedReport:
        """Generates a report, again if the database was away or a statement was cancelled.

        Statements are cancelled by administrators, and by a pooler that mistakes one for another. A second attempt
        would only repeat any other error of the database.
        """
        for _ in range(MAX_CANCELLED_STATEMENTS):
            try:
                return await persist(lambda: self.generate(request), through=AWAY)
            except asyncpg.QueryCanceledError as error:
                log.warning("request %s is tried again: %s", request.id, error)
        return await persist(lambda: self.generate(request), through=AWAY)

    def _complete(self, request: Request, generated: GeneratedReport, service: float) -> Request:
        now = self._clock.now()
        total = max((now - request.created_at).total_seconds(), 0)
        timings = {"queue": 1000 * max(total - service, 0), "service": 1000 * service, "total": 1000 * total}
        parameters = request.input_payload
        window: dict[str, Any] = {name: parameters[name] for name in ("from", "to", "as_of") if name in parameters}
        result: dict[str, Any] = {
            "report_type": parameters["report_type"],
            "file": request.file,
            "rows": generated.report.rows,
            "bytes": generated.bytes,
            "sha256": generated.sha256,
            "currency": generated.report.currency,
            "exponent": generated.report.exponent,
            **window,
            "totals": generated.report.totals,
            **compare(parameters, generated.report),
            "checks": generated.report.checks,
            "timings_ms": {name: round(value, 3) for name, value in timings.items()},
        }
        return request.changed(status=Status.COMPLETED, result_payload=result, completed_at=now)

    def _fail(self, request: Request, problem: Problem) -> Request:
        return request.changed(status=Status.FAILED, error=problem.as_json(), completed_at=self._clock.now())


def compare(parameters: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """What the result of a comparison has more: the other days, their totals, and the differences."""
    if "compare" not in parameters:
        return {}
    compared = report.compared_totals
    difference = {name: report.totals[name] - value for name, value in compared.items()}
    return {"comparison": {**compared_days(parameters), "totals": compared, "difference": difference}}
