"""The race on the home page: reads its controls, loads or predicts a race, and starts one."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from aiohttp import hdrs, web
from marshmallow import ValidationError
from yarl import URL

from reportsim.benchmark.plan import Plan
from reportsim.core.problems import Problem, flatten, invalid
from reportsim.pages.forms import FORM
from reportsim.pages.race.controls import RaceControls, RaceForm, controls_of, read_controls
from reportsim.pages.race.live import load_race
from reportsim.pages.race.model import Race
from reportsim.pages.race.prediction import predict_race
from reportsim.store import benchmarks
from reportsim.web.benchmark_runs import RUN, get_run_or_404
from reportsim.web.keys import ENGINE, PLUG, RUNNER, SETTINGS
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited
from reportsim.web.request_lookup import path_id
from reportsim.web.templating import html_page

RACE_PARAMETERS: Final = frozenset({"race", *RaceForm().fields})


async def find_race(
    request: web.Request, query: Mapping[str, Any], controls: RaceControls
) -> tuple[RaceControls, Race]:
    """The race that the query names with its own controls, or else a prediction for the given ones."""
    pool = request.app[ENGINE].pool
    run = None
    if (id := query.get("race")) is not None:
        run = await benchmarks.get(pool, id)
        if run is None or not run.plan.get("together"):
            raise Problem("not-found", "There is no such race.")
        controls = controls_of(Plan.from_json(run.plan))
    accept_ms = await benchmarks.latest_race_accept_ms(pool)
    prediction = predict_race(controls, request.app[SETTINGS].callback_waits, accept_ms)
    return controls, prediction if run is None else await load_race(request, run, prediction)


@html_page
@rate_limited("async", raise_refusal)
async def pull_plug(request: web.Request) -> web.StreamResponse:
    """Pulls the plug in a race that runs in this process, and redirects to it."""
    plug, id, current = request.app.get(PLUG), path_id(request, RUN), request.app[RUNNER].current
    if plug is None:
        raise Problem("not-found", "Only a service on this machine with the embedded database has a plug to pull.")
    run = await get_run_or_404(request, id)
    if current is None or current.id != id:
        raise Problem("conflict", f"The race does not run here: {run.status}.")
    await plug.pull(current)
    return web.Response(status=303, headers={hdrs.LOCATION: f"/?race={id}"})


def parse_controls(given: Mapping[str, str]) -> RaceControls:
    """The controls of the race, from a form or a query string.

    Raises:
        Problem: 422 with what is wrong with them.
    """
    try:
        return read_controls(given)
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None


def parse_refused_controls(values: Mapping[str, str], problem: Problem | None) -> RaceControls:
    """The controls of a refused race; the defaults where it was refused before they were validated."""
    try:
        return parse_controls(values)
    except Problem:
        if problem is None or problem.slug == "invalid-parameters":
            raise
        return parse_controls({})


@rate_limited("async", raise_refusal)
async def start_race(request: web.Request) -> web.StreamResponse:
    """Starts a race and redirects to it, with the same controls."""
    form = request[FORM]
    controls = parse_controls(form)
    try:
        id = await request.app[RUNNER].start(controls.plan)
    except benchmarks.AlreadyRunning:
        raise Problem(
            "conflict", "Another race or benchmark is running. Two at once would distort each other’s results."
        ) from None
    url = URL("/").with_query({"race": str(id), **{name: str(value) for name, value in asdict(controls).items()}})
    return web.Response(status=303, headers={hdrs.LOCATION: str(url)})
