"""Ledgers: listing, and the generator that writes a double-entry ledger of any size in one statement."""

from datetime import date
from typing import Final

import asyncpg

from reportsim.core.model import Ledger
from reportsim.store import ledger_totals
from reportsim.store.ledger_generator.layout import lay_out
from reportsim.store.ledger_generator.templates import CHART, SPLIT_LIKE, TEMPLATES
from reportsim.store.pool import Connection, Pool

SELECT_LEDGERS: Final = """
SELECT ledger_id, name, currency, exponent, version, first_on, last_on, lines FROM ledgers ORDER BY ledger_id
"""
SELECT_LEDGER: Final = """
SELECT ledger_id, name, currency, exponent, version, first_on, last_on, lines FROM ledgers WHERE name = $1
"""
SELECT_ONE: Final = "SELECT 1 FROM ledgers WHERE ledger_id = $1"
DELETE_LEDGER: Final = "DELETE FROM ledgers WHERE name = $1 RETURNING ledger_id"
DELETE_POSTINGS: Final = "DELETE FROM postings WHERE ledger_id = $1"
DELETE_BALANCES: Final = "DELETE FROM balances WHERE ledger_id = $1"


def finite(parameter: str) -> str:
    """A date parameter: asyncpg sends the first and the last day of the calendar as infinities."""
    return f"least(greatest({parameter}::date, DATE '0001-01-01'), DATE '9999-12-31')"


INSERT_LEDGER: Final = f"""
INSERT INTO ledgers (name, currency, exponent, first_on, last_on, lines)
VALUES ($1, $2, $3, {finite("$4")}, {finite("$5")}, $6)
RETURNING ledger_id
"""


REMEMBER_FIRST: Final = "INSERT INTO first_ledgers (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING name"


class LedgerExists(Exception):
    """A ledger of this name is there already."""


async def all_ledgers(pool: Pool | Connection) -> list[Ledger]:
    """Every ledger, oldest first."""
    return [Ledger(**row) for row in await pool.fetch(SELECT_LEDGERS)]


async def find(pool: Pool | Connection, name: str) -> Ledger | None:
    """The newest version of a ledger."""
    row = await pool.fetchrow(SELECT_LEDGER, name)
    return None if row is None else Ledger(**row)


async def exists(connection: Connection, ledger_id: int) -> bool:
    """Whether a ledger has not been deleted."""
    return await connection.fetchval(SELECT_ONE, ledger_id) is not None


async def delete(connection: Connection, name: str) -> bool:
    """Deletes a ledger with all its entries; False when there is none of this name."""
    async with connection.transaction():
        ledger_id = await connection.fetchval(DELETE_LEDGER, name, timeout=3600)
        if ledger_id is None:
            return False
        await connection.execute(DELETE_POSTINGS, ledger_id, timeout=3600)
        await connection.execute(DELETE_BALANCES, ledger_id, timeout=3600)
    return True


def templates() -> str:
    """SQL rows of the templates: text, the salt of its chances, and per line the account and the factor."""
    ids = {code: number for number, (code, *_) in enumerate(CHART, start=1)}
    numbers = {key: number for number, key in enumerate(TEMPLATES)}
    rows = []
    for key, template in TEMPLATES.items():
        accounts = ", ".join(str(ids[code]) for code, _ in template.lines)
        factors = ", ".join(str(factor) for _, factor in template.lines)
        salt = numbers[SPLIT_LIKE.get(key, key)]
        rows.append(f"({numbers[key]}, '{template.name}', {salt}, ARRAY[{accounts}], ARRAY[{factors}])")
    return ", ".join(rows)


INSERT_CHART: Final = """
INSERT INTO accounts (ledger_id, account_id, code, name, type, is_cash, cf_section)
SELECT $1, number, code, name, type, is_cash, section
FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[])
    WITH ORDINALITY AS chart (code, name, type, is_cash, section, number)
"""

# The parts of an amount add up to it: each is the same but for cents, and then what chance adds to one of two parts it
# takes from the other. The lines come out in the order of transactions and days without any sort, since nothing here
# shuffles them: a hash join finds those of a template last first. OFFSET 0 keeps an amount from being computed again
# wherever it is used.
GENERATE: Final = f"""
WITH template (template, name, salt, accounts, factors) AS (VALUES {templates()}),
line AS MATERIALIZED (
    SELECT template, name, line_no, account, factor
    FROM template CROSS JOIN unnest(accounts, factors) WITH ORDINALITY AS lines (account, factor, line_no)
    ORDER BY line_no DESC),
piece AS (
    SELECT round, rounds, before + (round - low) * items + generate_series(1, items) AS i,
        day + ((round * items + generate_series(0, items - 1)) * days / (rounds * items))::integer AS day,
        unnest(($12::integer[])[item_low:item_high]) AS template, unnest(($13::bigint[])[item_low:item_high]) AS whole,
        unnest(($14::bigint[])[item_low:item_high]) AS origin
    FROM (
        SELECT *, item_high - item_low + 1 AS items
        FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::integer[], $9::bigint[],
            $10::integer[], $11::integer[]) AS stretch (before, low, high, rounds, day, days, item_low, item_high)
    ) AS stretch CROSS JOIN LATERAL generate_series(low, high) AS round),
amount AS (
    SELECT i, day, template, whole * (round + 1) / rounds - whole * round / rounds + CASE
        WHEN round | 1 < rounds THEN (1 - 2 * (round & 1))
            * (whole / rounds * (ledger_mix(origin + round / 2, $2::bigint, salt) % 1501 - 750) / 1000)
        ELSE 0 END AS amount
    FROM piece JOIN template USING (template) OFFSET 0)
INSERT INTO postings (ledger_id, transaction_id, line_no, account_id, version, posted_on, amount, description)
SELECT $1::integer, i, line_no, account, 1, {finite("$3")} + day, factor * amount, name
FROM amount JOIN line USING (template)
"""


async def generate(
    connection: Connection,
    name: str,
    *,
    lines: int,
    seed: int,
    first_on: date = date(2025, 1, 1),
    days: int = 365,
) -> Ledger:
    """Writes a ledger of exactly `lines` lines (at least 4): the same arguments give the same entries.

    Raises:
        LedgerExists: the name is taken.
        TotalsDiffer: the totals that were kept are not those of the entries.
    """
    last_on = date.fromordinal(first_on.toordinal() + days - 1)
    async with connection.transaction():
        try:
            ledger_id = await connection.fetchval(INSERT_LEDGER, name, "EUR", 2, first_on, last_on, lines)
        except asyncpg.UniqueViolationError:
            raise LedgerExists(name) from None
        codes, titles, types, cash, sections = zip(*CHART, strict=True)
        await connection.execute(INSERT_CHART, ledger_id, codes, titles, types, cash, sections)
        await connection.execute(
            "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '64MB'"
        )
        columns = lay_out(lines, seed, first_on, days).columns()
        await connection.execute(GENERATE, ledger_id, seed, first_on, *columns, timeout=3600)
        await ledger_totals.write(connection, ledger_id, 1, lines)
    return Ledger(
        ledger_id=ledger_id,
        name=name,
        currency="EUR",
        exponent=2,
        version=1,
        first_on=first_on,
        last_on=last_on,
        lines=lines,
    )


async def generate_first(connection: Connection, name: str, *, lines: int, seed: int) -> bool:
    """Generates a ledger at the first start of all; False at every later one, and where the name is taken."""
    async with connection.transaction():
        if await connection.fetchval(REMEMBER_FIRST, name) is None:
            return False
        try:
            await generate(connection, name, lines=lines, seed=seed)
        except LedgerExists:
            return False
    return True
