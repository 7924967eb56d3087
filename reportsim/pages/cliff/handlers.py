"""The cliff on the home page: reads its control, loads its measured points, and starts a run at its load."""

import secrets
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

from reportsim.core.problems import Problem, invalid
from reportsim.pages.cliff.figure import CliffFigure, load_cliff, measured_points, name_other
from reportsim.pages.cliff.scenario import FIRST_LOAD, LOADS, plan_at
from reportsim.pages.forms import FORM, parse_number
from reportsim.store import benchmarks
from reportsim.web.keys import ENGINE, RUNNER
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited

MOST_POINTS: Final = 50
MOST_SEEDS: Final = 2**31


async def load_figure(request: web.Request, refused: Mapping[str, str] | None) -> CliffFigure:
    """The picture at the load of a refused form or else of the query, with the points of the newest runs."""
    runs = await benchmarks.newest(request.app[ENGINE].pool, MOST_POINTS)
    running = next((run for run in runs if not benchmarks.has_ended(run.status)), None)
    return CliffFigure(
        cliff=load_cliff(),
        load=read_load(request.query) if refused is None else parse_refused_load(refused),
        points=measured_points(runs),
        measuring=running is not None,
        other=name_other(running),
    )


def read_load(given: Mapping[str, str]) -> int:
    """The position of the control.

    Raises:
        Problem: 422 where it has no such position.
    """
    load = parse_number(given.get("load", str(FIRST_LOAD)))
    if load not in LOADS:
        step = f"{LOADS[0]} to {LOADS[-1]} in steps of {LOADS.step}"
        raise invalid([{"detail": f"The load is a percentage from {step}.", "pointer": "#/load"}])
    return int(load)


def parse_refused_load(form: Mapping[str, str]) -> int:
    """The position of the control in a form that was refused; where it stands at first if there is no such position."""
    try:
        return read_load(form)
    except Problem:
        return FIRST_LOAD


@rate_limited("async", raise_refusal)
async def start_measurement(request: web.Request) -> web.StreamResponse:
    """Starts a run at the load of the form, with requests of its own, and redirects back to the picture."""
    form = request[FORM]
    load = read_load(form)
    try:
        id = await request.app[RUNNER].start(plan_at(load, secrets.randbelow(MOST_SEEDS)))
    except benchmarks.AlreadyRunning:
        raise Problem(
            "conflict", "A race or benchmark is running. Two at once would distort each other’s results."
        ) from None
    return web.Response(status=303, headers={hdrs.LOCATION: f"/?load={load}&measured={id}#cliff"})
