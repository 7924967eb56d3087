"""Reading requests: by id, as a page of a list, by a search, and by idempotency key."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from reportsim.core.model import CallbackStatus, Mode, Request, Status
from reportsim.store.pool import Fetches, Pool
from reportsim.store.requests.rows import COLUMNS, from_row


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """The request and the response that are stored under an idempotency key."""

    request: Request
    fingerprint: bytes
    status: int | None
    body: bytes | None


SELECT_MANY: Final = f"SELECT {COLUMNS} FROM requests WHERE id = ANY($1::uuid[])"


async def get(pool: Fetches, ids: Iterable[UUID]) -> list[Request]:
    """Reads many by id; unknown ids are left out."""
    return [from_row(row) for row in await pool.fetch(SELECT_MANY, list(ids))]


async def get_one(pool: Pool, id: UUID) -> Request | None:
    """Reads one by id."""
    found = await get(pool, [id])
    return found[0] if found else None


# A page ends after the row with which its documents exceed this.
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
    """The filters of a list; None does not filter."""

    status: str | None = None
    mode: str | None = None
    callback_status: str | None = None
    run: UUID | None = None


async def page(pool: Pool, filters: Filters, *, before: UUID | None, limit: int) -> list[Request]:
    """One page, newest first: the `limit` rows before an id, fewer where they are large.

    Values are literals, so that the planner knows their frequency and which partial index has them.
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
    """How many of the newest requests have the same values in all columns that a list is filtered by."""

    status: str
    mode: str
    callback_status: str | None
    count: int


async def counts(pool: Pool, among: int) -> list[Count]:
    """How the newest requests are distributed; those of benchmark runs are left out."""
    return [Count(**row) for row in await pool.fetch(COUNT, among)]


SELECT_NEWEST_RUN: Final = "SELECT run_id FROM requests WHERE run_id IS NOT NULL ORDER BY run_id DESC LIMIT 1"


async def newest_run(pool: Pool) -> UUID | None:
    """The newest race or benchmark that has requests; None where there is none."""
    rows = await pool.fetch(SELECT_NEWEST_RUN)
    return rows[0]["run_id"] if rows else None


SELECT_ANSWER: Final = f"""
SELECT {COLUMNS}, fingerprint, answer_status, answer_body FROM requests WHERE idempotency_key = $1
"""


async def stored_answer(pool: Pool, key: str) -> StoredAnswer | None:
    """The request with an idempotency key, and its stored response."""
    row = await pool.fetchrow(SELECT_ANSWER, key)
    if row is None:
        return None
    values = dict(row.items())
    fingerprint = values.pop("fingerprint")
    status, body = values.pop("answer_status"), values.pop("answer_body")
    return StoredAnswer(request=from_row(values), fingerprint=fingerprint, status=status, body=body)
