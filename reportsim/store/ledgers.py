"""Ledgers: listing, and the generator that writes a double-entry ledger of any size in one statement."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import asyncpg

from reportsim.core.model import Ledger
from reportsim.store import ledger_totals
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


# code, name, type, is cash, section of the cash flow statement
CHART: Final = (
    ("1000", "Bank", "asset", True, "cash"),
    ("1010", "Cash on hand", "asset", True, "cash"),
    ("1100", "Trade receivables", "asset", False, "operating"),
    ("1200", "Inventory", "asset", False, "operating"),
    ("1300", "Input VAT", "asset", False, "operating"),
    ("1500", "Equipment", "asset", False, "investing"),
    ("1590", "Accumulated depreciation", "asset", False, "noncash"),
    ("2000", "Trade payables", "liability", False, "operating"),
    ("2100", "Output VAT", "liability", False, "operating"),
    ("2200", "Payroll taxes payable", "liability", False, "operating"),
    ("2500", "Bank loan", "liability", False, "financing"),
    ("3000", "Share capital", "equity", False, "financing"),
    ("4000", "Product sales", "revenue", False, "operating"),
    ("4100", "Service revenue", "revenue", False, "operating"),
    ("4900", "Interest income", "revenue", False, "operating"),
    ("5000", "Cost of goods sold", "expense", False, "operating"),
    ("6000", "Wages and salaries", "expense", False, "operating"),
    ("6100", "Rent", "expense", False, "operating"),
    ("6200", "Utilities", "expense", False, "operating"),
    ("6300", "Marketing", "expense", False, "operating"),
    ("6400", "Depreciation", "expense", False, "noncash"),
    ("6500", "Interest expense", "expense", False, "operating"),
    ("6600", "Bank charges", "expense", False, "operating"),
)

# What happens in a business, with its share of 100 slots, the range of its gross amount in minor units, and its lines:
# account, sign, and part: G the gross amount, T a sixth of it (20 % VAT), N the rest. Every template sums to zero.
TEMPLATES: Final = (
    ("Cash sale", 18, 500, 15_000, (("1010", 1, "G"), ("4000", -1, "N"), ("2100", -1, "T"))),
    ("Invoice to a customer", 15, 20_000, 900_000, (("1100", 1, "G"), ("4100", -1, "N"), ("2100", -1, "T"))),
    ("Customer pays", 13, 15_000, 900_000, (("1000", 1, "G"), ("1100", -1, "G"))),
    ("Goods bought", 10, 10_000, 600_000, (("1200", 1, "N"), ("1300", 1, "T"), ("2000", -1, "G"))),
    ("Supplier paid", 10, 10_000, 500_000, (("2000", 1, "G"), ("1000", -1, "G"))),
    ("Goods sold, at cost", 9, 5_000, 300_000, (("5000", 1, "G"), ("1200", -1, "G"))),
    ("Wages paid", 4, 180_000, 650_000, (("6000", 1, "G"), ("2200", -1, "T"), ("1000", -1, "N"))),
    ("Cash taken to the bank", 5, 5_000, 45_000, (("1000", 1, "G"), ("1010", -1, "G"))),
    ("Rent", 2, 120_000, 400_000, (("6100", 1, "N"), ("1300", 1, "T"), ("1000", -1, "G"))),
    ("Electricity and water", 3, 8_000, 90_000, (("6200", 1, "N"), ("1300", 1, "T"), ("1000", -1, "G"))),
    ("Advertising", 3, 15_000, 350_000, (("6300", 1, "N"), ("1300", 1, "T"), ("2000", -1, "G"))),
    ("Depreciation of the month", 2, 20_000, 120_000, (("6400", 1, "G"), ("1590", -1, "G"))),
    ("Equipment bought", 1, 50_000, 2_500_000, (("1500", 1, "N"), ("1300", 1, "T"), ("1000", -1, "G"))),
    ("Loan paid out", 1, 500_000, 5_000_000, (("1000", 1, "G"), ("2500", -1, "G"))),
    (
        "Loan instalment with interest",
        2,
        30_000,
        400_000,
        (("2500", 1, "N"), ("6500", 1, "T"), ("1000", -1, "G")),
    ),
    ("Interest credited", 1, 100, 9_000, (("1000", 1, "G"), ("4900", -1, "G"))),
    ("Bank charges", 1, 200, 4_000, (("6600", 1, "G"), ("1000", -1, "G"))),
)


def of_slots(values: Sequence[int]) -> str:
    """An SQL array that gives each of the 100 slots its template's value."""
    of_each = [str(value) for value, (_, share, *_) in zip(values, TEMPLATES, strict=True) for _ in range(share)]
    return f"(ARRAY[{', '.join(of_each)}])"


def templates() -> str:
    """SQL rows of the templates: text, range of the amount, and per line the account, and how often G and T go in."""
    ids = {code: number for number, (code, *_) in enumerate(CHART, start=1)}
    rows = []
    for number, (name, _, low, high, lines) in enumerate(TEMPLATES):
        accounts = ", ".join(str(ids[code]) for code, _, _ in lines)
        gross = ", ".join(str(sign if part in "GN" else 0) for _, sign, part in lines)
        tax = ", ".join(str({"G": 0, "T": sign, "N": -sign}[part]) for _, sign, part in lines)
        rows.append(f"({number}, '{name}', {low}, {high}, ARRAY[{accounts}], ARRAY[{gross}], ARRAY[{tax}])")
    return ", ".join(rows)


INSERT_CHART: Final = """
INSERT INTO accounts (ledger_id, account_id, code, name, type, is_cash, cf_section)
SELECT $1, number, code, name, type, is_cash, section
FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[])
    WITH ORDINALITY AS chart (code, name, type, is_cash, section, number)
"""

# Transactions have 2.58 lines on average; a tenth more of them are drawn than that needs.
MOST_DRAWN: Final = 0.43

# Transaction 1 is the opening: share capital paid in. Transactions are drawn until two to four lines are left, which
# one or two transactions of a fixed template then fill to the line. The lines come out in the order of transactions and
# days without any sort, since nothing here shuffles them. OFFSET 0 keeps the hash of a row from being computed again
# wherever it is used.
GENERATE: Final = f"""
WITH template (template, name, low, high, accounts, gross_parts, tax_parts) AS (VALUES {templates()}),
slot AS (
    SELECT i, (1 + (ledger_mix(i, $3, 1) / 7) % 100)::integer AS slot
    FROM generate_series(2, least($2::integer / 2, $2::integer * {MOST_DRAWN} + 100)::integer) AS i OFFSET 0),
drawn AS MATERIALIZED (
    SELECT i, {of_slots(range(len(TEMPLATES)))}[slot] AS template,
        sum({of_slots([len(lines) for *_, lines in TEMPLATES])}[slot])
            OVER (ROWS UNBOUNDED PRECEDING) AS lines
    FROM slot),
rest AS (
    SELECT coalesce(max(i), 1) AS last, $2 - 2 - coalesce(max(lines), 0) AS lines FROM drawn WHERE lines <= $2 - 4),
filler (lines, step, template) AS (VALUES (2, 1, 2), (3, 1, 0), (4, 1, 2), (4, 2, 4)),
filling AS (SELECT last + step AS i, template FROM rest JOIN filler USING (lines)),
total AS (SELECT max(i) AS transactions FROM filling),
chosen AS (SELECT i, template FROM drawn WHERE lines <= $2 - 4 UNION ALL SELECT i, template FROM filling),
dated AS (
    SELECT *, {finite("$4")} + ((i - 1)::bigint * ($5 - 1) / (transactions - 1))::integer AS day,
        low + ledger_mix(i, $3, 2) % (high - low + 1) AS gross
    FROM chosen JOIN template USING (template) CROSS JOIN total OFFSET 0)
INSERT INTO postings (ledger_id, transaction_id, line_no, account_id, version, posted_on, amount, description)
SELECT $1::integer, 1, line_no, account_id, 1, {finite("$4")}, amount, 'Share capital paid in'
FROM (VALUES (1, 1, 50000000), (2, 12, -50000000)) AS opening (line_no, account_id, amount)
UNION ALL
SELECT $1::integer, i, generate_subscripts(accounts, 1), unnest(accounts), 1, day,
    unnest(gross_parts) * gross + unnest(tax_parts) * ((gross * 2 + 6) / 12), name
FROM dated
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
        await connection.execute("SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '64MB'")
        await connection.execute(GENERATE, ledger_id, lines, seed, first_on, days, timeout=3600)
        await ledger_totals.write(connection, ledger_id, 1)
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
