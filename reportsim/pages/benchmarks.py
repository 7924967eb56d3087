"""The benchmark pages: the form with a prediction, a run, its result, and two runs compared."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, fields, validate

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.report.render_process import Export, render_export
from reportsim.benchmark.theory.prediction_process import predict_in_process
from reportsim.benchmark.workload import Arrivals
from reportsim.core.problems import Problem, invalid, unavailable
from reportsim.pages.benchmark_comparison import describe_comparison
from reportsim.pages.benchmark_form import PRESETS, SERVICE_TIMES, form_values, plan_body, plan_errors, plan_values
from reportsim.pages.forms import FORM, read_form
from reportsim.reports.catalog import CATALOG
from reportsim.reports.fields import UUID_FORM
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.events import stream_url
from reportsim.schemas.strict import Strict
from reportsim.schemas.strict_json import check_strings
from reportsim.schemas.submission_parser import parse_body
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Benchmark
from reportsim.web.benchmark_runs import RUN, build_plan, get_completed_pair, get_run_or_404, list_runs, run_as_json
from reportsim.web.keys import ENGINE, RUNNER
from reportsim.web.limits.concurrency_limit import ConcurrencyLimit
from reportsim.web.limits.expensive_requests import refuse_during_run, refuse_other_sites
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited
from reportsim.web.query_parameters import load_query
from reportsim.web.request_lookup import path_id
from reportsim.web.submission import complete_submission
from reportsim.web.templating import html_page, render

Json = dict[str, Any]

MOST_PREDICTIONS: Final = 2
LISTED: Final = 20
# Rendering a result takes half a second in a process of its own.
MOST_CACHED_RESULTS: Final = 16
CHOICES: Final = {"arrivals": list(Arrivals), "cancel": list(Cancel), "distribution": SERVICE_TIMES}
PREDICTIONS: Final = web.AppKey("PREDICTIONS", ConcurrencyLimit)
RESULT_CACHE: Final = web.AppKey("RESULT_CACHE", OrderedDict[UUID, str])
# Results are rendered one after another: a page waits where an export would be refused.
RENDER_LOCK: Final = web.AppKey("RENDER_LOCK", asyncio.Lock)
RENDER_TIMEOUT_S: Final = 20.0


def setup(app: web.Application) -> None:
    """Adds the state of the benchmark pages to the application."""
    app[PREDICTIONS] = ConcurrencyLimit("predictions", MOST_PREDICTIONS)
    app[RESULT_CACHE] = OrderedDict()
    app[RENDER_LOCK] = asyncio.Lock()


class RunQuery(Strict):
    """Whether only the live part is asked for."""

    fragment = fields.String(validate=validate.Equal("run"))


@html_page
async def show_benchmarks(request: web.Request) -> web.StreamResponse:
    """The form that starts a run, and the list of runs."""
    if "predict" in request.query:
        refuse_other_sites(request)
    return await render_benchmarks(request, request.query)


async def render_benchmarks(
    request: web.Request, given: Mapping[str, str], problem: Problem | None = None
) -> web.Response:
    """The page; after a refused form with its values and the problem."""
    engine, runner = request.app[ENGINE], request.app[RUNNER]
    last_event_id = engine.hub.last_id
    prediction = None
    if "predict" in given and problem is None:
        try:
            prediction = await predict(request, given)
        except Problem as refused:
            if refused.slug != "invalid-parameters":
                raise
            problem = refused
    runs = await list_runs(request, LISTED)
    context = {
        "runs": runs,
        "progress": {run.id: runner.progress_of(run.id) for run in runs},
        "values": form_values(given),
        "presets": PRESETS,
        "choices": {**CHOICES, "ledger": [ledger.name for ledger in await engine.ledgers.all()]},
        "reports": CATALOG.values(),
        "errors": plan_errors(problem),
        "problem": problem,
        "prediction": prediction,
        "events": stream_url(last_event_id),
    }
    response = render(request, "benchmarks.html", status=problem.status if problem else 200, **context)
    response.headers.update(problem.headers if problem else {})
    return response


async def read_plan(request: web.Request, form: Mapping[str, str]) -> Plan:
    """The plan that a form describes.

    Raises:
        Problem: 400 or 422 with all that is wrong with it.
    """
    check_strings(dict(form))
    parsed = parse_body(BenchmarkPlan, plan_body(form))
    await complete_submission(request.app[ENGINE], parsed, fresh=True)
    return build_plan(parsed)


async def predict(request: web.Request, form: Mapping[str, str]) -> Json:
    """The prediction of theory for the plan that a form describes."""
    plan = await read_plan(request, form)
    refuse_during_run(request)
    with request.app[PREDICTIONS].permit():
        try:
            return {**await predict_in_process(plan), "plan": plan}
        except TimeoutError:
            raise unavailable("The prediction takes too long; a smaller load is predicted sooner.") from None


async def show_prediction(request: web.Request) -> web.StreamResponse:
    """The prediction for a plan as a part of the page, or why there is none."""
    refuse_other_sites(request)
    try:
        prediction, problem = await predict(request, request.query), None
    except Problem as refused:
        prediction, problem = None, refused
    status = problem.status if problem else 200
    return render(request, "partials/prediction.html", status=status, prediction=prediction, problem=problem)


@html_page
async def submit_form(request: web.Request) -> web.StreamResponse:
    """Starts a run and redirects to its page."""
    form = await read_form(request)
    request[FORM] = form
    try:
        return await start_run(request)
    except store.AlreadyRunning:
        busy = Problem("conflict", "A run is in progress. Two at once would distort each other’s results.")
        return await render_benchmarks(request, form, busy)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await render_benchmarks(request, form, problem)


@rate_limited("async", raise_refusal)
async def start_run(request: web.Request) -> web.StreamResponse:
    """Starts the run that the form describes."""
    form = request[FORM]
    id = await request.app[RUNNER].start(await read_plan(request, form))
    return web.Response(status=303, headers={hdrs.LOCATION: f"/benchmarks/{id}"})


@html_page
async def show_benchmark(request: web.Request) -> web.StreamResponse:
    """One run: its progress or its result."""
    refuse_other_sites(request)
    query = load_query(RunQuery(unknown=EXCLUDE), request)
    last_event_id = request.app[ENGINE].hub.last_id
    run = await get_run_or_404(request, path_id(request, RUN))
    if run.plan.get("together"):
        return web.Response(status=303, headers={hdrs.LOCATION: f"/?race={run.id}"})
    runner = request.app[RUNNER]
    live = runner.current.recorder if runner.current is not None and runner.current.id == run.id else None
    context = {
        "run": run,
        "values": plan_values(run.plan),
        "plan": Plan.from_json(run.plan),
        "progress": run_as_json(request, run)["progress"],
        "live": {mode: side.live() for mode, side in live.sides.items()} if live else None,
        "result": await render_result(request, run),
        "events": stream_url(last_event_id),
    }
    return render(request, "partials/run.html" if "fragment" in query else "benchmark.html", **context)


async def render_result(request: web.Request, run: Benchmark) -> str | None:
    """The result with its charts as HTML, from a least-recently-used cache."""
    if run.result is None:
        return None
    cache = request.app[RESULT_CACHE]
    if run.id not in cache:
        refuse_during_run(request, run.id)
        try:
            async with asyncio.timeout(RENDER_TIMEOUT_S), request.app[RENDER_LOCK]:
                await add_to_cache(request, run)
        except TimeoutError:
            raise unavailable("Too many results are being rendered.") from None
    if (html := cache.get(run.id)) is not None:
        cache.move_to_end(run.id)
    return html


async def add_to_cache(request: web.Request, run: Benchmark) -> None:
    """Renders a result, unless another page did so while this one waited."""
    cache = request.app[RESULT_CACHE]
    if run.id in cache or (samples := await store.samples(request.app[ENGINE].pool, run.id)) is None:
        return
    async with render_export(Export.PART, run.as_json(), samples) as pieces:
        html = b"".join([piece async for piece in pieces])
    if not html:
        raise Problem("internal-error", "The result could not be rendered.")
    cache[run.id] = html.decode()
    while len(cache) > MOST_CACHED_RESULTS:
        cache.popitem(last=False)


@html_page
async def cancel_run(request: web.Request) -> web.StreamResponse:
    """Cancels a run that has not ended and redirects to it."""
    id = path_id(request, RUN)
    if not await request.app[RUNNER].cancel(id):
        run = await get_run_or_404(request, id)
        raise Problem("conflict", f"The run has ended: {run.status}.")
    return web.Response(status=303, headers={hdrs.LOCATION: f"/benchmarks/{id}"})


@html_page
async def compare_runs(request: web.Request) -> web.StreamResponse:
    """Two runs side by side, the older one first: how their plans differ, and their results."""
    refuse_other_sites(request)
    ids = request.query.getall("id", [])
    if len(ids) != 2 or not all(UUID_FORM.fullmatch(id) for id in ids):
        raise invalid([{"detail": "Choose two runs.", "parameter": "id"}])
    runs = await get_completed_pair(request, [UUID(id) for id in ids])
    return render(request, "comparison.html", runs=runs, comparison=describe_comparison(*runs))
