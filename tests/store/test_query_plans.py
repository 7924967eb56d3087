"""Query plans over a table with a long history: what runs all the time touches only what it is about.

Each statement is planned as often as it takes for a prepared statement to settle on its plan.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest

from reportsim.core.model import CallbackStatus
from reportsim.store import callbacks, ledgers, notifications, queue_stats, requests
from reportsim.store.migrate import migrate
from reportsim.store.pool import Connection, connect, create_pool
from tests.store.databases import empty_database
from tests.store.rows import LEASE, ME, OTHER, URL, attempt_at, end_of, new, new_id, now

ROWS = 24_000
RUN = new_id()
SETTLED = 8

# Nine of ten rows are history; the rest is waiting, worked on, due, or belongs to a benchmark run. A few have failed,
# and a few were sync.
MIX = f"""
UPDATE requests r SET
    mode = CASE WHEN n % 500 = 3 THEN 'sync' ELSE 'async' END,
    status = CASE WHEN n % 1000 = 1 THEN 'FAILED' WHEN n % 10 > 0 OR n % 100 = 50 THEN 'COMPLETED'
        WHEN n % 100 = 20 THEN 'PROCESSING' ELSE 'PENDING' END,
    result_payload = CASE WHEN n % 10 > 0 OR n % 100 = 50 THEN '{{}}'::json END,
    completed_at = CASE WHEN n % 10 > 0 OR n % 100 = 50 THEN now() END,
    owner = CASE WHEN n % 100 IN (20, 40) THEN '{OTHER}'::uuid WHEN n % 100 = 60 THEN '{ME}'::uuid END,
    lease_until = CASE WHEN n % 100 IN (20, 40, 60) THEN now() + interval '1 s' * (n % 600 - 100) END,
    callback_url = CASE WHEN n % 500 <> 3 THEN callback_url END,
    callback_origin = CASE WHEN n % 500 <> 3 THEN callback_origin END,
    callback_status = CASE WHEN n % 500 = 3 THEN NULL WHEN n % 2000 = 1 THEN 'FAILED'
        WHEN n % 100 = 50 OR n % 10 = 0 THEN 'PENDING' ELSE 'SUCCESS' END,
    callback_due_at = CASE WHEN n % 100 = 50 THEN now() + interval '1 s' * (n % 600 - 100) END,
    run_id = CASE WHEN n % 13 = 0 THEN '{RUN}'::uuid END
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM requests) AS numbered WHERE numbered.id = r.id
"""


@pytest.fixture(scope="module")
def long_dsn(server_dsn: str) -> Iterator[str]:
    """A database whose requests are many and mixed, with fresh statistics."""
    stack = AsyncExitStack()

    async def make() -> str:
        dsn = await stack.enter_async_context(empty_database(server_dsn))
        async with create_pool(dsn, size=2, statement_cache=100) as pool, pool.acquire() as connection:
            await migrate(connection)
            for name in ("demo", "tiny"):
                await ledgers.generate(connection, name, lines=40, seed=42)
            for _ in range(ROWS // 2_000):
                await requests.insert(pool, LEASE, [new(callback_url=URL) for _ in range(2_000)])
            await connection.execute(MIX)
            await connection.execute("VACUUM (ANALYZE) requests")
        return dsn

    with asyncio.Runner() as runner:
        yield runner.run(make())
        runner.run(stack.aclose())


@pytest.fixture
async def history(long_dsn: str) -> AsyncIterator[Connection]:
    """A connection to that database."""
    connection = await connect(long_dsn)
    yield connection
    await connection.close()


def text_of(value: Any) -> str:
    """A value as PostgreSQL reads it for whatever type it expects."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds()} s"
        case list():
            return "{" + ",".join("NULL" if item is None else json.dumps(text_of(item)) for item in value) + "}"
        case _:
            return str(value)


def literal(value: Any) -> str:
    return "NULL" if value is None else "'" + text_of(value).replace("'", "''") + "'"


class Recorder:
    """Stands in for a pool: keeps the statement and its arguments, and finds nothing."""

    sql = ""
    arguments: tuple[Any, ...] = ()

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        self.sql, self.arguments = sql, arguments
        return []

    execute = fetch

    async def fetchrow(self, sql: str, *arguments: Any) -> defaultdict[str, int]:
        await self.fetch(sql, *arguments)
        return defaultdict(int)


async def plan(
    connection: Connection, function: Callable[..., Awaitable[Any]], *given: Any, analyze: bool = False, **named: Any
) -> list[dict[str, Any]]:
    """The nodes of the plan that the statement of a store function settles on once it is prepared."""
    recorder = Recorder()
    await function(recorder, *given, **named)
    await connection.execute(f"PREPARE settled AS {recorder.sql}")
    values = ", ".join(map(literal, recorder.arguments))
    execute = f"EXECUTE settled ({values})" if values else "EXECUTE settled"
    for _ in range(SETTLED):
        text = await connection.fetchval(f"EXPLAIN (FORMAT JSON{', ANALYZE' if analyze else ''}) {execute}")
    await connection.execute("DEALLOCATE settled")

    def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", ()):
            yield from nodes(child)

    return list(nodes(json.loads(text)[0]["Plan"]))


def indexes(found: list[dict[str, Any]]) -> set[str]:
    """The indexes that are used; whole scans of a table show as `Seq Scan`."""
    return {
        node.get("Index Name", node["Node Type"])
        for node in found
        if "Index Name" in node or (node["Node Type"] == "Seq Scan" and node.get("Relation Name") == "requests")
    }


async def test_the_history_is_long_and_mixed(history: Connection) -> None:
    rows = await history.fetch("SELECT status, count(*) AS n FROM requests GROUP BY 1")
    counts = {row["status"]: row["n"] for row in rows}
    assert sum(counts.values()) == ROWS
    assert counts["PENDING"] > 1_000
    assert 100 < counts["PROCESSING"] < 500


async def test_a_claim_reads_the_two_queues_in_their_order(history: Connection) -> None:
    found = await plan(history, requests.claim, ME, 4, LEASE, now())
    assert {"requests_pending", "requests_pending_owned"} <= indexes(found)
    assert indexes(found) <= {"requests_pending", "requests_pending_owned", "requests_pkey"}


async def test_whether_anyones_wait_is_looked_up_in_their_queue(history: Connection) -> None:
    assert indexes(await plan(history, requests.has_unowned)) == {"requests_pending"}


async def test_a_reservation_reads_the_queue_in_its_order(history: Connection) -> None:
    found = await plan(history, requests.reserve, ME, 20, LEASE, 0.03)
    assert "requests_pending" in indexes(found) <= {"requests_pending", "requests_pkey"}


async def test_what_is_reserved_is_found_in_the_queue_of_its_owner(history: Connection) -> None:
    found = await plan(history, requests.return_reserved, ME, [new_id()])
    assert indexes(found) == {"requests_pending_owned", "requests_pkey"}


async def test_what_began_is_found_by_its_id(history: Connection) -> None:
    found = await plan(history, requests.begin, ME, LEASE, [new().request for _ in range(8)])
    assert indexes(found) == {"requests_pkey"}


async def test_a_takeover_reads_the_leases(history: Connection) -> None:
    found = await plan(history, requests.take_over, ME, 4, LEASE, now())
    assert "requests_leased" in indexes(found)
    assert indexes(found) <= {"requests_leased", "requests_pkey"}


async def test_a_sweep_of_callbacks_reads_those_that_are_due(history: Connection) -> None:
    found = await plan(history, callbacks.claim_due, ME, LEASE, 256, timedelta(seconds=0.5))
    assert "requests_callback_due" in indexes(found)
    assert indexes(found) <= {"requests_callback_due", "requests_pkey"}


@pytest.mark.parametrize(
    ("status", "index"),
    [
        pytest.param(CallbackStatus.FAILED, "requests_listed_callback", id="failed"),
        pytest.param(CallbackStatus.SUCCESS, "requests_listed", id="delivered"),
    ],
)
async def test_what_is_redelivered_is_found_in_its_order(
    history: Connection, status: CallbackStatus, index: str
) -> None:
    matching = callbacks.Matching(callback_status=status, since=now() - timedelta(hours=1))
    found = await plan(history, callbacks.redeliver_matching, ME, LEASE, matching, 100)
    assert index in indexes(found)
    assert indexes(found) <= {index, "requests_pkey"}


async def test_what_is_held_is_renewed_and_released_without_reading_the_history(history: Connection) -> None:
    some = [row["id"] for row in await history.fetch("SELECT id FROM requests WHERE owner = $1 LIMIT 20", ME)]
    assert "Seq Scan" not in indexes(await plan(history, requests.renew, ME, LEASE, some, some))
    assert "Seq Scan" not in indexes(await plan(history, requests.release, ME, some))


async def test_what_ends_is_found_by_its_id(history: Connection) -> None:
    request = new(callback_url=URL).request
    claim = callbacks.Claim(id=request.id, series=1, attempts=0, fence=0)
    for found in (
        await plan(history, requests.finish, ME, LEASE, [end_of(request)] * 3),
        await plan(history, callbacks.claim, ME, LEASE, [claim] * 3),
        await plan(history, callbacks.record, ME, [attempt_at(request)] * 3),
        await plan(history, callbacks.redeliver, ME, LEASE, [request.id]),
        await plan(history, callbacks.logs, request.id),
    ):
        assert "Seq Scan" not in indexes(found)


@pytest.mark.parametrize(
    ("filters", "allowed"),
    [
        pytest.param({}, {"requests_listed"}, id="all"),
        pytest.param({"run": RUN}, {"requests_run"}, id="of a run"),
        pytest.param({"mode": "sync"}, {"requests_listed_mode"}, id="sync"),
        pytest.param({"mode": "async"}, {"requests_listed_mode"}, id="async"),
        pytest.param({"status": "PENDING"}, {"requests_listed_status"}, id="pending"),
        pytest.param({"status": "PROCESSING"}, {"requests_listed_status"}, id="processing"),
        pytest.param({"status": "COMPLETED"}, {"requests_listed"}, id="completed"),
        pytest.param({"status": "FAILED"}, {"requests_listed_status"}, id="failed"),
        pytest.param({"callback_status": "PENDING"}, {"requests_listed_callback"}, id="callback pending"),
        # Nine of ten are: the whole list has them side by side, and is as good as their own index.
        pytest.param(
            {"callback_status": "SUCCESS"}, {"requests_listed", "requests_listed_callback"}, id="callback successful"
        ),
        pytest.param({"callback_status": "FAILED"}, {"requests_listed_callback"}, id="callback failed"),
    ],
)
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
async def test_a_page_is_read_from_its_index_wherever_it_is(
    history: Connection, filters: dict[str, Any], allowed: set[str], place: float
) -> None:
    rows = await history.fetch("SELECT id FROM requests ORDER BY id DESC")
    before = rows[int(place * len(rows))]["id"] if place else None
    found = await plan(history, requests.page, requests.Filters(**filters), before=before, limit=51, analyze=True)
    used = indexes(found)
    assert len(used) == 1
    assert used <= allowed
    assert not {node["Node Type"] for node in found} & {"Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan"}
    # No newer rows are read and thrown away on the way to a far page; those that did not complete are one in ten.
    thrown_away = 30 if {"COMPLETED", "SUCCESS"} & set(filters.values()) else 10
    assert all(node.get("Rows Removed by Filter", 0) < thrown_away for node in found)


@pytest.mark.parametrize(
    "filters",
    [
        {"status": "FAILED", "mode": "sync"},
        {"status": "COMPLETED", "mode": "sync"},
        {"status": "PENDING", "callback_status": "PENDING"},
        {"callback_status": "FAILED", "mode": "async"},
        {"status": "COMPLETED", "callback_status": "SUCCESS"},
    ],
)
async def test_filters_together_never_read_the_whole_table(history: Connection, filters: dict[str, Any]) -> None:
    found = await plan(history, requests.page, requests.Filters(**filters), before=None, limit=51, analyze=True)
    assert "Seq Scan" not in indexes(found)
    assert all(node.get("Rows Removed by Filter", 0) < ROWS / 10 for node in found)


async def test_counting_the_newest_reads_no_more_than_those(history: Connection) -> None:
    found = await plan(history, requests.counts, 500, analyze=True)
    assert indexes(found) == {"requests_listed"}
    assert max(node["Actual Rows"] for node in found) <= 500


async def test_the_newest_run_is_the_end_of_its_index(history: Connection) -> None:
    found = await plan(history, requests.newest_run, analyze=True)
    assert indexes(found) <= {"requests_run", "requests_run_open"}
    assert max(node["Actual Rows"] for node in found) <= 1


async def test_pruning_reads_one_end_of_the_primary_key(history: Connection) -> None:
    oldest = await history.fetchval("SELECT id FROM requests ORDER BY id OFFSET 1000 LIMIT 1")
    assert "Seq Scan" not in indexes(await plan(history, requests.prune, oldest, timedelta(hours=1), 100))


async def test_what_waits_is_counted_without_reading_the_history(history: Connection) -> None:
    assert "Seq Scan" not in indexes(await plan(history, queue_stats.backlog))


async def test_what_changed_lately_is_found_without_reading_the_history(history: Connection) -> None:
    moment = await history.fetchval("SELECT now() - interval '2 s'")
    assert "Seq Scan" not in indexes(await plan(history, notifications.changed_since, moment, 2_000))


async def test_the_newest_are_counted_without_reading_the_rest(history: Connection) -> None:
    found = await plan(history, requests.counts, 1_000)
    assert indexes(found) == {"requests_listed"}
