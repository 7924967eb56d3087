"""From a parsed body to a stored row, for the API and for the forms of the pages."""

import functools
import secrets
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from marshmallow import ValidationError

from reportsim.core.callback_policy.urls import CallbackTarget, OwnReceiver, Refusal
from reportsim.core.json import dumps
from reportsim.core.model import CallbackStatus, Ledger, Mode, Request, Status
from reportsim.core.problems import Problem, flatten, invalid, unavailable
from reportsim.core.service_time import draw
from reportsim.engine.blocking import too_much_waiting
from reportsim.engine.delivery.sender import demo_url
from reportsim.engine.engine import Engine
from reportsim.engine.own_addresses import DEMO_PATH
from reportsim.reports.report_type import ReportType
from reportsim.schemas.submission_parser import MAX_CACHED_BODIES, ParsedBody
from reportsim.schemas.submissions import MAX_SEED
from reportsim.store import requests as store
from reportsim.web.fingerprint import digest, digest_as_sent, failure_options, options_as_sent
from reportsim.web.keys import ENGINE, REQUEST_ID, ROW, SETTINGS, VISIT
from reportsim.web.limits.client_address import client_key
from reportsim.web.tracing import new_traceparent

MAX_LISTED_LEDGERS: Final = 20

SYNC_PATH: Final = "/api/sync"
ASYNC_PATH: Final = "/api/async"
FAILURES_PATH: Final = "/api/callbacks/simulate-failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """Where a request is called back: the URL, the destination it belongs to, whether that is the demo receiver."""

    url: str | None
    destination: str | None
    demo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidSubmission:
    """A valid submission: the payload to store, the callback, and the fingerprint for its idempotency key."""

    payload: dict[str, Any]
    report: ReportType
    ledger: Ledger
    callback: Callback
    extra: dict[str, Any]
    fingerprint: bytes


async def submit_row(request: web.Request, parsed: ParsedBody, new: store.NewRequest) -> tuple[store.NewRequest, bool]:
    """Submits a row, rebuilt if its ledger has changed meanwhile; False if its idempotency key is in use.

    Raises:
        Problem: 422 if the ledger is gone, or the submission is no longer valid for it.
    """
    engine, first = request.app[ENGINE], new.request
    while not await engine.submit(new):
        submission = await complete_submission(engine, parsed, fresh=True)
        row = new.request
        if (row.ledger_id, row.ledger_version) == (submission.ledger.ledger_id, submission.ledger.version):
            if row.idempotency_key is None:
                raise too_much_waiting()
            return new, False
        new = new_request(request, submission, row.mode, row.endpoint, row.idempotency_key, id=first.id)
    return new, True


def new_request(
    request: web.Request,
    submission: ValidSubmission,
    mode: Mode,
    endpoint: str,
    key: str | None = None,
    *,
    id: UUID | None = None,
) -> store.NewRequest:
    """The row to insert for a submission; an async one includes its 202 response."""
    engine, visit = request.app[ENGINE], request[VISIT]
    row = build_row(request, submission, mode, endpoint, key, id or engine.new_id())
    request[ROW] = row
    fingerprint = submission.fingerprint if key else None
    if mode is Mode.ASYNC:
        return store.NewRequest(
            request=row,
            owner=visit.owner if visit else None,
            fingerprint=fingerprint,
            answer_status=202,
            answer_body=dumps(row.as_json()),
        )
    return store.NewRequest(
        request=row,
        owner=visit.owner if visit else engine.owner,
        fingerprint=fingerprint,
        answer_status=None,
        answer_body=None,
    )


def build_row(
    request: web.Request, submission: ValidSubmission, mode: Mode, endpoint: str, key: str | None, id: UUID
) -> Request:
    """The request as it is stored.

    Raises:
        Problem: 422 if it asks for a simulation and the service does not simulate.
    """
    app = request.app
    engine, settings = app[ENGINE], app[SETTINGS]
    callback = choose_callback(request, submission, endpoint, id)
    visit = request[VISIT]
    if visit is not None:
        visit.assign_row(id)
    simulate = submission.payload.get("simulate")
    if simulate and visit is None and not settings.simulate:
        raise invalid([{"detail": "This service does not simulate (REPORTSIM_SIMULATE).", "pointer": "#/simulate"}])
    return Request(
        id=id,
        mode=mode,
        status=Status.PENDING,
        input_payload=submission.payload,
        callback_url=callback.url,
        callback_origin=callback.destination,
        callback_status=CallbackStatus.PENDING if callback.url else None,
        callback_demo=callback.demo,
        idempotency_key=key,
        endpoint=endpoint,
        ledger_id=submission.ledger.ledger_id,
        ledger_version=submission.ledger.version,
        report_version=submission.report.version,
        csv_guard=settings.csv_guard,
        run_id=visit.run.id if visit else None,
        http_request_id=request[REQUEST_ID],
        traceparent=new_traceparent(request, engine.entropy),
        client=None if visit else engine.hash_client(client_key(request)),
        planned_s=draw(simulate).service_s if simulate else 0.0,
        created_at=engine.clock.now(),
    )


def choose_callback(request: web.Request, submission: ValidSubmission, endpoint: str, id: UUID) -> Callback:
    """The callback that was asked for; a simulated failure goes to an inbox of its own at the demo receiver."""
    if endpoint != FAILURES_PATH:
        return submission.callback
    inbox = demo_url(demo_receiver_origin(request), f"{DEMO_PATH}{id}")
    return Callback(url=f"{inbox}?script={failure_script(submission.extra)}", destination=inbox, demo=True)


def demo_receiver_origin(request: web.Request) -> OwnReceiver:
    """The demo receiver's origin: the listening socket, known since the start or taken from this request."""
    if (known := request.app[ENGINE].addresses.demo) is not None:
        return known
    name = request.transport.get_extra_info("sockname") if request.transport else None
    if name is None:
        raise unavailable("The address of the demo receiver is not known yet.")
    return OwnReceiver(ip_address(name[0]), name[1], DEMO_PATH)


def failure_script(extra: dict[str, Any]) -> str:
    """The script of the demo receiver, as its URL contains it."""
    if "script" in extra:
        return ",".join(extra["script"])
    step = str(extra["status_code"]) if extra["fault"] == "status" else extra["fault"]
    return ",".join([step] * extra["failures"])


async def complete_submission(engine: Engine, parsed: ParsedBody, *, fresh: bool = False) -> ValidSubmission:
    """Validates a body against the ledgers and the callback policy, and fills in the defaults.

    `fresh` reads the ledger from the database. Otherwise the cached one may be outdated, which the insert detects.

    Raises:
        Problem: 422 with every error.
    """
    errors = list(parsed.errors)
    find = engine.ledgers.read if fresh else engine.ledgers.get
    ledger = await find(parsed.ledger) if parsed.ledger is not None else None
    if ledger is None and not parsed.has_error("ledger"):
        names = ", ".join(known.name for known in (await engine.ledgers.all())[:MAX_LISTED_LEDGERS])
        errors.append({"detail": f"There is no such ledger. Choose one of: {names or 'none'}.", "pointer": "#/ledger"})
    url, target = parsed.data.get("callback_url"), None
    if url is not None and not parsed.has_error("callback_url"):
        checked = engine.guard.check_url(url)
        if isinstance(checked, Refusal):
            errors.append({"detail": checked.detail, "pointer": "#/callback_url", "reason": checked.reason})
        else:
            target = checked
    if errors or parsed.report is None or ledger is None:
        raise invalid(errors)
    # The result for a body that is not cached would never be found in this function's cache.
    complete = build_submission if parsed.cached else build_submission.__wrapped__
    try:
        submission = complete(parsed, ledger, target)
    except Problem:
        # An interval that is empty in the cached ledger's window may not be empty in the current one.
        if fresh:
            raise
        return await complete_submission(engine, parsed, fresh=True)
    simulate = submission.payload.get("simulate")
    if simulate is None or "seed" in simulate:
        return submission
    seeded = {**submission.payload, "simulate": {"seed": secrets.randbelow(MAX_SEED + 1), **simulate}}
    return replace(submission, payload=seeded, fingerprint=submission.fingerprint + digest(seeded, parsed))


@functools.lru_cache(MAX_CACHED_BODIES)
def build_submission(parsed: ParsedBody, ledger: Ledger, target: CallbackTarget | None) -> ValidSubmission:
    """Completes the parameters of a report, and computes the fingerprint."""
    report = parsed.report
    assert report is not None
    data, options = parsed.data, options_as_sent(parsed, report.name)
    simulate = {"simulate": data["simulate"]} if "simulate" in data else {}
    named = {"report_type": report.name, "ledger": ledger.name}
    try:
        payload = {**named, **report.complete(options, ledger), **simulate}
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None
    demo = target is not None and target.own and target.path.startswith(DEMO_PATH)
    # Every inbox of the demo receiver is a destination of its own.
    destination = f"{target.origin}{target.path if demo else ''}" if target is not None else None
    return ValidSubmission(
        payload=payload,
        report=report,
        ledger=ledger,
        callback=Callback(url=data.get("callback_url"), destination=destination, demo=demo),
        extra=failure_options(parsed),
        fingerprint=(digest_as_sent(parsed) or b"") + digest(payload, parsed),
    )
