"""What is done in threads: a report from its request to its end, and the callback that follows."""

import json
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks import Webhook

from benchmarks.peers.plain.reports import Job, ReportError, make_report
from benchmarks.peers.plain.tables import Base, CallbackLog, Ledger, Request

THREADS: Final = 8
WAITS_S: Final = (1.0, 5.0)
TIMEOUT_S: Final = 10.0


def as_json(request: Request) -> dict[str, Any]:
    """A request as clients and receivers see it."""
    moments = {name: getattr(request, name) for name in ("created_at", "started_at", "completed_at")}
    return {
        "id": str(request.id),
        "mode": request.mode,
        "status": request.status,
        "input_payload": request.input_payload,
        "result_payload": request.result_payload,
        "error": request.error,
        "callback_url": request.callback_url,
        "callback_status": request.callback_status,
        **{name: moment and moment.isoformat() for name, moment in moments.items()},
        "links": {"self": f"/requests/{request.id}", "report": f"/reports/{request.id}.csv"},
    }


class Work:
    """The database, the threads and the client that handlers share."""

    def __init__(self, database_url: str, folder: Path, secret: str) -> None:
        url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        # One connection for each thread of handlers and of background work.
        self.engine: Engine = create_engine(url, pool_size=2 * THREADS, max_overflow=0)
        self.sessions = sessionmaker(self.engine, expire_on_commit=False)
        self.folder = folder
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="report")
        self._client = httpx.Client(timeout=TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=2 * THREADS))
        self._webhook = Webhook(secret)

    @classmethod
    def from_environment(cls) -> "Work":
        """As `PLAIN_DATABASE_URL`, `PLAIN_DATA_DIR` and `PLAIN_SECRET` say."""
        return cls(os.environ["PLAIN_DATABASE_URL"], Path(os.environ["PLAIN_DATA_DIR"]), os.environ["PLAIN_SECRET"])

    def start(self) -> None:
        """Makes the tables, and goes on with what the last process left."""
        Base.metadata.create_all(self.engine)
        with self.sessions() as session:
            left = session.scalars(select(Request.id).where(Request.status.in_(("PENDING", "PROCESSING"))))
            for id in left.all():
                self.threads.submit(self.run, id)

    def stop(self) -> None:
        """Waits for the reports that are being made."""
        self.threads.shutdown(cancel_futures=True)
        self._client.close()
        self.engine.dispose()

    def run(self, id: uuid.UUID) -> None:
        """A report in the background, and its callback."""
        with self.sessions() as session:
            request = session.get_one(Request, id)
            request.status, request.started_at = "PROCESSING", datetime.now(UTC)
            session.commit()
            self.complete(session, request)
            if request.callback_url is not None:
                self.call_back(session, request, request.callback_url)

    def complete(self, session: Session, request: Request) -> None:
        """Makes the report of a request, and commits how it ended."""
        parameters = request.input_payload
        try:
            # Stands for a report that takes long, as `simulate` does in the service.
            time.sleep(parameters.get("simulate_s") or 0)
            job = Job(
                session.get_one(Ledger, request.ledger_id),
                request.ledger_version,
                date.fromisoformat(parameters["from"]),
                date.fromisoformat(parameters["to"]),
            )
            path = self.folder / f"{request.id}.csv"
            request.result_payload = make_report(session, parameters["report_type"], job, path)
            request.status = "COMPLETED"
        except ReportError as error:
            request.status, request.error = "FAILED", str(error)
        request.completed_at = datetime.now(UTC)
        session.commit()

    def call_back(self, session: Session, request: Request, url: str) -> None:
        """Posts the signed result until the receiver takes it; every attempt is logged."""
        now = datetime.now(UTC)
        event = "report.completed" if request.status == "COMPLETED" else "report.failed"
        body = json.dumps({"type": event, "timestamp": now.isoformat(), "data": as_json(request)})
        for number, wait in enumerate((*WAITS_S, None), start=1):
            attempt = self._post(url, f"msg_{request.id.hex}", body)
            attempt.request_id, attempt.attempt_number = request.id, number
            session.add(attempt)
            request.callback_status = "SUCCESS" if attempt.success else "PENDING"
            if not attempt.success and wait is None:
                request.callback_status = "FAILED"
            session.commit()
            if attempt.success or wait is None:
                return
            time.sleep(wait)

    def _post(self, url: str, message_id: str, body: str) -> CallbackLog:
        """One attempt."""
        now, began = datetime.now(UTC), time.perf_counter()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }
        status, error = None, None
        try:
            status = self._client.post(url, content=body, headers=headers).status_code
        except httpx.HTTPError as problem:
            error = str(problem)
        return CallbackLog(
            status_code=status,
            success=status is not None and 200 <= status < 300,
            error_message=error,
            response_time_ms=1000 * (time.perf_counter() - began),
        )
