"""POST /api/benchmark/both: the load test on both patterns; its runs, their results and what can be taken along."""

import asyncio
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from aiohttp import hdrs, web
from marshmallow import validate

from reportsim.api.events import write
from reportsim.api.requests import id_in, json_response, load_query, not_found
from reportsim.benchmark.plan import Plan, PlanError
from reportsim.benchmark.report.render_process import Export, render_export
from reportsim.benchmark.report.style import POLICY
from reportsim.benchmark.results.run_comparison import compare_runs
from reportsim.benchmark.results.stored_run import upgrade_plan, upgrade_result
from reportsim.core.problems import Problem, invalid
from reportsim.reports.fields import Digits, Identifier
from reportsim.schemas.requests import BenchmarkPlan, Parsed, Strict, parse_raw, read_submission
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Benchmark
from reportsim.web.body import read_json
from reportsim.web.client_address import client, limited
from reportsim.web.expensive_requests import refuse_during_run, refuse_other_sites
from reportsim.web.keys import ENGINE, EXPORT_PLACES, RUNNER
from reportsim.web.prefer import preferences

# Each has a process of its own; a reader of one must take it with some speed.
MOST_EXPORTS: Final = 4
MOST_EXPORTS_EACH: Final = 2
LONGEST_EXPORT_S: Final = 300.0
# The page's own policy, and what no policy within a document can say.
REPORT_POLICY: Final = f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
DEFAULT_LIST: Final = 50
RUN: Final = "run"


class BenchmarksQuery(Strict):
    """The parameters of the list."""

    limit = Digits(load_default=DEFAULT_LIST, validate=validate.Range(1, store.KEPT))


@limited("async")
async def create_benchmark(request: web.Request) -> web.StreamResponse:
    """Runs one load against both patterns, and measures them from both ends.

    Pairs of blocks have the same arrivals and service times on both sides; which side comes first is drawn from the
    seed. One run at a time: progress is sent as `benchmark` events.
    """
    runner, preferred = request.app[RUNNER], preferences(request)
    parsed = parse_raw(BenchmarkPlan, await read_json(request))
    await read_submission(request.app[ENGINE], parsed, fresh=True)
    try:
        id = await runner.start(plan_of(parsed))
    except store.AlreadyRunning:
        raise Problem("conflict", "A benchmark is running; two at once would measure each other.") from None
    if preferred.wait:
        await runner.ended(id, preferred.wait)
    run = await existing(request, id)
    headers: dict[str, str] = {hdrs.LOCATION: f"/api/benchmark/{id}"}
    if preferred.wait and run.ended:
        return json_response(shown(request, run), headers={**headers, **preferred.applied(wait=True)})
    return json_response(shown(request, run), status=202, headers={**headers, hdrs.RETRY_AFTER: "1"})


def plan_of(parsed: Parsed) -> Plan:
    """The plan in a valid body.

    Raises:
        Problem: 422 for values that do not go together.
    """
    try:
        return Plan.from_json(parsed.data)
    except PlanError as error:
        raise invalid([{"detail": f"{str(error)[0].upper()}{str(error)[1:]}.", "pointer": "#"}]) from None


async def list_benchmarks(request: web.Request) -> web.Response:
    """The newest runs, newest first; the last 200 are kept."""
    limit = load_query(BenchmarksQuery(), request)["limit"]
    runs = await store.newest(request.app[ENGINE].pool, limit)
    runner = request.app[RUNNER]
    return json_response({"items": [run.as_json(runner.progress_of(run.id)) for run in runs]})


async def get_benchmark(request: web.Request) -> web.Response:
    """One run: its plan, what to expect of it, how far it is, and its result; held while the client would wait."""
    preferred, id = preferences(request), id_in(request, RUN)
    run = await existing(request, id)
    if preferred.wait and not run.ended:
        await request.app[RUNNER].ended(id, preferred.wait)
        run = await existing(request, id)
    headers: dict[str, str] = {} if run.ended else {hdrs.RETRY_AFTER: "1"}
    return json_response(shown(request, run), headers={**headers, **preferred.applied(wait=True)})


class ComparisonQuery(Strict):
    """The parameters of a comparison."""

    with_ = Identifier(
        required=True, data_key="with", metadata={"description": "The run that it is compared with, from the list."}
    )


async def compare_benchmarks(request: web.Request) -> web.Response:
    """Two completed runs beside each other: how their plans differ, and every figure of both; second − first."""
    query = load_query(ComparisonQuery(), request)
    refuse_other_sites(request)
    first, second = await existing(request, id_in(request, RUN)), await existing(request, query["with_"])
    for run in (first, second):
        if run.result is None:
            raise Problem("conflict", f"The run {run.id} has no result: {run.status}.")
    return json_response(compare_runs(first.as_json(), second.as_json()))


async def cancel_benchmark(request: web.Request) -> web.Response:
    """Ends a run that has not ended, and all of its requests."""
    id = id_in(request, RUN)
    if not await request.app[RUNNER].cancel(id):
        run = await existing(request, id)
        raise Problem("conflict", f"The run has ended: {run.status}.")
    return json_response(shown(request, await existing(request, id)))


async def show_report(request: web.Request) -> web.Response:
    """The result as one page with its plots, which needs nothing from elsewhere and can be kept, sent and printed."""
    refuse_other_sites(request)
    with request.app[EXPORT_PLACES].place(client(request)):
        run, samples = await finished(request)
        refuse_during_run(request, run.id)
        async with render_export(Export.HTML, run.as_json(), samples) as pieces:
            page = b"".join([piece async for piece in pieces])
    return web.Response(
        body=page, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": REPORT_POLICY}
    )


async def download_samples(request: web.Request) -> web.StreamResponse:
    """Every request of both sides as a row of CSV: its moments, its outcome, its time to result."""
    refuse_other_sites(request)
    with request.app[EXPORT_PLACES].place(client(request)):
        run, samples = await finished(request)
        refuse_during_run(request, run.id)
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/csv; charset=utf-8; header=present",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="{run.id}.csv"',
            }
        )
        if request.method == hdrs.METH_HEAD:
            return response
        async with asyncio.timeout(LONGEST_EXPORT_S), render_export(Export.CSV, run.as_json(), samples) as pieces:
            await response.prepare(request)
            async for piece in pieces:
                await write(response, piece)
            await response.write_eof()
    return response


def shown(request: web.Request, run: Benchmark) -> dict[str, Any]:
    """A run as the API shows it."""
    return run.as_json(request.app[RUNNER].progress_of(run.id))


async def existing(request: web.Request, id: UUID) -> Benchmark:
    """A run that must be there, in today's shape whichever version stored it."""
    run = await store.get(request.app[ENGINE].pool, id)
    if run is None:
        raise not_found(RUN)
    return replace(run, plan=upgrade_plan(run.plan), result=upgrade_result(run.result))


async def finished(request: web.Request) -> tuple[Benchmark, tuple[bytes, bytes]]:
    """A run that must have a result, and its samples."""
    run = await existing(request, id_in(request, RUN))
    samples = await store.samples(request.app[ENGINE].pool, run.id)
    if run.result is None or samples is None:
        raise Problem("conflict", f"The run has no result: {run.status}.")
    return run, samples
