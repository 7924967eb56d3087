"""The request as everyone sees it, and what may be derived from its state."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.model import (
    CallbackLog,
    CallbackStatus,
    Ledger,
    Mode,
    Request,
    Status,
    callback_event,
    rfc3339,
)

ID = UUID("01a20c52-7f00-7e1a-a532-689f4fc18d68")
AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
WAITING = Request(
    id=ID,
    mode=Mode.ASYNC,
    status=Status.PENDING,
    input_payload={"report_type": "trial_balance"},
    callback_url="https://receiver.example.org/hook",
    callback_status=CallbackStatus.PENDING,
    endpoint="/api/async",
    ledger_id=1,
    ledger_version=1,
    report_version=1,
    created_at=AT,
)
WORKING = replace(WAITING, status=Status.PROCESSING, started_at=AT, tries=1)
DONE = replace(WORKING, status=Status.COMPLETED, completed_at=AT, result_payload={"rows": 23})
FAILED = replace(WORKING, status=Status.FAILED, completed_at=AT, error={"type": "/problems/report-failed"})
RETRIED = replace(DONE, callback_attempts=1)
DELIVERED = replace(DONE, callback_attempts=2, callback_status=CallbackStatus.SUCCESS)
LOST = replace(DONE, callback_attempts=2, callback_status=CallbackStatus.FAILED)
AGAIN = replace(LOST, callback_series=2, callback_attempts=0, callback_status=CallbackStatus.PENDING)


def test_a_request_shows_exactly_the_members_of_the_contract() -> None:
    assert DONE.as_json() == {
        "id": str(ID),
        "mode": "async",
        "status": "COMPLETED",
        "input_payload": {"report_type": "trial_balance"},
        "result_payload": {"rows": 23},
        "callback_url": "https://receiver.example.org/hook",
        "callback_status": "PENDING",
        "callback_attempts": 0,
        "idempotency_key": None,
        "created_at": "2026-03-01T12:30:15.123456Z",
        "started_at": "2026-03-01T12:30:15.123456Z",
        "completed_at": "2026-03-01T12:30:15.123456Z",
        "error": None,
        "links": {
            "self": f"/api/requests/{ID}",
            "report": f"/api/reports/{ID}.csv",
            "callback_logs": f"/api/requests/{ID}/callback-logs",
        },
    }


@pytest.mark.parametrize("request_", [WAITING, WORKING, FAILED])
def test_there_is_no_link_to_a_report_without_a_file(request_: Request) -> None:
    assert request_.as_json()["links"]["report"] is None


def test_links_are_absolute_when_the_origin_is_given() -> None:
    links = DONE.as_json("https://reports.example.org")["links"]
    assert all(link.startswith("https://reports.example.org/api/") for link in links.values())


@pytest.mark.parametrize("state", [WAITING, WORKING, DONE, FAILED, DELIVERED])
def test_what_is_shown_is_plain_json(state: Request) -> None:
    assert json.loads(json.dumps(state.as_json())) == state.as_json()


@given(st.sampled_from(list(Status)), st.integers(0, 9))
def test_a_changed_copy_is_what_dataclasses_make_of_it(status: Status, tries: int) -> None:
    first = replace(WAITING, tries=3)
    assert first.changed(status=status, tries=tries) == replace(first, status=status, tries=tries)
    assert (first.status, first.tries) == (Status.PENDING, 3)


def test_a_request_has_ended_when_its_status_is_terminal() -> None:
    assert [state.ended for state in (WAITING, WORKING, DONE, FAILED)] == [False, False, True, True]


def test_every_later_state_is_further_on() -> None:
    life = [WAITING, WORKING, DONE, RETRIED, DELIVERED, AGAIN, replace(AGAIN, callback_attempts=1)]
    assert all(earlier.progress < later.progress for earlier, later in pairwise(life))
    assert LOST.progress == DELIVERED.progress
    assert WORKING.progress < FAILED.progress


def test_without_a_callback_an_end_is_the_last_state() -> None:
    plain = replace(DONE, callback_url=None, callback_status=None)
    assert replace(plain, status=Status.PENDING).progress < plain.progress


@pytest.mark.parametrize(("state", "kind"), [(DONE, "report.completed"), (FAILED, "report.failed")])
def test_a_callback_tells_how_the_request_ended(state: Request, kind: str) -> None:
    event = callback_event(state, "https://reports.example.org")
    assert (event["type"], event["timestamp"]) == (kind, "2026-03-01T12:30:15.123456Z")
    assert event["data"]["id"] == str(ID)
    assert event["data"]["links"]["self"] == f"https://reports.example.org/api/requests/{ID}"


def test_a_callback_is_the_same_on_every_attempt_of_every_series() -> None:
    events = [callback_event(state, "https://x") for state in (DONE, RETRIED, DELIVERED, LOST, AGAIN)]
    assert all(event == events[0] for event in events)


def test_a_log_row_shows_exactly_the_members_of_the_contract() -> None:
    values: dict[str, Any] = {
        "series": 1,
        "attempt_number": 2,
        "status_code": 503,
        "success": False,
        "reason": "status",
        "error_message": "The receiver answered 503.",
        "response_time_ms": 1.5,
        "remote_ip": "192.0.2.1",
        "response_excerpt": "no",
    }
    log = CallbackLog(id=ID, request_id=ID, attempted_at=AT, next_attempt_at=None, **values)
    assert log.as_json() == {
        "id": str(ID),
        "request_id": str(ID),
        "attempted_at": "2026-03-01T12:30:15.123456Z",
        "next_attempt_at": None,
        **values,
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000000Z"),
        (
            datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2026-01-01T21:34:05.000006Z",
        ),
    ],
)
def test_times_are_in_utc_with_microseconds(moment: datetime | None, text: str | None) -> None:
    assert rfc3339(moment) == text


@given(st.datetimes(timezones=OFFSETS, min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)))
def test_times_can_be_read_again(moment: datetime) -> None:
    text = rfc3339(moment)
    assert text is not None
    assert datetime.fromisoformat(text) == moment


@pytest.mark.parametrize(
    ("last_on", "after"),
    [(date(2025, 12, 31), "2026-01-01"), (date(2024, 2, 28), "2024-02-29"), (date.max, "9999-12-31")],
)
def test_the_window_of_a_ledger_ends_the_day_after_its_last_entry(last_on: date, after: str) -> None:
    ledger = Ledger(
        ledger_id=1,
        name="x",
        currency="EUR",
        exponent=2,
        version=1,
        first_on=date(2024, 1, 1),
        last_on=last_on,
        lines=4,
    )
    assert ledger.as_json()["to"] == after
