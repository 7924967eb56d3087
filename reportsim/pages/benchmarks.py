"""The benchmark's pages: the form with what to expect, a run as it goes, its result, two runs side by side."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, fields, validate

from reportsim.benchmark.plan import Arrivals, Cancel, Plan
from reportsim.benchmark.report.render_process import Export, rendering
from reportsim.benchmark.theory.prediction_process import foresee
from reportsim.core.problems import Problem, invalid, unavailable
from reportsim.pages.benchmark_comparison import compared
from reportsim.pages.benchmark_form import SHAPES, VALUES, plan_body, plan_errors, plan_values
from reportsim.pages.forms import FORM, read_form
from reportsim.reports.catalog import CATALOG
from reportsim.reports.fields import UUID_FORM
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.events import stream_url
from reportsim.schemas.strict import Strict
from reportsim.schemas.submission_parser import parse_body
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Benchmark
from reportsim.web.benchmark_runs import RUN, build_plan, get_run_or_404, run_as_json
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
# Results as pages have them; making one takes a process of its own and half a second.
REMEMBERED: Final = 16
CHOICES: Final = {"arrivals": list(Arrivals), "cancel": list(Cancel), "distribution": SHAPES}
PREDICTION_LIMIT: Final = web.AppKey("PREDICTION_LIMIT", ConcurrencyLimit)
RESULTS: Final = web.AppKey("RESULTS", OrderedDict[UUID, str])
# Results are made one after another: pages wait for a moment where exports would be refused.
MAKING: Final = web.AppKey("MAKING", asyncio.Lock)
PATIENCE_S: Final = 20.0


def setup(app: web.Application) -> None:
    """Adds what the pages keep."""
    app[PREDICTION_LIMIT] = ConcurrencyLimit("predictions", MOST_PREDICTIONS)
    app[RESULTS] = OrderedDict()
    app[MAKING] = asyncio.Lock()


class RunQuery(Strict):
    """Whether only the live part is asked for."""

    fragment = fields.String(validate=validate.Equal("run"))


@html_page
async def show_benchmarks(request: web.Request) -> web.StreamResponse:
    """A form that starts a run, and the runs there are."""
    if "predict" in request.query:
        refuse_other_sites(request)
    return await benchmarks(request, request.query)


async def benchmarks(request: web.Request, given: Mapping[str, str], problem: Problem | None = None) -> web.Response:
    """The page; after a refused form with what was typed, and why it was refused."""
    engine, runner = request.app[ENGINE], request.app[RUNNER]
    last_event_id = engine.hub.last_id
    prediction = None
    if "predict" in given and problem is None:
        try:
            prediction = await predicted(request, given)
        except Problem as refused:
            if refused.slug != "invalid-parameters":
                raise
            problem = refused
    runs = await store.newest(engine.pool, LISTED)
    context = {
        "runs": runs,
        "progress": {run.id: runner.progress_of(run.id) for run in runs},
        "values": {**VALUES, **{name: given[name] for name in VALUES if name in given}},
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
        Problem: 422 with all that is wrong with it.
    """
    parsed = parse_body(BenchmarkPlan, plan_body(form))
    await complete_submission(request.app[ENGINE], parsed, fresh=True)
    return build_plan(parsed)


async def predicted(request: web.Request, form: Mapping[str, str]) -> Json:
    """What theory expects of the plan that a form describes."""
    plan = await read_plan(request, form)
    refuse_during_run(request)
    with request.app[PREDICTION_LIMIT].permit():
        try:
            return {**await foresee(plan), "plan": plan}
        except TimeoutError:
            raise unavailable("The prediction takes too long; a smaller load is predicted sooner.") from None


async def show_prediction(request: web.Request) -> web.StreamResponse:
    """What to expect of a plan, as a part of the page; a problem is a line in it."""
    refuse_other_sites(request)
    try:
        prediction, problem = await predicted(request, request.query), None
    except Problem as refused:
        prediction, problem = None, refused
    status = problem.status if problem else 200
    return render(request, "partials/prediction.html", status=status, prediction=prediction, problem=problem)


@html_page
async def start_form(request: web.Request) -> web.StreamResponse:
    """Starts a run, and goes on to its page."""
    form = await read_form(request)
    request[FORM] = form
    try:
        return await start_run(request)
    except store.AlreadyRunning:
        busy = Problem("conflict", "A run is in progress; two at once would measure each other.")
        return await benchmarks(request, form, busy)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await benchmarks(request, form, problem)


@rate_limited("async", raise_refusal)
async def start_run(request: web.Request) -> web.StreamResponse:
    """Starts the run that a form describes."""
    form = request[FORM]
    id = await request.app[RUNNER].start(await read_plan(request, form))
    return web.Response(status=303, headers={hdrs.LOCATION: f"/benchmarks/{id}"})


@html_page
async def show_benchmark(request: web.Request) -> web.StreamResponse:
    """One run: how far it is, or what came of it."""
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
        "result": await result_part(request, run),
        "events": stream_url(last_event_id),
    }
    return render(request, "partials/run.html" if "fragment" in query else "benchmark.html", **context)


async def result_part(request: web.Request, run: Benchmark) -> str | None:
    """The result with its plots, as markup; made once and kept while others are not looked at more often."""
    if run.result is None:
        return None
    kept = request.app[RESULTS]
    if run.id not in kept:
        refuse_during_run(request, run.id)
        try:
            async with asyncio.timeout(PATIENCE_S), request.app[MAKING]:
                await make_result(request, run)
        except TimeoutError:
            raise unavailable("Many results are being drawn.") from None
    if (found := kept.get(run.id)) is not None:
        kept.move_to_end(run.id)
    return found


async def make_result(request: web.Request, run: Benchmark) -> None:
    """Draws a result, unless somebody else has done so meanwhile."""
    kept = request.app[RESULTS]
    if run.id in kept or (samples := await store.samples(request.app[ENGINE].pool, run.id)) is None:
        return
    async with rendering(Export.PART, run.as_json(), samples) as pieces:
        made = b"".join([piece async for piece in pieces])
    if not made:
        raise Problem("internal-error", "The result could not be drawn.")
    kept[run.id] = made.decode()
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)


@html_page
async def cancel_run_form(request: web.Request) -> web.StreamResponse:
    """Ends a run that has not ended, and shows it."""
    id = path_id(request, RUN)
    if not await request.app[RUNNER].cancel(id):
        run = await get_run_or_404(request, id)
        raise Problem("conflict", f"The run has ended: {run.status}.")
    return web.Response(status=303, headers={hdrs.LOCATION: f"/benchmarks/{id}"})


@html_page
async def compare_runs(request: web.Request) -> web.StreamResponse:
    """Two runs side by side: where their plans differ, and how the results do."""
    refuse_other_sites(request)
    ids = request.query.getall("id", [])
    if len(ids) != 2 or not all(UUID_FORM.fullmatch(id) for id in ids):
        raise invalid([{"detail": "Choose two runs.", "parameter": "id"}])
    runs = [await get_run_or_404(request, UUID(id)) for id in ids]
    for run in runs:
        if run.result is None:
            raise Problem("conflict", f"The run {run.id} has no result: {run.status}.")
    return render(request, "comparison.html", runs=runs, **compared(*runs))
