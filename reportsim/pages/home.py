"""The pages: the list with its form, one request, one kind of problem. What a page updates live is a partial of it."""

import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, ValidationError, fields, validate
from yarl import URL

from reportsim.core.model import CallbackStatus, Mode, Request
from reportsim.core.problems import KINDS, Kind, Problem, flatten, invalid
from reportsim.pages.csv_preview import preview
from reportsim.pages.forms import FORM, form_errors, number, read_form, submission
from reportsim.pages.race import live as racing
from reportsim.pages.race import model as races
from reportsim.pages.request_list import COUNTERS, FILTERS, Counters, HomeQuery, listing
from reportsim.pages.timeline import course
from reportsim.reports.catalog import CATALOG
from reportsim.schemas.events import stream_url
from reportsim.schemas.submission_parser import ParsedBody, parse_body
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Submission
from reportsim.store import benchmarks
from reportsim.store import callbacks as callback_store
from reportsim.web.keys import DRAINING, ENGINE, READY, RUNNER, SETTINGS
from reportsim.web.limits.concurrency_limit import SYNC_LIMIT
from reportsim.web.limits.expensive_requests import refuse_other_sites
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited
from reportsim.web.query_parameters import load_query
from reportsim.web.readiness import check_database
from reportsim.web.request_lookup import explain_redelivery_conflict, get_request_or_404, path_id
from reportsim.web.submission import (
    ASYNC_PATH,
    FAILURES_PATH,
    SYNC_PATH,
    complete_submission,
    demo_receiver_origin,
    new_request,
    submit_row,
)
from reportsim.web.templating import html_page, render

Json = dict[str, Any]

# Whoever names one of these has seen the race, and wants to read the list.
LIST_PARAMETERS: Final = (*FILTERS, "run", "cursor", "limit", "q")
RACE_PARAMETERS: Final = frozenset({"race", *races.RaceForm().fields})
ORIGINAL: Final = web.RequestKey("ORIGINAL", Request)
# The attempts that the page of a request shows; the API has all of them.
MOST_LOGS: Final = 100


def setup(app: web.Application) -> None:
    """Adds what the pages keep to the application."""
    app[COUNTERS] = Counters(app[ENGINE].pool, app[ENGINE].clock.monotonic)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that must be so for the service to work: whether it is, and what to do if not."""

    ok: bool
    text: str
    fix: str = ""
    said: str = ""


@html_page
async def show_home(request: web.Request) -> web.StreamResponse:
    """What is true of the service, a form to ask for a report, and the list of requests."""
    if not RACE_PARAMETERS.isdisjoint(request.query):
        refuse_other_sites(request)
    return await home(request)


async def home(
    request: web.Request, values: Mapping[str, str] | None = None, problem: Problem | None = None
) -> web.Response:
    """The home page or its live part; after a refused form with what was typed, and why it was refused."""
    engine = request.app[ENGINE]
    query = load_query(HomeQuery(unknown=EXCLUDE), request)
    # Read before the rows, so that the stream goes on from a moment that they include.
    last_event_id = engine.hub.last_id
    database, migrated = await check_database(request)
    usable = database and migrated
    ledgers = await engine.ledgers.all() if usable else []
    facts = [
        Fact(
            database,
            "database",
            "The database does not answer; DATABASE_URL says where it is. Waiting for it.",
            "answers",
        ),
        Fact(
            migrated or not database,
            "migrations",
            "The database belongs to another build. Run: reportsim migrate",
            "are those of this build",
        ),
        Fact(
            bool(ledgers) or not usable,
            "ledgers",
            "Make one: reportsim ledger generate --ledger demo",
            ", ".join(f"{ledger.name} with {ledger.lines:,} lines" for ledger in ledgers),
        ),
        Fact(
            request.app[READY].is_set(),
            "workers",
            "They start when the database is ready.",
            f"{engine.slots.width}, {len(engine.worker.running_ids)} at work",
        ),
        Fact(has_receiver(request), "demo receiver", "It is known once the service listens.", "takes callbacks"),
        Fact(not request.app[DRAINING].is_set(), "accepting", "The service is stopping.", "new work"),
    ]
    controls = read_race_again(values, problem) if values and values.get("mode") == "race" else read_race(request.query)
    ready = all(fact.ok for fact in facts)
    context: Json = {
        "facts": facts,
        "ready": ready,
        "ledgers": ledgers,
        "workers": engine.slots.width,
        "working": len(engine.worker.running_ids),
        "attempts": request.app[SETTINGS].callback_attempts,
        "listing": await listing(request, query) if usable else None,
        "curl": curl(request, ASYNC_PATH, {"report_type": "trial_balance"}),
        "controls": controls,
        "race": await shown_race(request, query, controls) if usable and not is_list(query, request) else None,
        "values": values if values and values.get("mode") != "race" else {},
        "errors": form_errors(problem),
        "problem": problem,
        "reports": CATALOG.values(),
        "events": stream_url(last_event_id, run=query.get("run")),
    }
    template = {"list": "partials/home_live.html", "race": "partials/race.html"}.get(
        query.get("fragment", ""), "home.html"
    )
    status = problem.status if problem else 200 if usable else 503
    response = render(request, template, status=status, **context)
    response.headers.update(problem.headers if problem else {} if usable else {hdrs.RETRY_AFTER: "2"})
    return response


def is_list(query: Mapping[str, Any], request: web.Request) -> bool:
    """Whether the list is asked for, and not the page that begins with the race."""
    return query.get("fragment") == "list" or any(name in request.query for name in LIST_PARAMETERS)


async def shown_race(request: web.Request, query: Mapping[str, Any], controls: races.Controls) -> races.Race:
    """The race that the query names, or else what to expect of one."""
    expected = races.expected(controls, request.app[SETTINGS].callback_waits)
    if (id := query.get("race")) is None:
        return expected
    run = await benchmarks.get(request.app[ENGINE].pool, id)
    if run is None or not run.plan.get("together"):
        raise Problem("not-found", "There is no such race.")
    return await racing.read_race(request, run, expected)


def read_race(given: Mapping[str, str]) -> races.Controls:
    """The controls of the race.

    Raises:
        Problem: 422 with what is wrong with them.
    """
    try:
        return races.read_controls(given)
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None


def read_race_again(values: Mapping[str, str], problem: Problem | None) -> races.Controls:
    """The controls of a refused race; where they were not what it was refused for, they need not be valid."""
    try:
        return read_race(values)
    except Problem:
        if problem is None or problem.slug == "invalid-parameters":
            raise
        return read_race({})


def has_receiver(request: web.Request) -> bool:
    """Whether the demo receiver's address is known."""
    with contextlib.suppress(Problem):
        demo_receiver_origin(request)
        return True
    return False


@html_page
async def submit_form(request: web.Request) -> web.StreamResponse:
    """Takes the form of the home page, and goes on to the request that came of it."""
    form = await read_form(request)
    request[FORM] = form
    ways = {"sync": submit_sync, "async": submit_async, "race": start_race}
    try:
        if (submit := ways.get(form.get("mode", ""))) is None:
            raise invalid([{"detail": "Choose sync or async.", "pointer": "#/mode"}])
        return await submit(request)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded", "conflict"}:
            raise
        return await home(request, form, problem)


@rate_limited("sync", raise_refusal)
async def submit_sync(request: web.Request) -> web.StreamResponse:
    """Makes a report while the browser waits."""
    form = request[FORM]
    return await block(request, parse_body(Submission, submission(form)))


async def block(request: web.Request, parsed: ParsedBody) -> web.StreamResponse:
    """Submits a sync request and waits for its end."""
    engine = request.app[ENGINE]
    new = new_request(request, await complete_submission(engine, parsed), Mode.SYNC, SYNC_PATH)
    with request.app[SYNC_LIMIT].permit(), engine.hub.end_of(new.request.id) as ended:
        await submit_row(request, parsed, new)
        # No slot in time: the request's own page says so.
        with contextlib.suppress(Problem):
            await engine.blocking_end(new.request.id, ended)
    return see_other(new.request.id)


@rate_limited("async", raise_refusal)
async def submit_async(request: web.Request) -> web.StreamResponse:
    """Accepts a report for later; the demo receiver is called back where no other URL is given."""
    engine = request.app[ENGINE]
    form = request[FORM]
    body = submission(form)
    failures = number(form.get("failures", "") or "0")
    if url := form.get("callback_url"):
        if failures:
            detail = "Only the demo receiver fails when it is told to; leave this at 0, or the callback URL empty."
            raise invalid([{"detail": detail, "pointer": "#/failures"}])
        parsed, endpoint = parse_body(AsyncSubmission, {**body, "callback_url": url}), ASYNC_PATH
    else:
        parsed, endpoint = parse_body(FailingSubmission, {**body, "failures": failures}), FAILURES_PATH
    new = new_request(request, await complete_submission(engine, parsed), Mode.ASYNC, endpoint)
    await submit_row(request, parsed, new)
    return see_other(new.request.id)


@rate_limited("async", raise_refusal)
async def start_race(request: web.Request) -> web.StreamResponse:
    """Starts the race and goes on to it; the controls stay as they are."""
    form = request[FORM]
    controls = read_race(form)
    try:
        id = await request.app[RUNNER].start(controls.plan)
    except benchmarks.AlreadyRunning:
        raise Problem(
            "conflict", "Another race or benchmark is running; two at once would disturb each other."
        ) from None
    url = URL("/").with_query({"race": str(id), **{name: str(value) for name, value in asdict(controls).items()}})
    return web.Response(status=303, headers={hdrs.LOCATION: str(url)})


def see_other(id: UUID) -> web.Response:
    """The 303 to a request's page."""
    return web.Response(status=303, headers={hdrs.LOCATION: f"/requests/{id}"})


class RequestQuery(HomeQuery):
    """Whether only the live part is asked for."""

    fragment = fields.String(validate=validate.Equal("detail"))


@html_page
async def show_request(request: web.Request) -> web.StreamResponse:
    """One request: its state, its result, its callback attempts."""
    return await detail(request)


async def detail(request: web.Request, problem: Problem | None = None) -> web.Response:
    """The page of a request or its live part; with a problem where something asked of it was refused."""
    engine = request.app[ENGINE]
    query = load_query(RequestQuery(unknown=EXCLUDE), request)
    last_event_id = engine.hub.last_id
    row = await get_request_or_404(engine, path_id(request))
    logs = await callback_store.newest_logs(engine.pool, row.id, MOST_LOGS + 1)
    context = {
        "row": row,
        "logs": logs[-MOST_LOGS:],
        "earlier": len(logs) > MOST_LOGS,
        "next_attempt_at": next_attempt_at(
            row, [log.next_attempt_at for log in logs if log.series == row.callback_series]
        ),
        "attempts": request.app[SETTINGS].callback_attempts,
        "curl": curl(request, *resubmission(row)),
        "inbox": URL(row.callback_url or "").path if row.callback_demo else None,
        "course": course(row, logs, engine.clock.now()),
        "preview": preview(engine.files.open(row.id)) if row.result_payload else None,
        "problem": problem,
        "events": stream_url(last_event_id, request_id=row.id),
    }
    template = "partials/detail.html" if "fragment" in query else "request.html"
    response = render(request, template, status=problem.status if problem else 200, **context)
    response.headers.update(problem.headers if problem else {})
    return response


def curl(request: web.Request, path: str, body: Json) -> str:
    """A shell command that sends a submission to this service."""
    origin = request.app[SETTINGS].public_url or f"{request.scheme}://{request.host}"
    text = json.dumps(body, ensure_ascii=False)
    return f"curl -sS {shlex.quote(origin + path)} -H 'Content-Type: application/json' -d {shlex.quote(text)}"


def next_attempt_at(row: Request, times: Sequence[datetime | None]) -> datetime | None:
    """When the next callback attempt is due, as the last one has left it."""
    return times[-1] if times and row.callback_status is CallbackStatus.PENDING else None


def resubmission(row: Request) -> tuple[str, Json]:
    """The endpoint and the body that ask for the same again."""
    body = dict(row.input_payload)
    if row.mode is Mode.SYNC:
        return SYNC_PATH, body
    if row.endpoint == FAILURES_PATH:
        script = URL(row.callback_url or "").query.get("script", "")
        return FAILURES_PATH, {**body, "script": [step for step in script.split(",") if step]}
    return ASYNC_PATH, {**body, **({"callback_url": row.callback_url} if row.callback_url else {})}


@html_page
async def cancel_form(request: web.Request) -> web.StreamResponse:
    """Ends a request that has not ended, and shows it."""
    engine = request.app[ENGINE]
    id = path_id(request)
    if await engine.cancel(id) is None:
        row = await get_request_or_404(engine, id)
        return await detail(request, Problem("conflict", f"The request has ended: {row.status}."))
    return see_other(id)


@html_page
async def again_form(request: web.Request) -> web.StreamResponse:
    """Asks for the same again, with the limits of its endpoint, and goes on to the new request."""
    row = await get_request_or_404(request.app[ENGINE], path_id(request))
    request[ORIGINAL] = row
    try:
        return await (again_sync if row.mode is Mode.SYNC else again_async)(request)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await detail(request, problem)


@rate_limited("sync", raise_refusal)
async def again_sync(request: web.Request) -> web.StreamResponse:
    """Makes a report again while the browser waits."""
    _, body = resubmission(request[ORIGINAL])
    return await block(request, parse_body(Submission, body))


@rate_limited("async", raise_refusal)
async def again_async(request: web.Request) -> web.StreamResponse:
    """Accepts a report again, for later."""
    engine = request.app[ENGINE]
    endpoint, body = resubmission(request[ORIGINAL])
    schema = FailingSubmission if endpoint == FAILURES_PATH else AsyncSubmission
    parsed = parse_body(schema, body)
    new = new_request(request, await complete_submission(engine, parsed), Mode.ASYNC, endpoint)
    await submit_row(request, parsed, new)
    return see_other(new.request.id)


@html_page
async def redeliver_form(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callbacks, and shows the request."""
    try:
        return await redeliver_from_page(request)
    except Problem as problem:
        if problem.slug not in {"conflict", "quota-exceeded"}:
            raise
        return await detail(request, problem)


@rate_limited("async", raise_refusal)
async def redeliver_from_page(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callbacks, within the limits of what causes them."""
    engine = request.app[ENGINE]
    id = path_id(request)
    if await engine.redeliver(id) is None:
        raise Problem("conflict", explain_redelivery_conflict(await get_request_or_404(engine, id)))
    return see_other(id)


@html_page
async def show_problem(request: web.Request) -> web.StreamResponse:
    """What a kind of problem means, and what to do about it."""
    kind: Kind | None = KINDS.get(request.match_info["slug"])
    if kind is None:
        raise Problem("not-found", "There is no such kind of problem.")
    return render(request, "problem.html", kind=kind)
