"""The application: `uvicorn benchmarks.peers.plain.service:app`, one process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field, HttpUrl
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from benchmarks.peers.plain.tables import Ledger, Request
from benchmarks.peers.plain.work import THREADS, Work, as_json

Key = Annotated[str | None, Header(alias="X-Idempotency-Key", max_length=200)]


class Submission(BaseModel):
    """What a client asks for."""

    report_type: Literal["trial_balance", "general_ledger"] = "trial_balance"
    ledger: str = Field("demo", min_length=1)
    first: date | None = Field(None, alias="from")
    after: date | None = Field(None, alias="to")
    callback_url: HttpUrl | None = None
    simulate_s: float | None = Field(None, ge=0, le=60)


work = Work.from_environment()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The tables, the threads and their end."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    await anyio.to_thread.run_sync(work.start)
    yield
    await anyio.to_thread.run_sync(work.stop)


app = FastAPI(lifespan=lifespan)


def insert(session: Session, submission: Submission, mode: str, key: str | None) -> tuple[Request, bool]:
    """The row of a request, committed; and whether it is new, or was found by its key."""
    ledger = session.scalar(select(Ledger).where(Ledger.name == submission.ledger))
    if ledger is None:
        raise HTTPException(422, "no such ledger")
    first, after = submission.first or ledger.first_on, submission.after or ledger.last_on + timedelta(days=1)
    if first >= after:
        raise HTTPException(422, "the interval is empty")
    request = Request(
        mode=mode,
        status="PENDING" if mode == "async" else "PROCESSING",
        started_at=None if mode == "async" else datetime.now(UTC),
        idempotency_key=key,
        input_payload={
            "report_type": submission.report_type,
            "ledger": submission.ledger,
            "from": first.isoformat(),
            "to": after.isoformat(),
            "simulate_s": submission.simulate_s,
        },
        ledger_id=ledger.ledger_id,
        ledger_version=ledger.version,
        callback_url=submission.callback_url and str(submission.callback_url),
        callback_status=submission.callback_url and "PENDING",
    )
    session.add(request)
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
        return session.scalars(select(Request).where(Request.idempotency_key == key)).one(), False
    return request, True


@app.post("/sync")
def create_now(submission: Submission, key: Key = None) -> dict[str, Any]:
    """The report while the client waits."""
    with work.sessions() as session:
        request, is_new = insert(session, submission, "sync", key)
        if is_new:
            work.complete(session, request)
        return as_json(request)


@app.post("/async", status_code=202)
def create_later(submission: Submission, response: Response, key: Key = None) -> dict[str, Any]:
    """The report in the background."""
    with work.sessions() as session:
        request, is_new = insert(session, submission, "async", key)
    if is_new:
        work.threads.submit(work.run, request.id)
    response.headers["Location"] = f"/requests/{request.id}"
    return as_json(request)


@app.get("/readyz")
async def ready() -> dict[str, str]:
    """Once the application has started."""
    return {"status": "ready"}
