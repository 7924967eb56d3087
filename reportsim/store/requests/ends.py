"""Ending requests: finished by the worker that claimed them, or abandoned before that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from reportsim.core.json import dumps
from reportsim.core.model import Request, Status
from reportsim.store.pool import Fetches, Pool
from reportsim.store.requests.rows import COLUMNS, from_row


@dataclass(slots=True, kw_only=True)
class Finish:
    """The end of a request, written only if the row has the same `tries`, or one less and its claim was not written.

    It is not frozen, as `Request` is not.
    """

    id: UUID
    tries: int
    started_at: datetime | None
    status: Status
    result_payload: str | None
    error: str | None
    completed_at: datetime
    answer_status: int | None
    answer_body: bytes | None


# The fence is within CASE, so that the planner cannot use a partial index for it: for a table without statistics it
# would search each row among all that are being worked on, instead of by its id. The subselect hides from it how many
# rows there are: else one row would seem so much cheaper than several that each execution is planned anew.
FINISH: Final = """
UPDATE requests r SET status = f.status, result_payload = f.result::json, error = f.error::json, tries = f.tries,
    started_at = coalesce(r.started_at, f.started_at), completed_at = f.completed_at,
    answer_status = coalesce(f.answer_status, r.answer_status),
    answer_body = coalesce(f.answer_body, r.answer_body), owner = NULL, lease_until = NULL,
    callback_due_at = CASE WHEN r.callback_url IS NOT NULL THEN now() + $2::interval END,
    callback_owner = CASE WHEN r.callback_url IS NOT NULL THEN $11::uuid END,
    callback_fence = r.callback_fence + 1, changed_at = clock_timestamp()
FROM unnest((SELECT $3::uuid[]), $4::integer[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::smallint[],
    $10::bytea[], $12::timestamptz[])
    AS f (id, tries, status, result, error, completed_at, answer_status, answer_body, started_at)
WHERE r.id = f.id AND CASE WHEN r.status IN ('PENDING', 'PROCESSING')
    THEN r.owner = $1 AND r.tries = f.tries - (r.status = 'PENDING')::integer END
RETURNING r.id, r.tries
"""


async def finish(
    pool: Fetches, owner: UUID, lease: timedelta, ends: Sequence[Finish], callback_owner: UUID | None = None
) -> list[bool]:
    """Ends many requests and claims the first callback of each; False where the fence refuses.

    A row that still waits is ended by work whose claim was not written. `callback_owner` delivers the callbacks; by
    default the owner itself.
    """
    rows = await pool.fetch(
        FINISH,
        owner,
        lease,
        [end.id for end in ends],
        [end.tries for end in ends],
        [end.status for end in ends],
        [end.result_payload for end in ends],
        [end.error for end in ends],
        [end.completed_at for end in ends],
        [end.answer_status for end in ends],
        [end.answer_body for end in ends],
        callback_owner or owner,
        [end.started_at for end in ends],
    )
    written = {(row["id"], row["tries"]) for row in rows}
    return [(end.id, end.tries) in written for end in ends]


# For a waiting row the fence exceeds that of work whose claim was not written, as in `TAKE_OVER`.
ABANDON: Final = f"""
UPDATE requests SET status = 'FAILED', error = $3::json, completed_at = $4, owner = NULL, lease_until = NULL,
    tries = tries + CASE status WHEN 'PENDING' THEN 2 ELSE 1 END, answer_status = coalesce($6, answer_status),
    answer_body = coalesce($7, answer_body),
    idempotency_key = CASE WHEN $8 THEN NULL ELSE idempotency_key END,
    callback_due_at = CASE WHEN callback_url IS NOT NULL THEN now() END, callback_fence = callback_fence + 1,
    changed_at = clock_timestamp()
WHERE id = ANY($1::uuid[]) AND status = ANY($2::text[]) AND ($5::uuid IS NULL OR owner = $5)
RETURNING {COLUMNS}
"""


async def abandon(
    pool: Pool,
    ids: Iterable[UUID],
    *,
    states: Sequence[Status],
    error: dict[str, Any],
    at: datetime,
    owner: UUID | None = None,
    answer: tuple[int, bytes] | None = None,
    free_key: bool = False,
) -> list[Request]:
    """Fails requests that have not ended, and returns those it failed: cancelled, or without a slot in time."""
    status, body = answer or (None, None)
    rows = await pool.fetch(ABANDON, list(ids), list(states), dumps(error).decode(), at, owner, status, body, free_key)
    return [from_row(row) for row in rows]
