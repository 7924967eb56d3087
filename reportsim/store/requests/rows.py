"""The columns of a request, and a row of them as a `Request`."""

import json
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from asyncpg.pgproto import pgproto

from reportsim.core.model import CallbackStatus, Mode, Request, Status

# The type of the ids that are read: its text and its hash cost less than those of the standard library.
DriverUUID: Final = pgproto.UUID

COLUMNS: Final = (
    "id, mode, status, input_payload, result_payload, error, callback_url, callback_origin, callback_status,"
    " callback_attempts, callback_series, callback_fence, callback_demo, callback_base, idempotency_key, endpoint,"
    " ledger_id, ledger_version, report_version, csv_guard, run_id, http_request_id, traceparent, client, planned_s,"
    " tries, takeovers, created_at, started_at, completed_at"
)
COLUMNS_OF_R: Final = ", ".join(f"r.{column.strip()}" for column in COLUMNS.split(","))


def from_row(row: asyncpg.Record | Mapping[str, Any]) -> Request:
    """A row of `COLUMNS` as a request."""
    values: dict[str, Any] = dict(row.items())
    for name in ("input_payload", "result_payload", "error"):
        if values[name] is not None:
            values[name] = json.loads(values[name])
    values["mode"] = Mode(values["mode"])
    values["status"] = Status(values["status"])
    if values["callback_status"] is not None:
        values["callback_status"] = CallbackStatus(values["callback_status"])
    return Request(**values)
