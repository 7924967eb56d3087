"""Rows as a test needs them: a request to insert, its end, an attempt to log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from yarl import URL as Url

from reportsim.core.identifiers import UUID7Generator
from reportsim.core.model import CallbackLog, CallbackStatus, Mode, Request, Status
from reportsim.store import requests as store
from reportsim.store.callbacks import Attempt
from reportsim.store.pool import Connection, Pool

LEASE = timedelta(seconds=30)
URL = "https://receiver.example.org/hook"
PAYLOAD: dict[str, Any] = {"report_type": "trial_balance", "ledger": "tiny", "from": "2025-01-01", "to": "2026-01-01"}
ME, OTHER = uuid4(), uuid4()

new_id = UUID7Generator()


def now() -> datetime:
    return datetime.now(UTC)


def new(*, owner: UUID | None = None, fingerprint: bytes = b"meaning", **fields: Any) -> store.NewRequest:
    """A request to insert: asynchronous and without a callback unless the fields say otherwise."""
    values: dict[str, Any] = {
        "id": new_id(),
        "mode": Mode.ASYNC,
        "status": Status.PENDING,
        "input_payload": PAYLOAD,
        "endpoint": "/api/async",
        "ledger_id": 2,
        "ledger_version": 1,
        "report_version": 1,
        "created_at": now(),
        **fields,
    }
    if values.get("callback_url"):
        values["callback_status"] = CallbackStatus.PENDING
        values.setdefault("callback_origin", str(Url(values["callback_url"]).origin()))
    request = Request(**values)
    later = request.mode is Mode.ASYNC
    return store.NewRequest(
        request=request,
        owner=owner,
        fingerprint=fingerprint,
        answer_status=202 if later else None,
        answer_body=b"{}" if later else None,
    )


async def inserted(pool: Pool, *rows: store.NewRequest) -> list[Request]:
    """Inserts rows, all of which must be new."""
    assert all((await store.insert(pool, LEASE, rows)).inserted)
    return [row.request for row in rows]


async def claimed(pool: Pool, *rows: store.NewRequest, owner: UUID = ME, lease: timedelta = LEASE) -> list[Request]:
    """Inserts rows and claims them, in their order."""
    ids = {request.id for request in await inserted(pool, *rows)}
    found = await store.claim(pool, owner, 1000, lease, now())
    assert {request.id for request in found} == ids
    return found


def end_of(request: Request, *, tries: int | None = None, **fields: Any) -> store.Finish:
    """The good end of a claimed request."""
    values: dict[str, Any] = {
        "id": request.id,
        "tries": request.tries if tries is None else tries,
        "started_at": request.started_at,
        "status": Status.COMPLETED,
        "result_payload": '{"rows": 1}',
        "error": None,
        "completed_at": now(),
        "answer_status": None,
        "answer_body": None,
        **fields,
    }
    return store.Finish(**values)


async def ended(pool: Pool, *rows: store.NewRequest, owner: UUID = ME) -> list[Request]:
    """Inserts, claims and finishes rows; `owner` holds each first callback."""
    found = await claimed(pool, *rows, owner=owner)
    assert all(await store.finish(pool, owner, LEASE, [end_of(request) for request in found]))
    return await read(pool, *found)


async def read(pool: Pool, *requests: Request) -> list[Request]:
    """The same requests as they now stand, in the same order."""
    by_id = {request.id: request for request in await store.get(pool, [request.id for request in requests])}
    return [by_id[request.id] for request in requests]


async def field(pool: Pool | Connection, request: Request, column: str) -> Any:
    """A column that the model does not show."""
    return await pool.fetchval(f"SELECT {column} FROM requests WHERE id = $1", request.id)


async def expire(pool: Pool, *requests: Request) -> None:
    """Lets the leases of requests and of their deliveries run out."""
    await pool.execute(
        "UPDATE requests SET lease_until = now() - interval '1 s'"
        " WHERE id = ANY($1::uuid[]) AND lease_until IS NOT NULL",
        [request.id for request in requests],
    )
    await pool.execute(
        "UPDATE requests SET callback_due_at = now() - interval '1 s'"
        " WHERE id = ANY($1::uuid[]) AND callback_due_at IS NOT NULL",
        [request.id for request in requests],
    )


def attempt_at(
    request: Request,
    *,
    fence: int | None = None,
    status: CallbackStatus = CallbackStatus.SUCCESS,
    wait: timedelta | None = None,
    **fields: Any,
) -> Attempt:
    """The next attempt of a request whose delivery is claimed, as it ended."""
    success = status is CallbackStatus.SUCCESS
    row = CallbackLog(
        id=new_id(),
        request_id=request.id,
        series=request.callback_series,
        attempt_number=request.callback_attempts + 1,
        status_code=200 if success else 503,
        success=success,
        reason=None if success else "status",
        error_message=None if success else "The receiver answered 503.",
        response_time_ms=1.5,
        attempted_at=now(),
        remote_ip="192.0.2.1",
        response_excerpt="ok",
        next_attempt_at=now() + wait if wait is not None else None,
    )
    return Attempt(
        log=replace(row, **fields),
        fence=request.callback_fence if fence is None else fence,
        status=status,
        wait=wait,
    )
