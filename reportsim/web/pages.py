"""The pages: the list with its form, one request, one kind of problem. What a page updates live is a partial of it."""

import contextlib
import functools
import gzip
import hashlib
import json
import math
import re
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

import aiohttp_jinja2
from aiohttp import hdrs, web
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup
from marshmallow import EXCLUDE, fields, validate
from yarl import URL

from reportsim import __version__
from reportsim.core.model import CallbackStatus, Mode, Request, Status, rfc3339
from reportsim.core.problems import KINDS, Kind, Problem, invalid
from reportsim.reports.catalog import CATALOG
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.web.body import check_texts, read_body
from reportsim.web.keys import DRAINING, ENGINE, READY, REQUEST_ID, SETTINGS
from reportsim.web.middleware import problem_response
from reportsim.web.ops import check_database
from reportsim.web.requests import (
    DEFAULT_PAGE,
    UUID_FORM,
    ListQuery,
    existing,
    id_in,
    load_query,
    make_cursor,
    read_cursor,
)
from reportsim.web.schemas import AsyncSubmission, FailingSubmission, Submission, options_of, parse, read_submission
from reportsim.web.submissions import (
    ASYNC,
    FAILURES,
    SYNC,
    failure_script,
    limited,
    new_request,
    own_receiver,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = dict[str, Any]

ENDPOINTS: Final = ("/api/", "/webhook-test/")
FORM: Final = web.RequestKey("FORM", dict[str, str])
FORM_TYPE: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 50
MOST_IDS: Final = 50
# Rows are rendered in one go, which holds the event loop: a fifth of a millisecond each.
LARGEST_PAGE: Final = 100
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
FILTERS: Final = ("status", "mode", "callback_status")
# Figures of a result that count things; all others are money in minor units.
COUNTS: Final = frozenset({"accounts", "rows", "entries", "transactions"})


# Static files


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file as it is sent, and the digest that its URL carries."""

    body: bytes
    zipped: bytes
    content_type: str
    digest: str


class Assets:
    """The package's static files, read once: no URL ever reaches the file system."""

    def __init__(self, folder: Traversable, *, fresh: bool) -> None:
        """Reads a folder; `fresh` reads it again at each use, for those who work on it."""
        self._folder = folder
        self._fresh = fresh
        self._assets = dict(read_assets(folder))

    def get(self, name: str) -> Asset | None:
        """A file by its path in the folder."""
        if self._fresh:
            self._assets = dict(read_assets(self._folder))
        return self._assets.get(name)

    def url(self, name: str) -> str:
        """The URL of a file, which changes with its content."""
        asset = self.get(name)
        if asset is None:
            raise LookupError(f"there is no static file {name}")
        return f"/static/{asset.digest}/{name}"


ASSETS: Final = web.AppKey("ASSETS", Assets)


def read_assets(folder: Traversable, prefix: str = "") -> Iterable[tuple[str, Asset]]:
    """Every file below a folder, by path."""
    for item in folder.iterdir():
        if item.is_dir():
            yield from read_assets(item, f"{prefix}{item.name}/")
        else:
            body = item.read_bytes()
            kind = TYPES.get(item.name.rpartition(".")[2], "application/octet-stream")
            digest = hashlib.sha256(body).hexdigest()[:12]
            yield prefix + item.name, Asset(body, gzip.compress(body, mtime=0), kind, digest)


async def send_asset(request: web.Request) -> web.Response:
    """A static file: kept for ever under its own digest, asked for again under any other."""
    asset = request.app[ASSETS].get(request.match_info["name"])
    if asset is None:
        raise Problem("not-found", "There is no such file.")
    exact = request.match_info.get("digest") == asset.digest
    zipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    headers = {
        hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if exact else "no-cache",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        hdrs.CONTENT_TYPE: asset.content_type,
    }
    if zipped:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=asset.zipped if zipped else asset.body, headers=headers)


async def send_icon(request: web.Request) -> web.Response:
    """The icon, for pages that cannot name one, like JSON in a browser."""
    request.match_info["name"] = "favicon.svg"
    return await send_asset(request)


# How values read


def moment(value: datetime | None, *, precise: bool = False) -> Markup:
    """A moment in UTC, to the second or the millisecond; a dash for none."""
    if value is None:
        return Markup("–")
    at = value.astimezone(UTC)
    text = at.isoformat(sep=" ", timespec="milliseconds" if precise else "seconds").removesuffix("+00:00")
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(value), text)


def duration(milliseconds: float) -> str:
    """A duration with three digits and a unit that fits."""
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60):,} min {int(seconds % 60)} s"


def took(row: Request) -> str:
    """How long a request took, from acceptance to its end."""
    if row.completed_at is None:
        return "–"
    return duration((row.completed_at - row.created_at).total_seconds() * 1000)


def money(minor: int, exponent: int) -> str:
    """Minor units as an amount in major units."""
    whole, part = divmod(abs(minor), 10**exponent)
    sign = "−" if minor < 0 else ""  # noqa: RUF001
    return f"{sign}{whole:,}" + (f".{part:0{exponent}}" if exponent else "")


def size(count: int) -> str:
    """A number of bytes with a unit that fits."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} GB"


def words(name: str) -> str:
    """A name of the API as words."""
    return name.replace("_", " ")


def titled(report_type: str) -> str:
    """The title of a report type."""
    report = CATALOG.get(report_type)
    return report.title if report else words(report_type)


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


FORMATS: Final[dict[str, Callable[..., str]]] = {
    "duration": duration,
    "moment": moment,
    "money": money,
    "pretty": pretty,
    "size": size,
    "titled": titled,
    "took": took,
    "words": words,
}


def setup(app: web.Application) -> None:
    """Adds templates and static files to the application."""
    debug = app[SETTINGS].debug
    app[ASSETS] = assets = Assets(resources.files("reportsim") / "static", fresh=debug)
    environment = aiohttp_jinja2.setup(
        app,
        loader=PackageLoader("reportsim.templates", ""),
        undefined=StrictUndefined,
        auto_reload=debug,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
        filters=FORMATS,
    )
    environment.globals.update(static=assets.url, version=__version__, COUNTS=COUNTS)
    app.router.add_get("/static/{digest}/{name:.+}", send_asset)
    app.router.add_get("/favicon.ico", send_icon)


def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """A template as an answer."""
    return aiohttp_jinja2.render_template(template, request, context, status=status)


def error_page(request: web.Request, problem: Problem) -> web.Response:
    """A problem for people: the same facts as its document."""
    document = {"request_id": request.get(REQUEST_ID), **problem.as_json()}
    response = render(request, "error.html", status=problem.status, problem=document)
    response.headers.update(problem.headers)
    return response


def answer_problem(request: web.Request, problem: Problem) -> web.Response:
    """A problem as its client likes it: a page for a browser that asks for no endpoint, else the document."""
    if request.path.startswith(ENDPOINTS):
        return problem_response(request, problem)
    likes_pages = "text/html" in request.headers.get(hdrs.ACCEPT, "")
    response = error_page(request, problem) if likes_pages else problem_response(request, problem)
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response


def page(handler: Handler) -> Handler:
    """Tells the problems of a page by a page, whatever the client accepts."""

    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return error_page(request, problem)

    return wrapper


# The home page


class HomeQuery(ListQuery):
    """The list's parameters, whether only its live part is asked for, and of which rows."""

    limit = fields.Integer(load_default=DEFAULT_PAGE, validate=validate.Range(1, LARGEST_PAGE))
    fragment = fields.String(validate=validate.Equal("list"))
    ids = fields.String()


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that must be so for the service to work: whether it is, and what to do if not."""

    ok: bool
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A choice of a filter."""

    text: str
    url: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A part of the list, and everything that leads elsewhere from it.

    A request with an id above `bound` that is not among the rows, yet passes the filters, is new to the list.
    """

    rows: Sequence[Request]
    groups: Mapping[str, Sequence[Link]]
    filtered: bool
    first: bool
    bound: str
    live: str
    newest: str
    older: str | None


@page
async def show_home(request: web.Request) -> web.StreamResponse:
    """What is true of the service, a form to ask for a report, and the list of requests."""
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
        Fact(database, "database", "The database does not answer; DATABASE_URL says where it is. Waiting for it."),
        Fact(migrated or not database, "migrations", "The database belongs to another build. Run: reportsim migrate"),
        Fact(bool(ledgers) or not usable, "ledgers", "Make one: reportsim ledger generate --ledger demo"),
        Fact(request.app[READY].is_set(), "workers", "They start when the database is ready."),
        Fact(has_receiver(request), "demo receiver", "It is known once the service listens."),
        Fact(not request.app[DRAINING].is_set(), "accepting", "The service is stopping."),
    ]
    ready = all(fact.ok for fact in facts)
    context: Json = {
        "facts": facts,
        "ready": ready,
        "ledgers": ledgers,
        "workers": engine.slots.width,
        "working": len(engine.worker.running_ids),
        "attempts": request.app[SETTINGS].callback_attempts,
        "listing": await listing(request, query) if usable else None,
        "curl": curl(request, ASYNC, {"report_type": "trial_balance"}),
        "values": values or {},
        "errors": form_errors(problem),
        "problem": problem,
        "reports": CATALOG.values(),
        "events": stream_url(last_event_id, run=query.get("run")),
    }
    template = "partials/home_live.html" if "fragment" in query else "home.html"
    status = problem.status if problem else 200 if usable else 503
    response = render(request, template, status=status, **context)
    response.headers.update(problem.headers if problem else {} if usable else {hdrs.RETRY_AFTER: "2"})
    return response


def has_receiver(request: web.Request) -> bool:
    """Whether the demo receiver's address is known."""
    with contextlib.suppress(Problem):
        own_receiver(request)
        return True
    return False


async def listing(request: web.Request, query: Mapping[str, Any]) -> Listing:
    """One page of the list, or the rows that `ids` names."""
    engine = request.app[ENGINE]
    chosen = {name: query[name] for name in (*FILTERS, "run") if name in query}
    filters = store.Filters(**chosen)
    limit = query["limit"]
    if "ids" in query:
        rows = sorted(await store.get(engine.pool, parse_ids(query["ids"])), key=lambda row: row.id, reverse=True)
    else:
        before = read_cursor(query["cursor"], filters) if "cursor" in query else None
        rows = await store.page(engine.pool, filters, before=before, limit=limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    kept = {**chosen, **({"limit": limit} if limit != DEFAULT_PAGE else {})}
    first = "cursor" not in query
    last_id = str(rows[-1].id) if more else ""
    return Listing(
        rows=rows,
        groups=filter_links(kept),
        filtered=any(name in chosen for name in FILTERS),
        first=first,
        bound=last_id if first else id_prefix(engine.clock.now()),
        live=home_url({**kept, "fragment": "list"}, cursor=query.get("cursor")),
        newest=home_url(kept),
        older=home_url(kept, cursor=make_cursor(rows[-1].id, filters)) if more else None,
    )


def parse_ids(text: str) -> list[UUID]:
    """The ids of a list separated by commas."""
    ids = [part for part in text.split(",") if part]
    if len(ids) > MOST_IDS or not all(UUID_FORM.fullmatch(part) for part in ids):
        error = {"detail": f"Give at most {MOST_IDS} ids, separated by commas.", "parameter": "ids"}
        raise Problem("invalid-parameters", error["detail"], {"errors": [error]})
    return [UUID(part) for part in ids]


def id_prefix(at: datetime) -> str:
    """What the ids start with that are made at a moment."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def home_url(parameters: Mapping[str, Any], *, cursor: str | None = None) -> str:
    """The home page with some parameters."""
    kept = {name: str(value) for name, value in parameters.items()}
    return str(URL("/").with_query(kept | ({"cursor": cursor} if cursor else {})))


def filter_links(kept: Mapping[str, Any]) -> dict[str, list[Link]]:
    """The choices of each filter, which leave the other filters as they are."""
    choices: dict[str, type[Mode | Status | CallbackStatus]] = {
        "status": Status,
        "mode": Mode,
        "callback_status": CallbackStatus,
    }
    groups = {}
    for name, values in choices.items():
        others = {other: value for other, value in kept.items() if other != name}
        links = [Link("all", home_url(others), name not in kept)]
        links += [Link(value, home_url({**others, name: value}), kept.get(name) == value) for value in values]
        groups[name] = links
    return groups


def stream_url(last_event_id: str, **parameters: UUID | None) -> str:
    """The event stream that goes on where a page was read."""
    given = {name: str(value) for name, value in parameters.items() if value}
    return str(URL("/api/events").with_query({**given, "last_event_id": last_event_id}))


def curl(request: web.Request, path: str, body: Json) -> str:
    """A shell command that sends a submission to this service."""
    origin = request.app[SETTINGS].public_url or f"{request.scheme}://{request.host}"
    text = json.dumps(body, ensure_ascii=False)
    return f"curl -sS {shlex.quote(origin + path)} -H 'Content-Type: application/json' -d {shlex.quote(text)}"


# The form


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form that is sent the plain way.

    Raises:
        Problem: 400, 408, 413 or 415, whatever is wrong with the body.
    """
    if request.content_type != FORM_TYPE:
        raise Problem("unsupported-media-type", f"Send {FORM_TYPE}.")
    raw = await read_body(request)
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Problem("malformed-request", "The form cannot be read.") from None
    form = {name: value.strip() for name, value in pairs}
    check_texts(form)
    return form


@page
async def submit_form(request: web.Request) -> web.StreamResponse:
    """Takes the form of the home page, and goes on to the request that came of it."""
    form = await read_form(request)
    request[FORM] = form
    submit = {"sync": submit_sync, "async": submit_async}.get(form.get("mode", ""))
    try:
        if submit is None:
            raise invalid([{"detail": "Choose sync or async.", "pointer": "#/mode"}])
        return await submit(request)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await home(request, form, problem)


@limited("sync")
async def submit_sync(request: web.Request) -> web.StreamResponse:
    """Makes a report while the browser waits."""
    engine = request.app[ENGINE]
    form = request[FORM]
    accepted = await read_submission(engine, parse(Submission, submission(form)))
    new = new_request(request, accepted, Mode.SYNC, SYNC, None)
    with engine.hub.end_of(new.request.id) as ended:
        await engine.submit(new)
        # No slot in time: the request's own page says so.
        with contextlib.suppress(Problem):
            await engine.blocking_end(new.request.id, ended)
    return see_other(new.request.id)


@limited("async")
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
        accepted = await read_submission(engine, parse(AsyncSubmission, {**body, "callback_url": url}))
        new = new_request(request, accepted, Mode.ASYNC, ASYNC, None)
    else:
        accepted = await read_submission(engine, parse(FailingSubmission, {**body, "failures": failures}))
        script = failure_script(accepted.extra)
        new = new_request(request, accepted, Mode.ASYNC, FAILURES, None, script=script)
    await engine.submit(new)
    return see_other(new.request.id)


def submission(form: Mapping[str, str]) -> Json:
    """The fields that are filled in, as the API takes them; options of other reports are left out."""
    body: Json = {name: form[name] for name in ("report_type", "ledger") if form.get(name)}
    if (report_type := form.get("report_type")) in CATALOG:
        body |= {name: form[name] for name in options_of(report_type) if form.get(name)}
    if "account_codes" in body:
        body["account_codes"] = [code.strip() for code in body["account_codes"].split(",") if code.strip()]
    if "include_zero" in body:
        body["include_zero"] = True
    if milliseconds := form.get("service_time_ms"):
        body["simulate"] = {"service_time": {"distribution": "fixed", "mean_ms": number(milliseconds)}}
    return body


def number(text: str) -> int | float | str:
    """A number, or the text that is none, for the schema to refuse."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            value = kind(text)
            return value if math.isfinite(value) else text
    return text


def form_errors(problem: Problem | None) -> dict[str, str]:
    """What is wrong with each field of the form."""
    errors: dict[str, str] = {}
    for error in problem.members.get("errors", ()) if problem else ():
        name = re.sub(r"#/simulate/service_time.*", "#/service_time_ms", error.get("pointer", ""))
        errors.setdefault(name.removeprefix("#/").partition("/")[0], error["detail"])
    return errors


def see_other(id: UUID) -> web.Response:
    """The 303 to a request's page."""
    return web.Response(status=303, headers={hdrs.LOCATION: f"/requests/{id}"})


# One request


class RequestQuery(HomeQuery):
    """Whether only the live part is asked for."""

    fragment = fields.String(validate=validate.Equal("detail"))


@page
async def show_request(request: web.Request) -> web.StreamResponse:
    """One request: its state, its result, its callback attempts."""
    return await detail(request)


async def detail(request: web.Request, problem: Problem | None = None) -> web.Response:
    """The page of a request or its live part; with a problem where something asked of it was refused."""
    engine = request.app[ENGINE]
    query = load_query(RequestQuery(unknown=EXCLUDE), request)
    last_event_id = engine.hub.last_id
    row = await existing(engine, id_in(request))
    logs = await callback_store.logs(engine.pool, row.id)
    context = {
        "row": row,
        "logs": logs,
        "next_attempt_at": next_attempt_at(
            row, [log.next_attempt_at for log in logs if log.series == row.callback_series]
        ),
        "attempts": request.app[SETTINGS].callback_attempts,
        "curl": curl(request, *resubmission(row)),
        "inbox": URL(row.callback_url or "").path if row.callback_demo else None,
        "problem": problem,
        "events": stream_url(last_event_id, request_id=row.id),
    }
    template = "partials/detail.html" if "fragment" in query else "request.html"
    return render(request, template, status=problem.status if problem else 200, **context)


def next_attempt_at(row: Request, times: Sequence[datetime | None]) -> datetime | None:
    """When the next callback attempt is due, as the last one has left it."""
    return times[-1] if times and row.callback_status is CallbackStatus.PENDING else None


def resubmission(row: Request) -> tuple[str, Json]:
    """The endpoint and the body that ask for the same again."""
    body = dict(row.input_payload)
    if row.mode is Mode.SYNC:
        return SYNC, body
    if row.endpoint == FAILURES:
        script = URL(row.callback_url or "").query.get("script", "")
        return FAILURES, {**body, "script": [step for step in script.split(",") if step]}
    return ASYNC, {**body, **({"callback_url": row.callback_url} if row.callback_url else {})}


@page
async def cancel_form(request: web.Request) -> web.StreamResponse:
    """Ends a request that has not ended, and shows it."""
    engine = request.app[ENGINE]
    id = id_in(request)
    if await engine.cancel(id) is None:
        row = await existing(engine, id)
        return await detail(request, Problem("conflict", f"The request has ended: {row.status}."))
    return see_other(id)


@page
async def redeliver_form(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callbacks, and shows the request."""
    engine = request.app[ENGINE]
    id = id_in(request)
    if await engine.redeliver(id) is None:
        row = await existing(engine, id)
        reason = "Its callback has not ended yet." if row.callback_url else "It has no callback URL."
        return await detail(request, Problem("conflict", reason))
    return see_other(id)


# One kind of problem


@page
async def show_problem(request: web.Request) -> web.StreamResponse:
    """What a kind of problem means, and what to do about it."""
    kind: Kind | None = KINDS.get(request.match_info["slug"])
    if kind is None:
        raise Problem("not-found", "There is no such kind of problem.")
    return render(request, "problem.html", kind=kind)
