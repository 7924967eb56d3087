"""Inserting new requests, within the bounds of what one client may have waiting."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from reportsim.core.json import dumps
from reportsim.core.model import Request
from reportsim.store.pool import Fetches


@dataclass(slots=True, kw_only=True)
class NewRequest:
    """A request to insert, with the response that an idempotent replay returns; not frozen, as `Request` is not."""

    request: Request
    owner: UUID | None
    fingerprint: bytes | None = None
    answer_status: int | None = None
    answer_body: bytes | None = None


# A request keeps the version of its ledger. The statement that accepts it checks that this is still the newest.
INSERT: Final = """
WITH -- The requests whose version of the ledger is the newest, in the order of submission.
new AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[],
        $9::text[], $10::bytea[], $11::smallint[], $12::bytea[], $13::integer[], $14::integer[], $15::integer[],
        $16::boolean[], $17::uuid[], $18::text[], $19::text[], $20::uuid[], $21::timestamptz[], $22::bytea[],
        $23::double precision[], $24::boolean[], ledgers_are_newest($13, $14)) WITH ORDINALITY
        AS new (id, mode, payload, url, origin, demo, key, endpoint, fingerprint, answer_status, answer_body, ledger,
            ledger_version, report_version, guard, run, http_request, trace, owner, created_at, client, planned_s,
            counted, newest, position)
    WHERE newest),
-- What each client submits here, summed up to and including each request.
numbered AS (
    SELECT *, row_number() OVER of_client AS number, sum(planned_s) OVER of_client AS planned FROM new
    WINDOW of_client AS (PARTITION BY client ORDER BY position)),
-- What each client that is to be counted has waiting already, counted no further than its bound.
waiting AS MATERIALIZED (
    SELECT client, number AS waiting_number, planned AS waiting_planned
    FROM (SELECT DISTINCT client FROM new WHERE counted) AS clients
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, coalesce(sum(planned_s), 0) AS planned
        FROM (SELECT planned_s FROM requests r
            WHERE r.status = 'PENDING' AND r.client = clients.client LIMIT $25) AS known) AS sums)
INSERT INTO requests (id, mode, status, input_payload, callback_url, callback_origin, callback_status, callback_demo,
    idempotency_key, endpoint, fingerprint, answer_status, answer_body, ledger_id, ledger_version, report_version,
    csv_guard, run_id, http_request_id, traceparent, owner, lease_until, created_at, client, planned_s)
SELECT id, mode, 'PENDING', payload::json, url, origin, CASE WHEN url IS NOT NULL THEN 'PENDING' END, demo, key,
    endpoint, fingerprint, answer_status, answer_body, ledger, ledger_version, report_version, guard, run,
    http_request, trace, owner, CASE WHEN owner IS NOT NULL THEN now() + $1::interval END, created_at, client, planned_s
FROM numbered LEFT JOIN waiting USING (client)
WHERE NOT counted OR (
    waiting_number + number <= $25::integer
    AND (planned_s = 0 OR waiting_planned + planned <= $26::double precision))
ORDER BY position
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id, (SELECT ROW(waiting_number, waiting_planned) FROM waiting WHERE waiting.client = requests.client)
    AS waiting
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one client has waiting, or may have: requests, and seconds for which they plan to hold slots."""

    requests: int
    planned_s: float


@dataclass(frozen=True, slots=True)
class Insertion:
    """Which requests were inserted, in their order, and what their clients had waiting before, where it was counted."""

    inserted: list[bool]
    waiting: dict[bytes, Waiting]


async def insert(
    pool: Fetches,
    lease: timedelta,
    new: Sequence[NewRequest],
    bound: Waiting | None = None,
    counted: AbstractSet[bytes] = frozenset(),
) -> Insertion:
    """Inserts many.

    One is not inserted if its idempotency key exists, its ledger has a newer version, or its client, one of those that
    are counted, would have more waiting than the bound.
    """
    rows = [item.request for item in new]
    found = await pool.fetch(
        INSERT,
        lease,
        *columns_of(new),
        [row.client in counted for row in rows],
        bound.requests if bound else None,
        bound.planned_s if bound else None,
    )
    waiting = {record["id"]: record["waiting"] for record in found}
    return Insertion(
        [row.id in waiting for row in rows],
        {row.client: Waiting(*waiting[row.id]) for row in rows if row.client and waiting.get(row.id)},
    )


def columns_of(new: Sequence[NewRequest]) -> tuple[list[Any], ...]:
    """The columns of the rows, $2 to $23 of the statement."""
    rows = [item.request for item in new]
    return (
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
    )
