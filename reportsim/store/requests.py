"""The aggregate of the house: `requests`, as rows to insert, claim, finish and read.

Every function takes many rows and is one statement. `tries` is the fence: whoever claimed last alone may finish.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from reportsim.core.json import dumps
from reportsim.core.model import CallbackStatus, Mode, Request, Status
from reportsim.store.pool import LIGHTLY, Connection, Fetches, Pool

COLUMNS: Final = (
    "id, mode, status, input_payload, result_payload, error, callback_url, callback_origin, callback_status,"
    " callback_attempts, callback_series, callback_fence, callback_demo, callback_base, idempotency_key, endpoint,"
    " ledger_id, ledger_version, report_version, csv_guard, run_id, http_request_id, traceparent, client, planned_s,"
    " tries, takeovers, created_at, started_at, completed_at"
)
OF_R: Final = ", ".join(f"r.{column.strip()}" for column in COLUMNS.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """A request to insert, with the answer that a replay will give."""

    request: Request
    owner: UUID | None
    fingerprint: bytes | None = None
    answer_status: int | None = None
    answer_body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of a request, written only if `tries` is still the row's, or that of work it does not know of yet."""

    id: UUID
    tries: int
    started_at: datetime | None
    status: Status
    result_payload: str | None
    error: str | None
    completed_at: datetime
    answer_status: int | None
    answer_body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What is known under an idempotency key."""

    request: Request
    fingerprint: bytes
    status: int | None
    body: bytes | None


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


# A request keeps the version of its ledger. The statement that accepts it checks that this is the newest: what was read
# before may have changed since. The bounds are those of what one client has waiting; what is refused for them is not
# inserted.
INSERT: Final = """
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[],
        $9::text[], $10::bytea[], $11::smallint[], $12::bytea[], $13::integer[], $14::integer[], $15::integer[],
        $16::boolean[], $17::uuid[], $18::text[], $19::text[], $20::uuid[], $21::timestamptz[], $22::bytea[],
        $23::double precision[], ledgers_are_newest($13, $14)) WITH ORDINALITY
        AS new (id, mode, payload, url, origin, demo, key, endpoint, fingerprint, answer_status, answer_body, ledger,
            ledger_version, report_version, guard, run, http_request, trace, owner, created_at, client, planned_s,
            newest, position)
    WHERE newest),
numbered AS (
    SELECT *, row_number() OVER of_client AS number, sum(planned_s) OVER of_client AS planned FROM new
    WINDOW of_client AS (PARTITION BY client ORDER BY position)),
waiting AS MATERIALIZED (
    SELECT client, number AS waiting_number, planned AS waiting_planned
    FROM (SELECT DISTINCT client FROM new WHERE client IS NOT NULL AND $24::integer IS NOT NULL) AS clients
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, coalesce(sum(planned_s), 0) AS planned
        FROM (SELECT planned_s FROM requests r
            WHERE r.status = 'PENDING' AND r.client = clients.client LIMIT $24) AS known) AS sums)
INSERT INTO requests (id, mode, status, input_payload, callback_url, callback_origin, callback_status, callback_demo,
    idempotency_key, endpoint, fingerprint, answer_status, answer_body, ledger_id, ledger_version, report_version,
    csv_guard, run_id, http_request_id, traceparent, owner, lease_until, created_at, client, planned_s)
SELECT id, mode, 'PENDING', payload::json, url, origin, CASE WHEN url IS NOT NULL THEN 'PENDING' END, demo, key,
    endpoint, fingerprint, answer_status, answer_body, ledger, ledger_version, report_version, guard, run,
    http_request, trace, owner, CASE WHEN owner IS NOT NULL THEN now() + $1::interval END, created_at, client, planned_s
FROM numbered LEFT JOIN waiting USING (client)
WHERE client IS NULL OR $24 IS NULL OR (
    waiting_number + number <= $24 AND (planned_s = 0 OR waiting_planned + planned <= $25::double precision))
ORDER BY position
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may have waiting: requests, and seconds for which they plan to hold slots."""

    requests: int
    planned_s: float


async def insert(
    pool: Fetches, lease: timedelta, new: Sequence[NewRequest], bounds: Bounds | None = None
) -> list[bool]:
    """Inserts many; False for each that is not inserted.

    Its idempotency key exists, its version of its ledger is not the newest, or its client's bounds refuse it.
    """
    rows = [item.request for item in new]
    inserted = await pool.fetch(
        INSERT,
        lease,
        [row.id for row in rows],
        [row.mode for row in rows],
        [dumps(row.input_payload).decode() for row in rows],
        [row.callback_url for row in rows],
        [row.callback_origin for row in rows],
        [row.callback_demo for row in rows],
        [row.idempotency_key for row in rows],
        [row.endpoint for row in rows],
        [item.fingerprint for item in new],
        [item.answer_status for item in new],
        [item.answer_body for item in new],
        [row.ledger_id for row in rows],
        [row.ledger_version for row in rows],
        [row.report_version for row in rows],
        [row.csv_guard for row in rows],
        [row.run_id for row in rows],
        [row.http_request_id for row in rows],
        [row.traceparent for row in rows],
        [item.owner for item in new],
        [row.created_at for row in rows],
        [row.client for row in rows],
        [row.planned_s for row in rows],
        bounds.requests if bounds else None,
        bounds.planned_s if bounds else None,
    )
    ids = {record["id"] for record in inserted}
    return [row.id in ids for row in rows]


CLAIM_FROM: Final = f"""
WITH anyones AS MATERIALIZED (
    SELECT id FROM requests WHERE status = 'PENDING' AND owner IS NULL{{filter}}
    ORDER BY id LIMIT CASE WHEN $5 THEN 0 ELSE $2 END FOR UPDATE SKIP LOCKED),
own AS MATERIALIZED (
    SELECT id FROM requests WHERE status = 'PENDING' AND owner = $1 AND id <> ALL($6::uuid[]){{filter}}
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED),
picked AS (
    SELECT id FROM (SELECT id FROM anyones UNION ALL SELECT id FROM own) AS both_queues ORDER BY id LIMIT $2)
UPDATE requests r SET status = 'PROCESSING', owner = $1, lease_until = now() + $3::interval, tries = tries + 1,
    started_at = greatest($4, r.created_at), changed_at = clock_timestamp()
FROM {LIGHTLY} CROSS JOIN picked WHERE r.id = picked.id
RETURNING {OF_R}
"""
CLAIM: Final = CLAIM_FROM.format(filter="")
# Only while one client holds all slots but one: a filter keeps the planner from the end of the index.
CLAIM_PASSING_OVER: Final = CLAIM_FROM.format(filter=" AND (client IS DISTINCT FROM $7::bytea OR planned_s <= $8)")


@dataclass(frozen=True, slots=True)
class PassOver:
    """Whose requests are passed over that plan to hold a slot for longer than so many seconds."""

    client: bytes
    longer_than_s: float


async def claim(
    pool: Fetches,
    owner: UUID,
    limit: int,
    lease: timedelta,
    started_at: datetime,
    *,
    only_own: bool = False,
    begun: Iterable[UUID] = (),
    pass_over: PassOver | None = None,
) -> list[Request]:
    """Takes the oldest waiting requests, oldest first; fewer than asked for does not mean that none are left.

    `begun` are those of the owner's own that are worked on already, though their rows do not say so.
    """
    arguments = [owner, limit, lease, started_at, only_own, list(begun)]
    if pass_over is None:
        rows = await pool.fetch(CLAIM, *arguments)
    else:
        rows = await pool.fetch(CLAIM_PASSING_OVER, *arguments, pass_over.client, pass_over.longer_than_s)
    return sorted((from_row(row) for row in rows), key=lambda request: request.id)


ANYONES_WAIT: Final = "SELECT 1 FROM requests WHERE status = 'PENDING' AND owner IS NULL LIMIT 1"


async def anyones_wait(pool: Fetches) -> bool:
    """Whether requests are waiting that belong to no replica."""
    return bool(await pool.fetch(ANYONES_WAIT))


# A row that another statement is at is being ended, or is written down the next time: waiting for it while holding
# others would deadlock with `finish`.
BEGIN: Final = f"""
WITH free AS MATERIALIZED (
    SELECT id FROM requests
    WHERE id = ANY($3::uuid[]) AND CASE WHEN status IN ('PENDING', 'PROCESSING') THEN owner = $1 END
    FOR UPDATE SKIP LOCKED)
UPDATE requests r SET status = 'PROCESSING', tries = b.tries, started_at = b.started_at,
    lease_until = now() + $2::interval, changed_at = clock_timestamp()
FROM {LIGHTLY} CROSS JOIN unnest($3::uuid[], $4::integer[], $5::timestamptz[]) AS b (id, tries, started_at)
JOIN free USING (id)
WHERE r.id = b.id AND r.tries = b.tries - (r.status = 'PENDING')::integer
RETURNING r.id
"""


async def begin(pool: Fetches, owner: UUID, lease: timedelta, begun: Sequence[Request]) -> set[UUID]:
    """Writes down that an owner works on requests of its own; says of which their rows say so now.

    Asked again because the answer got lost, it gives the same one.
    """
    rows = await pool.fetch(
        BEGIN,
        owner,
        lease,
        [request.id for request in begun],
        [request.tries for request in begun],
        [request.started_at for request in begun],
    )
    return {row["id"] for row in rows}


# Work on a row that waits may have begun unwritten, as its next try: a fence against that goes beyond it.
TAKE_OVER: Final = f"""
WITH picked AS MATERIALIZED (
    SELECT id FROM requests WHERE status IN ('PENDING', 'PROCESSING') AND run_id IS NULL AND lease_until < now()
        AND ($5::bytea IS NULL OR client IS DISTINCT FROM $5 OR planned_s <= $6::double precision)
    ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE requests r SET status = 'PROCESSING', owner = $1, lease_until = now() + $3::interval,
    tries = tries + CASE status WHEN 'PENDING' THEN 2 ELSE 1 END,
    takeovers = takeovers + (lease_until > '-infinity')::integer, started_at = coalesce(started_at, $4),
    changed_at = clock_timestamp()
FROM {LIGHTLY} CROSS JOIN picked WHERE r.id = picked.id
RETURNING {OF_R}
"""


async def take_over(
    pool: Fetches,
    owner: UUID,
    limit: int,
    lease: timedelta,
    started_at: datetime,
    pass_over: PassOver | None = None,
) -> list[Request]:
    """Takes requests whose lease ran out; each time counts, except after a release. Those of runs are left alone."""
    passed_over = (pass_over.client, pass_over.longer_than_s) if pass_over else (None, None)
    rows = await pool.fetch(TAKE_OVER, owner, limit, lease, started_at, *passed_over)
    return [from_row(row) for row in rows]


# The fence stands behind CASE, where no partial index can promise to answer it: while a table is so new that it has no
# statistics, each row would be looked for among all that are being worked on, instead of by its id.
FINISH: Final = """
UPDATE requests r SET status = f.status, result_payload = f.result::json, error = f.error::json, tries = f.tries,
    started_at = coalesce(r.started_at, f.started_at), completed_at = f.completed_at,
    answer_status = coalesce(f.answer_status, r.answer_status),
    answer_body = coalesce(f.answer_body, r.answer_body), owner = NULL, lease_until = NULL,
    callback_due_at = CASE WHEN r.callback_url IS NOT NULL THEN now() + $2::interval END,
    callback_owner = CASE WHEN r.callback_url IS NOT NULL THEN $11::uuid END,
    callback_fence = r.callback_fence + 1, changed_at = clock_timestamp()
FROM unnest($3::uuid[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::smallint[],
    $10::bytea[], $12::timestamptz[])
    AS f (id, tries, status, result, error, completed_at, answer_status, answer_body, started_at)
WHERE r.id = f.id AND CASE WHEN r.status IN ('PENDING', 'PROCESSING')
    THEN r.owner = $1 AND r.tries = f.tries - (r.status = 'PENDING')::integer END
RETURNING r.id, r.tries
"""


async def finish(
    pool: Fetches, owner: UUID, lease: timedelta, ends: Sequence[Finish], courier: UUID | None = None
) -> list[bool]:
    """Ends many requests and takes the lease of each first callback; False where the fence refuses.

    A row that still waits is ended by the work that its owner began without writing that down.
    `courier` is who delivers them; the owner itself where none is given.
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
        courier or owner,
        [end.started_at for end in ends],
    )
    written = {(row["id"], row["tries"]) for row in rows}
    return [(end.id, end.tries) in written for end in ends]


# For a row that waits, the fence goes beyond work that began unwritten, as in `TAKE_OVER`.
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


# Rows that another statement is at are left out: waiting for them while holding others would deadlock with `finish`.
RENEW: Final = """
WITH held AS MATERIALIZED (
    SELECT id FROM requests
    WHERE owner = $1 AND status IN ('PENDING', 'PROCESSING') AND run_id IS NULL AND lease_until > '-infinity'
        AND (status = 'PENDING' OR id = ANY($3::uuid[]))
    FOR UPDATE SKIP LOCKED),
delivering AS MATERIALIZED (
    SELECT id FROM requests WHERE id = ANY($4::uuid[]) AND callback_owner = $1 AND callback_status = 'PENDING'
    FOR UPDATE SKIP LOCKED),
work AS (UPDATE requests r SET lease_until = now() + $2::interval FROM held WHERE r.id = held.id)
UPDATE requests r SET callback_due_at = now() + $2::interval FROM delivering WHERE r.id = delivering.id
"""


async def renew(
    connection: Connection, owner: UUID, lease: timedelta, working: Iterable[UUID], delivering: Iterable[UUID]
) -> None:
    """Renews what this replica waits for, works on and delivers, in one statement.

    What it claimed without ever learning so is not among that, and is taken over.
    """
    await connection.execute(RENEW, owner, lease, list(working), list(delivering))


RELEASE: Final = """
WITH work AS (
    UPDATE requests SET owner = NULL, lease_until = '-infinity', changed_at = clock_timestamp()
    WHERE owner = $1 AND status = 'PROCESSING' AND run_id IS NULL
    RETURNING 1),
waiting AS (
    UPDATE requests SET owner = NULL, lease_until = NULL WHERE owner = $1 AND status = 'PENDING' RETURNING 1)
UPDATE requests SET callback_owner = NULL, callback_due_at = now()
WHERE id = ANY($2::uuid[]) AND callback_owner = $1 AND callback_status = 'PENDING'
"""


async def release(pool: Fetches, owner: UUID, delivering: Sequence[UUID]) -> None:
    """Gives everything back at once, so that another replica need not wait for leases to run out."""
    await pool.fetch(RELEASE, owner, list(delivering))


SELECT_MANY: Final = f"SELECT {COLUMNS} FROM requests WHERE id = ANY($1::uuid[])"


async def get(pool: Fetches, ids: Iterable[UUID]) -> list[Request]:
    """Reads many by id; unknown ids are left out."""
    return [from_row(row) for row in await pool.fetch(SELECT_MANY, list(ids))]


async def get_one(pool: Pool, id: UUID) -> Request | None:
    """Reads one by id."""
    found = await get(pool, [id])
    return found[0] if found else None


# A page ends after the row with which its documents come to this.
PAGE_BYTES: Final = 1024 * 1024
SIZE: Final = """
octet_length(input_payload::text) + coalesce(octet_length(result_payload::text), 0)
    + coalesce(octet_length(error::text), 0)
"""
SELECT_PAGE: Final = f"""
SELECT {COLUMNS} FROM (
    SELECT *, sum(size) OVER (ORDER BY id DESC ROWS UNBOUNDED PRECEDING) - size AS bytes_before
    FROM (SELECT {COLUMNS}, {SIZE} AS size FROM requests WHERE {{conditions}} ORDER BY id DESC LIMIT $1) AS row
) AS page
WHERE bytes_before <= {PAGE_BYTES} ORDER BY id DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list shows; None shows all."""

    status: str | None = None
    mode: str | None = None
    callback_status: str | None = None
    run: UUID | None = None


async def page(pool: Pool, filters: Filters, *, before: UUID | None, limit: int) -> list[Request]:
    """One page, newest first: the `limit` rows before an id, fewer where they are large.

    Values are written out, so that the planner knows how rare they are and which partial index holds them.
    """
    kinds = {"mode": Mode, "status": Status, "callback_status": CallbackStatus}
    chosen = [(name, kind(value)) for name, kind in kinds.items() if (value := getattr(filters, name)) is not None]
    conditions = [f"{name} = '{value}'" for name, value in chosen]
    arguments: list[Any] = [limit]
    for column, argument in (("run_id =", filters.run), ("id <", before)):
        if argument is not None:
            arguments.append(argument)
            conditions.append(f"{column} ${len(arguments)}")
    if filters.run is None:
        conditions.append("run_id IS NULL")
    statement = SELECT_PAGE.format(conditions=" AND ".join(conditions))
    return [from_row(row) for row in await pool.fetch(statement, *arguments)]


SEARCH: Final = f"""
WITH found AS (
    SELECT id FROM requests WHERE id = $1
    UNION ALL
    SELECT id FROM requests WHERE idempotency_key = $2
    UNION ALL
    SELECT id FROM (SELECT id FROM requests WHERE run_id IS NULL ORDER BY id DESC LIMIT $4) AS newest
    WHERE right(id::text, length($3)) = $3)
SELECT {COLUMNS} FROM requests WHERE id IN (SELECT id FROM found) ORDER BY id DESC LIMIT $5
"""


async def search(pool: Pool, *, id: UUID | None, key: str, ending: str | None, among: int, limit: int) -> list[Request]:
    """The request with an id, the one with an idempotency key, and of the newest those whose id ends like this."""
    return [from_row(row) for row in await pool.fetch(SEARCH, id, key, ending, among, limit)]


COUNT: Final = """
SELECT status, mode, callback_status, count(*) AS count FROM (
    SELECT status, mode, callback_status FROM requests WHERE run_id IS NULL ORDER BY id DESC LIMIT $1) AS newest
GROUP BY status, mode, callback_status
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many of the newest requests are alike in everything that a list is filtered by."""

    status: str
    mode: str
    callback_status: str | None
    count: int


async def counts(pool: Pool, among: int) -> list[Count]:
    """How the newest requests are distributed; those of benchmark runs are left out."""
    return [Count(**row) for row in await pool.fetch(COUNT, among)]


SELECT_ANSWER: Final = f"""
SELECT {COLUMNS}, fingerprint, answer_status, answer_body FROM requests WHERE idempotency_key = $1
"""


async def stored_answer(pool: Pool, key: str) -> StoredAnswer | None:
    """What an idempotency key stands for."""
    row = await pool.fetchrow(SELECT_ANSWER, key)
    if row is None:
        return None
    values = dict(row.items())
    fingerprint = values.pop("fingerprint")
    status, body = values.pop("answer_status"), values.pop("answer_body")
    return StoredAnswer(request=from_row(values), fingerprint=fingerprint, status=status, body=body)


PRUNE: Final = """
DELETE FROM requests WHERE id IN (
    SELECT id FROM requests
    WHERE id < $1 AND status IN ('COMPLETED', 'FAILED') AND callback_status IS DISTINCT FROM 'PENDING'
        AND completed_at < now() - $2::interval
    ORDER BY id LIMIT $3)
RETURNING id
"""


async def prune(pool: Pool, before: UUID, age: timedelta, limit: int) -> list[UUID]:
    """Deletes the oldest ended requests, a small batch at a time."""
    return [row["id"] for row in await pool.fetch(PRUNE, before, age, limit)]


SELECT_EXISTING: Final = "SELECT id FROM requests WHERE id = ANY($1::uuid[])"


async def existing(pool: Pool, ids: Sequence[UUID]) -> set[UUID]:
    """Those of some requests that have a row."""
    return {row["id"] for row in await pool.fetch(SELECT_EXISTING, ids)}
