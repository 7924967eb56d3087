"""POST /api/benchmark/both: starts the load test of both patterns; its runs, results and exports."""

import asyncio
from typing import Final

from aiohttp import hdrs, web

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.render_process import Export, render_export
from reportsim.benchmark.report.style import POLICY
from reportsim.benchmark.results.run_comparison import compare_runs
from reportsim.core.problems import Problem
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.queries import BenchmarksQuery, ComparisonQuery, PercentilesQuery
from reportsim.schemas.submission_parser import parse_raw
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Benchmark
from reportsim.web.benchmark_runs import RUN, build_plan, get_completed_pair, get_run_or_404, list_runs, run_as_json
from reportsim.web.body import read_json
from reportsim.web.keys import ENGINE, RUNNER
from reportsim.web.limits.client_address import client_key
from reportsim.web.limits.concurrency_limit import EXPORT_LIMIT
from reportsim.web.limits.expensive_requests import refuse_during_run, refuse_other_sites
from reportsim.web.limits.rate_limit import rate_limited
from reportsim.web.prefer import read_preferences
from reportsim.web.query_parameters import load_query
from reportsim.web.request_lookup import path_id
from reportsim.web.responses import json_response
from reportsim.web.server.send_buffers import write_in_chunks
from reportsim.web.submission import complete_submission

EXPORT_TIMEOUT_S: Final = 300.0
# The policy of the exported page, with the directives that a meta element cannot have.
REPORT_POLICY: Final = f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@rate_limited("async")
async def create_benchmark(request: web.Request) -> web.StreamResponse:
    """Runs one load against both patterns, and measures them at the client and at the server.

    Pairs of blocks have the same arrivals and service times on both sides; which side comes first is drawn from the
    seed. One run at a time: progress is sent as `benchmark` events.
    """
    runner, preferred = request.app[RUNNER], read_preferences(request)
    parsed = parse_raw(BenchmarkPlan, await read_json(request))
    await complete_submission(request.app[ENGINE], parsed, fresh=True)
    try:
        id = await runner.start(build_plan(parsed))
    except store.AlreadyRunning:
        raise Problem("conflict", "A benchmark is running; two at once would disturb each other.") from None
    if preferred.wait:
        await runner.ended(id, preferred.wait)
    run = await get_run_or_404(request, id)
    headers: dict[str, str] = {hdrs.LOCATION: f"/api/benchmark/{id}"}
    if preferred.wait and run.ended:
        return json_response(run_as_json(request, run), headers={**headers, **preferred.applied_header(wait=True)})
    return json_response(run_as_json(request, run), status=202, headers={**headers, hdrs.RETRY_AFTER: "1"})


async def list_benchmarks(request: web.Request) -> web.Response:
    """The newest runs, newest first; the last 200 are kept."""
    limit = load_query(BenchmarksQuery(), request)["limit"]
    runs = await list_runs(request, limit)
    runner = request.app[RUNNER]
    return json_response({"items": [run.as_json(runner.progress_of(run.id)) for run in runs]})


async def get_benchmark(request: web.Request) -> web.Response:
    """One run: its plan, prediction, progress and result; waits for its end as long as the client prefers."""
    preferred, id = read_preferences(request), path_id(request, RUN)
    run = await get_run_or_404(request, id)
    if preferred.wait and not run.ended:
        await request.app[RUNNER].ended(id, preferred.wait)
        run = await get_run_or_404(request, id)
    headers: dict[str, str] = {} if run.ended else {hdrs.RETRY_AFTER: "1"}
    return json_response(run_as_json(request, run), headers={**headers, **preferred.applied_header(wait=True)})


async def compare_benchmarks(request: web.Request) -> web.Response:
    """Compares two completed runs: how their plans differ, and each metric, newer − older."""
    query = load_query(ComparisonQuery(), request)
    refuse_other_sites(request)
    first, second = await get_completed_pair(request, (path_id(request, RUN), query["with_"]))
    return json_response(compare_runs(first.as_json(), second.as_json()))


async def cancel_benchmark(request: web.Request) -> web.Response:
    """Cancels a run that has not ended, and all of its requests."""
    id = path_id(request, RUN)
    if not await request.app[RUNNER].cancel(id):
        run = await get_run_or_404(request, id)
        raise Problem("conflict", f"The run has ended: {run.status}.")
    return json_response(run_as_json(request, await get_run_or_404(request, id)))


async def show_report(request: web.Request) -> web.Response:
    """The result as one self-contained page with its charts."""
    refuse_other_sites(request)
    with request.app[EXPORT_LIMIT].permit(client_key(request)):
        run, samples = await get_finished_run(request)
        refuse_during_run(request, run.id)
        async with render_export(Export.HTML, run.as_json(), samples) as pieces:
            page = b"".join([piece async for piece in pieces])
    return web.Response(
        body=page, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": REPORT_POLICY}
    )


async def download_replay(request: web.Request) -> web.Response:
    """The run as one self-contained page that plays it, of at most 40 requests of each side."""
    refuse_other_sites(request)
    with request.app[EXPORT_LIMIT].permit(client_key(request)):
        run, samples = await get_finished_run(request)
        refuse_during_run(request, run.id)
        async with render_export(Export.REPLAY, run.as_json(), samples) as pieces:
            page = b"".join([piece async for piece in pieces])
    # Its script is for the file; here it is nothing but a download.
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="replay-{run.id}.html"'}
    return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)


async def download_samples(request: web.Request) -> web.StreamResponse:
    """Every request of both sides as a row of CSV: its timestamps, its outcome, its time to result."""
    refuse_other_sites(request)
    with request.app[EXPORT_LIMIT].permit(client_key(request)):
        run, samples = await get_finished_run(request)
        refuse_during_run(request, run.id)
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/csv; charset=utf-8; header=present",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="{run.id}.csv"',
            }
        )
        if request.method == hdrs.METH_HEAD:
            return response
        async with asyncio.timeout(EXPORT_TIMEOUT_S), render_export(Export.CSV, run.as_json(), samples) as pieces:
            await response.prepare(request)
            async for piece in pieces:
                await write_in_chunks(response, piece)
            await response.write_eof()
    return response


async def download_percentiles(request: web.Request) -> web.StreamResponse:
    """The time to result of one side as a percentile distribution in the text format of HdrHistogram."""
    side = load_query(PercentilesQuery(), request)["side"]
    refuse_other_sites(request)
    with request.app[EXPORT_LIMIT].permit(client_key(request)):
        run, samples = await get_finished_run(request)
        sides = [each.name for each in Plan.from_json(run.plan).sides]
        name = side or sides[0]
        if name not in sides:
            raise Problem("conflict", f"The run's sides are {' and '.join(sides)}.")
        refuse_during_run(request, run.id)
        async with render_export(Export.HGRM, run.as_json(), [samples[sides.index(name)]]) as pieces:
            text = b"".join([piece async for piece in pieces])
    headers = {hdrs.CONTENT_DISPOSITION: f'attachment; filename="{run.id}-{name}.hgrm"'}
    return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=headers)


async def get_finished_run(request: web.Request) -> tuple[Benchmark, tuple[bytes, bytes]]:
    """Reads a run with its samples; 409 if it has no result."""
    run = await get_run_or_404(request, path_id(request, RUN))
    samples = await store.samples(request.app[ENGINE].pool, run.id)
    if run.result is None or samples is None:
        raise Problem("conflict", f"The run has no result: {run.status}.")
    return run, samples
