"""The home page: the race, the state of the service, the form for a single report, and the list of requests."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import hdrs, web
from marshmallow import EXCLUDE
from yarl import URL

from reportsim.core.callback_policy.addresses import classify
from reportsim.core.model import Ledger
from reportsim.core.problems import Problem, invalid
from reportsim.pages.cliff.figure import CliffFigure, load_cliff
from reportsim.pages.cliff.handlers import load_figure, start_measurement
from reportsim.pages.forms import FORM, form_errors, parse_number, read_form, submission_body
from reportsim.pages.race.handlers import RACE_PARAMETERS, find_race, parse_controls, parse_refused_controls, start_race
from reportsim.pages.request import accept, curl_command, submit_and_wait
from reportsim.pages.request_list import FILTERS, REQUEST_COUNTS, HomeQuery, RequestCounts, load_listing
from reportsim.pages.service_facts import ServiceFact, find_program, list_service_facts
from reportsim.reports.catalog import CATALOG
from reportsim.schemas.events import stream_url
from reportsim.schemas.submission_parser import parse_body
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Submission
from reportsim.web.keys import DRAINING, ENGINE, READY, SETTINGS
from reportsim.web.limits.expensive_requests import refuse_other_sites
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited
from reportsim.web.query_parameters import load_query
from reportsim.web.readiness import check_database
from reportsim.web.submission import ASYNC_PATH, FAILURES_PATH, demo_receiver_origin
from reportsim.web.templating import html_page, render

Json = dict[str, Any]

# With one of these parameters the page is the list of requests, without the race.
LIST_PARAMETERS: Final = (*FILTERS, "run", "cursor", "limit", "q")
PARTIALS: Final = {"list": "partials/home_live.html", "race": "partials/race.html", "cliff": "partials/cliff.html"}
# Problems that are shown in the form; all others have a page of their own.
SHOWN_IN_FORM: Final = frozenset({"invalid-parameters", "quota-exceeded", "conflict"})


def setup(app: web.Application) -> None:
    """Adds templates, static files and the request counters to the application."""
    load_cliff()
    app[REQUEST_COUNTS] = RequestCounts(app[ENGINE].pool, app[ENGINE].clock.monotonic)


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """A condition for the service to work: whether it holds, its value, and the remedy if it does not."""

    ok: bool
    text: str
    value: str
    remedy: str


@html_page
async def show_home(request: web.Request) -> web.StreamResponse:
    """The home page, or its live part."""
    if not RACE_PARAMETERS.isdisjoint(request.query):
        refuse_other_sites(request)
    return await render_home(request)


async def render_home(
    request: web.Request, form: Mapping[str, str] | None = None, problem: Problem | None = None
) -> web.Response:
    """The home page or its live part; after a refused form with its values and the problem."""
    engine = request.app[ENGINE]
    query = load_query(HomeQuery(unknown=EXCLUDE), request)
    # Read before the rows, so that the event stream starts at a state that they include.
    last_event_id = engine.hub.last_id
    database, migrated = await check_database(request)
    usable = database and migrated
    ledgers = await engine.ledgers.all() if usable else []
    checks = check_readiness(request, database=database, migrated=migrated, ledgers=ledgers)
    mode = form.get("mode") if form else None
    controls = parse_refused_controls(form, problem) if form and mode == "race" else parse_controls(request.query)
    controls, race = (
        await find_race(request, query, controls) if usable and not is_list(query, request) else (controls, None)
    )
    context: Json = {
        "checks": checks,
        "facts": local_facts(request),
        "ready": all(check.ok for check in checks),
        "ledgers": ledgers,
        "workers": engine.slots.width,
        "busy_workers": len(engine.worker.running_ids),
        "attempts": request.app[SETTINGS].callback_attempts,
        "listing": await load_listing(request, query) if usable else None,
        "curl": curl_command(request, ASYNC_PATH, {"report_type": "trial_balance"}),
        "controls": controls,
        "race": race,
        "cliff": await find_cliff(request, query, form) if race else None,
        "mode": mode,
        "values": form if form and mode not in {"race", "cliff"} else {},
        "errors": form_errors(problem),
        "problem": problem,
        "reports": CATALOG.values(),
        "events": stream_url(last_event_id, run=query.get("run")),
    }
    response = render(request, PARTIALS.get(query.get("fragment", ""), "home.html"), **context)
    set_status(response, problem, usable=usable)
    return response


async def find_cliff(
    request: web.Request, query: Mapping[str, Any], form: Mapping[str, str] | None
) -> CliffFigure | None:
    """The cliff, which comes before the race but is no part of its own fragment."""
    if query.get("fragment") == "race":
        return None
    return await load_figure(request, form if form and form.get("mode") == "cliff" else None)


def set_status(response: web.Response, problem: Problem | None, *, usable: bool) -> None:
    """Gives the page the status of the problem, or 503 while the database is not usable."""
    if problem:
        response.set_status(problem.status)
        response.headers.update(problem.headers)
    elif not usable:
        response.set_status(503)
        response.headers[hdrs.RETRY_AFTER] = "2"


def check_readiness(
    request: web.Request, *, database: bool, migrated: bool, ledgers: Sequence[Ledger]
) -> list[ReadinessCheck]:
    """The conditions for the service to work."""
    engine, app = request.app[ENGINE], request.app
    names = ", ".join(f"{ledger.name} with {ledger.lines:,} lines" for ledger in ledgers)
    workers = f"{engine.slots.width}, {len(engine.worker.running_ids)} busy"
    return [
        ReadinessCheck(
            database,
            "database",
            "connected",
            "The database does not answer. Its address is DATABASE_URL. The service keeps trying to connect.",
        ),
        ReadinessCheck(
            migrated or not database,
            "migrations",
            "up to date",
            "The database schema belongs to another version. Run: reportsim migrate",
        ),
        ReadinessCheck(
            bool(ledgers) or not (database and migrated),
            "ledgers",
            names,
            f"There is no ledger. Run: {find_program()} ledger generate --ledger demo",
        ),
        ReadinessCheck(app[READY].is_set(), "workers", workers, "They start when the database is ready."),
        ReadinessCheck(
            has_receiver(request), "demo receiver", "listening", "Its address is known once the service listens."
        ),
        ReadinessCheck(not app[DRAINING].is_set(), "accepting", "new requests", "The service is shutting down."),
    ]


def local_facts(request: web.Request) -> Sequence[ServiceFact]:
    """What the user of a service on this machine needs; nothing where others reach it, whom folders do not concern."""
    base_url = request.app[ENGINE].addresses.base_url
    if classify(URL(base_url).host or "") != "loopback":
        return ()
    return list_service_facts(request.app[SETTINGS], base_url)


def is_list(query: Mapping[str, Any], request: web.Request) -> bool:
    """Whether the page is the list of requests, without the race."""
    if "fragment" in query:
        return bool(query["fragment"] == "list")
    return any(name in request.query for name in LIST_PARAMETERS)


def has_receiver(request: web.Request) -> bool:
    """Whether the address of the demo receiver is known."""
    with contextlib.suppress(Problem):
        demo_receiver_origin(request)
        return True
    return False


@html_page
async def submit_form(request: web.Request) -> web.StreamResponse:
    """Takes the form of the home page and redirects to the new request or race."""
    form = await read_form(request)
    request[FORM] = form
    handlers = {"sync": submit_sync, "async": submit_async, "race": start_race, "cliff": start_measurement}
    try:
        if (handler := handlers.get(form.get("mode", ""))) is None:
            raise invalid([{"detail": "Choose sync or async.", "pointer": "#/mode"}])
        return await handler(request)
    except Problem as problem:
        if problem.slug not in SHOWN_IN_FORM:
            raise
        return await render_home(request, form, problem)


@rate_limited("sync", raise_refusal)
async def submit_sync(request: web.Request) -> web.StreamResponse:
    """Submits a sync request and waits for its end."""
    form = request[FORM]
    return await submit_and_wait(request, parse_body(Submission, submission_body(form)))


@rate_limited("async", raise_refusal)
async def submit_async(request: web.Request) -> web.StreamResponse:
    """Submits an async request; without a callback URL the demo receiver is called."""
    form = request[FORM]
    body = submission_body(form)
    failures = parse_number(form.get("failures", "") or "0")
    if not (url := form.get("callback_url")):
        return await accept(request, parse_body(FailingSubmission, {**body, "failures": failures}), FAILURES_PATH)
    if failures:
        detail = "Only the demo receiver can be told to fail. Enter 0 here, or leave the callback URL empty."
        raise invalid([{"detail": detail, "pointer": "#/failures"}])
    return await accept(request, parse_body(AsyncSubmission, {**body, "callback_url": url}), ASYNC_PATH)
