"""The ledger generator: exactly the lines asked for, every transaction in balance, the same from the same seed."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportsim.core.model import Ledger
from reportsim.store import ledgers
from reportsim.store.ledger_generator import lines as generated_lines
from reportsim.store.ledger_generator.layout import lay_out
from reportsim.store.ledger_generator.templates import CHART
from reportsim.store.migrate import load, migrate
from reportsim.store.pool import Connection, Pool, connect
from tests.store.ledger_generator.books import PRIME, mix

FIRST, DAYS = date(2025, 1, 1), 365
SEEDS = st.integers(0, 2**31 - 1)
DRAWN = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

UNSOUND = """
SELECT transaction_id FROM postings WHERE ledger_id = $1 GROUP BY transaction_id
HAVING sum(amount) <> 0 OR count(*) < 2 OR count(DISTINCT posted_on) > 1 OR count(DISTINCT description) > 1
    OR min(line_no) <> 1 OR max(line_no) <> count(*)
"""
BALANCES = "SELECT account_id, day, balance AS amount FROM balances WHERE ledger_id = $1 AND account_id <> 0"


@contextlib.asynccontextmanager
async def undone(connection: Connection) -> AsyncIterator[None]:
    """Takes back whatever the block writes."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def entries(connection: Connection, ledger: Ledger) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT transaction_id, line_no, account_id, version, posted_on, amount, description FROM postings"
        " WHERE ledger_id = $1 ORDER BY transaction_id, line_no",
        ledger.ledger_id,
    )
    return [tuple(row) for row in rows]


def closings(made: list[tuple[Any, ...]]) -> dict[tuple[int, date], int]:
    """What each account comes to at the end of each day on which it moved."""
    sums: dict[int, int] = {}
    found = {}
    for _, _, account_id, _, posted_on, amount, _ in made:
        sums[account_id] = sums.get(account_id, 0) + amount
        found[account_id, posted_on] = sums[account_id]
    return found


async def check(connection: Connection, ledger: Ledger) -> None:
    made = await entries(connection, ledger)
    assert len(made) == ledger.lines
    assert await connection.fetch(UNSOUND, ledger.ledger_id) == []
    balances = {
        (row["account_id"], row["day"]): row["amount"] for row in await connection.fetch(BALANCES, ledger.ledger_id)
    }
    assert balances == closings(made)
    transactions = [row[0] for row in made]
    assert sorted(set(transactions)) == list(range(1, transactions[-1] + 1))
    days = [row[4] for row in made]
    assert days == sorted(days)
    assert days[0] == ledger.first_on
    assert days[-1] <= ledger.last_on


async def test_entries_are_written_in_the_order_of_their_key(connection: Connection) -> None:
    """Otherwise its index would grow in the middle, where it is dearer."""
    await connection.execute(
        "VACUUM FULL postings"
    )  # what others deleted leaves room between the entries that are kept
    ledger = await ledgers.generate(connection, "ordered", lines=5_000, seed=1)
    rows = await connection.fetch(
        "SELECT transaction_id, line_no FROM postings WHERE ledger_id = $1 ORDER BY ctid", ledger.ledger_id
    )
    keys = [tuple(row) for row in rows]
    assert keys == sorted(keys)


async def test_every_small_size_has_exactly_its_lines(connection: Connection) -> None:
    """Through the bare statement, which is quick enough for all of them."""
    async with undone(connection):
        statement = await connection.prepare(generated_lines.INSERT)
        for lines in range(4, 201):
            seed = lines * 7919 % PRIME
            await statement.fetch(-lines, seed, FIRST.toordinal() - 1, *lay_out(lines, seed, FIRST, DAYS).columns())
        rows = await connection.fetch(
            "SELECT -ledger_id AS asked, count(*) AS lines, sum(amount) AS sum FROM postings"
            " WHERE ledger_id < 0 GROUP BY ledger_id ORDER BY ledger_id DESC"
        )
        assert [tuple(row) for row in rows] == [(lines, lines, 0) for lines in range(4, 201)]
        assert not await connection.fetch(
            "SELECT ledger_id FROM postings WHERE ledger_id < 0"
            " GROUP BY ledger_id, transaction_id HAVING sum(amount) <> 0"
        )


@DRAWN
@given(lines=st.integers(4, 200), seed=SEEDS, days=st.integers(1, 800))
async def test_a_ledger_is_sound_whatever_its_size_and_seed(
    connection: Connection, lines: int, seed: int, days: int
) -> None:
    async with undone(connection):
        ledger = await ledgers.generate(connection, "made", lines=lines, seed=seed, first_on=FIRST, days=days)
        assert ledger.last_on == FIRST + timedelta(days=days - 1)
        await check(connection, ledger)


@pytest.mark.parametrize("lines", [1_000, 12_345])
async def test_a_larger_ledger_is_sound_and_uses_the_whole_window(connection: Connection, lines: int) -> None:
    async with undone(connection):
        ledger = await ledgers.generate(connection, "made", lines=lines, seed=7)
        await check(connection, ledger)
        made = await entries(connection, ledger)
        assert made[-1][4] == ledger.last_on
        # There is no dividend in the first year.
        codes = {CHART[row[2] - 1][0] for row in made}
        assert codes == {code for code, *_ in CHART} - {"3100"}


async def test_the_same_seed_gives_the_same_entries_and_another_seed_others(connection: Connection) -> None:
    async with undone(connection):
        made = [
            await entries(connection, await ledgers.generate(connection, name, lines=400, seed=seed))
            for name, seed in (("a", 42), ("b", 42), ("c", 43))
        ]
        assert made[0] == made[1]
        assert made[0] != made[2]


async def test_the_entries_of_a_seed_never_change(connection: Connection) -> None:
    """Reports, and what is told about them, rest on these very entries; on every PostgreSQL alike."""
    async with undone(connection):
        ledger = await ledgers.generate(connection, "made", lines=40, seed=42)
        text = "\n".join(map(repr, await entries(connection, ledger)))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a541cf445f7fcdb6"


async def test_the_hash_is_the_one_that_is_documented(connection: Connection) -> None:
    source = random.Random(1)
    edges = [(i, seed, salt) for i in (0, 1, 20_000_000, PRIME) for seed in (0, 1, PRIME) for salt in (0, 1, 2)]
    drawn = [(source.randrange(2**31), source.randrange(2**31), source.randrange(10)) for _ in range(5_000)]
    cases = [*edges, *drawn]
    columns = [[case[n] for case in cases] for n in range(3)]
    rows = await connection.fetch(
        "SELECT ledger_mix(i, seed, salt) AS mixed FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])"
        " WITH ORDINALITY AS given (i, seed, salt, n) ORDER BY n",
        *columns,
    )
    assert [row["mixed"] for row in rows] == [mix(*case) for case in cases]


async def test_the_hash_spreads_evenly(connection: Connection) -> None:
    rows = await connection.fetch(
        "SELECT ledger_mix(i, 42, 1) / 7 % 100 AS slot, count(*) AS hits"
        " FROM generate_series(1, 100000) AS i GROUP BY 1"
    )
    assert len(rows) == 100
    assert all(800 < row["hits"] < 1200 for row in rows)


async def test_a_name_is_given_once(connection: Connection) -> None:
    before = await ledgers.all_ledgers(connection)
    lines = await connection.fetchval("SELECT count(*) FROM postings")
    with pytest.raises(ledgers.LedgerExists, match="demo"):
        await ledgers.generate(connection, "demo", lines=40, seed=1)
    assert await ledgers.all_ledgers(connection) == before
    assert await connection.fetchval("SELECT count(*) FROM postings") == lines


async def test_of_two_generators_of_one_name_one_wins(pool: Pool) -> None:
    async def generate(seed: int) -> Ledger | None:
        async with pool.acquire() as connection:
            with contextlib.suppress(ledgers.LedgerExists):
                return await ledgers.generate(connection, "raced", lines=40, seed=seed)
        return None

    made = [ledger for ledger in await asyncio.gather(*(generate(seed) for seed in range(4))) if ledger]
    assert len(made) == 1
    count = await pool.fetchval("SELECT count(*) FROM postings WHERE ledger_id = $1", made[0].ledger_id)
    assert count == 40
    async with pool.acquire() as connection:
        assert await ledgers.delete(connection, "raced")


async def test_what_is_made_is_what_is_listed(pool: Pool, connection: Connection) -> None:
    made = await ledgers.generate(connection, "made", lines=50, seed=3, first_on=date(2024, 2, 29), days=1)
    assert (await ledgers.all_ledgers(pool))[-1] == made
    assert made.as_json() == {
        "name": "made",
        "currency": "EUR",
        "exponent": 2,
        "from": "2024-02-29",
        "to": "2024-03-01",
        "lines": 50,
    }
    assert await ledgers.delete(connection, "made")


async def test_deleting_takes_every_entry_of_that_ledger_alone(connection: Connection) -> None:
    made = await ledgers.generate(connection, "made", lines=50, seed=3)
    others = await connection.fetchval("SELECT count(*) FROM postings WHERE ledger_id <> $1", made.ledger_id)
    assert await ledgers.delete(connection, "made")
    for table in ("ledgers", "accounts", "postings", "balances"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE ledger_id = $1", made.ledger_id) == 0
    assert await connection.fetchval("SELECT count(*) FROM postings") == others
    assert not await ledgers.delete(connection, "made")


async def test_a_generation_that_fails_leaves_nothing(connection: Connection) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await ledgers.generate(connection, "made", lines=40, seed=2**62)
    assert "made" not in {ledger.name for ledger in await ledgers.all_ledgers(connection)}


async def test_a_first_ledger_that_was_deleted_stays_away(empty_dsn: str) -> None:
    first, second = await connect(empty_dsn), await connect(empty_dsn)
    await migrate(first)
    started = [ledgers.generate_first(each, "demo", lines=40, seed=42) for each in (first, second)]
    assert sorted(await asyncio.gather(*started)) == [False, True]
    assert await ledgers.delete(first, "demo")
    assert not await ledgers.generate_first(first, "demo", lines=40, seed=42)
    assert await ledgers.all_ledgers(first) == []
    # What somebody makes under that name is theirs.
    made = await ledgers.generate(first, "demo", lines=44, seed=1)
    assert not await ledgers.generate_first(first, "demo", lines=40, seed=42)
    assert await ledgers.all_ledgers(first) == [made]
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("SELECT 1", {"demo", "tiny"}),
        ("INSERT INTO ledgers (name, currency, exponent, first_on, last_on, lines) VALUES"
         " ('tiny', 'EUR', 2, '2025-01-01', '2025-01-02', 2)", {"demo", "tiny"}),
        ("INSERT INTO webhook_secrets (secret) VALUES ('whsec_x')", set()),
    ],
    ids=["never started", "imported before the first start", "started, then deleted"],
)  # fmt: skip
async def test_an_older_database_gets_no_deleted_ledger_back(empty_dsn: str, before: str, expected: set[str]) -> None:
    connection = await connect(empty_dsn)
    await migrate(connection, load()[:3])
    await connection.execute(before)
    await migrate(connection)
    for name in ("demo", "tiny"):
        await ledgers.generate_first(connection, name, lines=40, seed=42)
    assert {ledger.name for ledger in await ledgers.all_ledgers(connection)} == expected
    await connection.close()


@pytest.mark.parametrize("first_on", [date.min, date(9999, 12, 2), date.max])
async def test_the_ends_of_the_calendar_are_days_like_others(connection: Connection, first_on: date) -> None:
    days = min((date.max - first_on).days + 1, 30)
    async with undone(connection):
        made = await ledgers.generate(connection, "made", lines=40, seed=3, first_on=first_on, days=days)
        rows = await connection.fetchrow(
            "SELECT l.first_on::text, l.last_on::text, min(posted_on)::text, max(posted_on)::text"
            " FROM ledgers l JOIN postings p USING (ledger_id) WHERE ledger_id = $1 GROUP BY 1, 2",
            made.ledger_id,
        )
        last_on = date.fromordinal(first_on.toordinal() + days - 1)
        assert rows is not None
        assert tuple(rows) == (first_on.isoformat(), last_on.isoformat()) * 2
        assert {tuple(row) for row in await connection.fetch("SELECT isfinite(day) FROM balances")} == {(True,)}
