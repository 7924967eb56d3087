"""From a valid body to a stored row: used by the API and by the forms of the pages."""

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
from reportsim.engine.delivery.dispatcher import demo_url
from reportsim.engine.engine import DEMO_PATH, Engine, too_much_waiting
from reportsim.reports.report_type import ReportType
from reportsim.schemas.submission_parser import MAX_CACHED_BODIES, ParsedBody, default_options
from reportsim.schemas.submissions import MAX_SEED
from reportsim.store import requests as store
from reportsim.web.fingerprint import digest
from reportsim.web.keys import ENGINE, REQUEST_ID, SETTINGS, VISIT
from reportsim.web.limits.client_address import client_key
from reportsim.web.tracing import new_traceparent, set_log_ids

SYNC_PATH: Final = "/api/sync"
ASYNC_PATH: Final = "/api/async"
FAILURES_PATH: Final = "/api/callbacks/simulate-failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidSubmission:
    """A valid submission: the payload to store, and what it means."""

    payload: dict[str, Any]
    report: ReportType
    ledger: Ledger
    callback_url: str | None
    callback_origin: str | None
    callback_demo: bool
    extra: dict[str, Any]
    fingerprint: bytes


async def submit_row(request: web.Request, parsed: ParsedBody, new: store.NewRequest) -> tuple[store.NewRequest, bool]:
    """Submits a row, made again with the ledger as it is now where that has changed; False when its key is taken.

    Raises:
        Problem: 422 when the ledger is gone, or what was asked for does not fit it any more.
    """
    engine, first = request.app[ENGINE], new.request
    while not await engine.submit(new):
        accepted = await complete_submission(engine, parsed, fresh=True)
        row = new.request
        if (row.ledger_id, row.ledger_version) == (accepted.ledger.ledger_id, accepted.ledger.version):
            if row.idempotency_key is None:
                raise too_much_waiting()
            return new, False
        new = new_request(request, accepted, row.mode, row.endpoint, row.idempotency_key, id=first.id)
    return new, True


def new_request(
    request: web.Request,
    accepted: ValidSubmission,
    mode: Mode,
    endpoint: str,
    key: str | None = None,
    *,
    id: UUID | None = None,
) -> store.NewRequest:
    """The row of a submission, with the answer that is given when it is accepted for later."""
    engine = request.app[ENGINE]
    id = id or engine.new_id()
    url, origin, demo = accepted.callback_url, accepted.callback_origin, accepted.callback_demo
    if endpoint == FAILURES_PATH:
        origin, demo = demo_url(demo_receiver_origin(request), f"{DEMO_PATH}{id}"), True
        url = f"{origin}?script={failure_script(accepted.extra)}"
    visit = request.get(VISIT)
    if visit is not None:
        visit.takes(id)
    simulate = accepted.payload.get("simulate")
    if simulate and visit is None and not request.app[SETTINGS].simulate:
        raise invalid([{"detail": "This service does not simulate (REPORTSIM_SIMULATE).", "pointer": "#/simulate"}])
    row = Request(
        id=id,
        mode=mode,
        status=Status.PENDING,
        input_payload=accepted.payload,
        callback_url=url,
        callback_origin=origin,
        callback_status=CallbackStatus.PENDING if url else None,
        callback_demo=demo,
        idempotency_key=key,
        endpoint=endpoint,
        ledger_id=accepted.ledger.ledger_id,
        ledger_version=accepted.ledger.version,
        report_version=accepted.report.version,
        csv_guard=request.app[SETTINGS].csv_guard,
        run_id=visit.run.id if visit else None,
        http_request_id=request[REQUEST_ID],
        traceparent=new_traceparent(request),
        client=None if visit else engine.hash_client(client_key(request)),
        planned_s=draw(simulate).service_s if simulate else 0.0,
        created_at=engine.clock.now(),
    )
    set_log_ids(request, row)
    later = mode is Mode.ASYNC
    return store.NewRequest(
        request=row,
        owner=visit.owner if visit else None if later else engine.owner,
        fingerprint=accepted.fingerprint if key else None,
        answer_status=202 if later else None,
        answer_body=dumps(row.as_json()) if later else None,
    )


def demo_receiver_origin(request: web.Request) -> OwnReceiver:
    """The demo receiver's origin: the listening socket, as known since the start or as this request came in."""
    if (known := request.app[ENGINE].demo) is not None:
        return known
    name = request.transport.get_extra_info("sockname") if request.transport else None
    if name is None:
        raise unavailable("The demo receiver is not known yet.")
    return OwnReceiver(ip_address(name[0]), name[1], DEMO_PATH)


def failure_script(extra: dict[str, Any]) -> str:
    """The steps that the demo receiver plays, as its URL carries them."""
    if "script" in extra:
        return ",".join(extra["script"])
    step = str(extra["status_code"]) if extra["fault"] == "status" else extra["fault"]
    return ",".join([step] * extra["failures"])


async def complete_submission(engine: Engine, parsed: ParsedBody, *, fresh: bool = False) -> ValidSubmission:
    """Holds a body against the ledgers and the callback policy, and fills in what was left open.

    `fresh` reads the ledger now. Without it the ledger may be out of date, of which the insert takes care.

    Raises:
        Problem: 422 with every error.
    """
    errors = list(parsed.errors)
    find = engine.ledgers.read if fresh else engine.ledgers.get
    ledger = await find(parsed.ledger) if parsed.ledger is not None else None
    if ledger is None and not parsed.faults("ledger"):
        errors.append({"detail": "There is no such ledger.", "pointer": "#/ledger"})
    url, target = parsed.data.get("callback_url"), None
    if url is not None and not parsed.faults("callback_url"):
        checked = engine.guard.check_url(url)
        if isinstance(checked, Refusal):
            errors.append({"detail": checked.detail, "pointer": "#/callback_url", "reason": checked.reason})
        else:
            target = checked
    if errors or parsed.report is None or ledger is None:
        raise invalid(errors)
    # The meaning of a body that is not remembered would only be kept for nobody.
    complete = build_submission if parsed.remembered else build_submission.__wrapped__
    try:
        accepted = complete(parsed, parsed.report, ledger, target)
    except Problem:
        # An interval that is empty in the window as remembered may not be in that of now.
        if fresh:
            raise
        return await complete_submission(engine, parsed, fresh=True)
    simulate = accepted.payload.get("simulate")
    if simulate is None or "seed" in simulate:
        return accepted
    seeded = {**accepted.payload, "simulate": {"seed": secrets.randbelow(MAX_SEED + 1), **simulate}}
    return replace(
        accepted,
        payload=seeded,
        fingerprint=accepted.fingerprint + digest(seeded, accepted.extra, accepted.callback_url),
    )


@functools.lru_cache(MAX_CACHED_BODIES)
def build_submission(
    parsed: ParsedBody, report: ReportType, ledger: Ledger, target: CallbackTarget | None
) -> ValidSubmission:
    """Separates what the report is asked for from how it is delivered, and completes it."""
    data = parsed.data
    options = {
        name: data[name]
        for name, default in default_options(report.name).items()
        if name in data and data[name] != default
    }
    simulate = {"simulate": data["simulate"]} if "simulate" in data else {}
    named = {"report_type": report.name, "ledger": ledger.name}
    try:
        payload = {**named, **report.complete(options, ledger), **simulate}
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None
    extra: dict[str, Any] = {
        name: data[name] for name in ("failures", "fault", "status_code", "script") if name in data
    }
    url = data.get("callback_url")
    asked = digest({**named, **options, **simulate}, extra, url)
    demo = target is not None and target.own and target.path.startswith(DEMO_PATH)
    return ValidSubmission(
        payload=payload,
        report=report,
        ledger=ledger,
        callback_url=url,
        # Every inbox of the demo receiver is a destination.
        callback_origin=f"{target.origin}{target.path if demo else ''}" if target is not None else None,
        callback_demo=demo,
        extra=extra,
        fingerprint=asked + digest(payload, extra, url),
    )
