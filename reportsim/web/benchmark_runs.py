"""Finds the benchmark run named in a path or header, and builds plans from bodies."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from reportsim.benchmark.active_run import RunRequest
from reportsim.benchmark.load.messages import INDEX_HEADER, RUN_HEADER
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.stored_run import rewrite_verdict, upgrade_plan, upgrade_result
from reportsim.benchmark.workload import PlanError
from reportsim.core.model import Mode
from reportsim.core.problems import Problem, invalid
from reportsim.schemas.submission_parser import ParsedBody
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Benchmark, Summary
from reportsim.web.keys import ENGINE, RUNNER
from reportsim.web.request_lookup import not_found
from reportsim.web.server.connection import Connection

RUN: Final = "run"


def build_plan(parsed: ParsedBody) -> Plan:
    """Builds the plan of a valid body.

    Raises:
        Problem: 422 for values that contradict each other.
    """
    try:
        plan = Plan.from_json(parsed.data)
        plan.check_length()
    except PlanError as error:
        raise invalid([{"detail": f"{str(error)[0].upper()}{str(error)[1:]}.", "pointer": "#"}]) from None
    return plan


def run_as_json(request: web.Request, run: Benchmark) -> dict[str, Any]:
    """A run as the API returns it, with its progress."""
    return run.as_json(request.app[RUNNER].progress_of(run.id))


async def get_run_or_404(request: web.Request, id: UUID) -> Benchmark:
    """Reads a run, upgraded from the format of older versions; 404 if it does not exist."""
    run = await store.get(request.app[ENGINE].pool, id)
    if run is None:
        raise not_found(RUN)
    return replace(run, plan=upgrade_plan(run.plan), result=upgrade_result(run.result))


async def list_runs(request: web.Request, limit: int) -> list[Summary]:
    """The newest runs, newest first, those of older versions with the verdict that they have by themselves."""
    runs = await store.newest(request.app[ENGINE].pool, limit)
    return [replace(run, verdict=rewrite_verdict(run.old_figures)) if run.old_figures else run for run in runs]


async def get_completed_pair(request: web.Request, ids: Sequence[UUID]) -> Sequence[Benchmark]:
    """Reads two runs, the older one first: what was measured before is the baseline of what was measured after.

    Raises:
        Problem: 404 if one does not exist, 409 if one has no result.
    """
    runs = [await get_run_or_404(request, id) for id in ids]
    for run in runs:
        if run.result is None:
            raise Problem("conflict", f"The run {run.id} has no result: {run.status}.")
    return sorted(runs, key=lambda run: (run.created_at, run.id))


def find_visit(request: web.Request, mode: Mode) -> RunRequest | None:
    """The benchmark run that a request belongs to by its header, and its part in it."""
    token, connection = request.headers.get(RUN_HEADER), request.protocol
    if token is None or not isinstance(connection, Connection):
        return None
    return request.app[RUNNER].find_request(mode, token, request.headers.get(INDEX_HEADER), connection.head_at)
