"""The entries of a ledger: made by one statement, and written by it or by another connection meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from reportsim.store.ledger_generator.templates import CHART, SPLIT_LIKE, TEMPLATES
from reportsim.store.pool import Connection
from reportsim.tasks import start, wait_for_end

TIMEOUT_S: Final = 3600.0
# Pieces of COPY on their way, of a few hundred KB at most.
PIECES: Final = 8


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


COLUMNS: Final = (
    "ledger_id",
    "transaction_id",
    "line_no",
    "account_id",
    "version",
    "posted_on",
    "amount",
    "description",
)

# The parts of an amount add up to it: each is the same but for cents, and then what chance adds to one of two parts it
# takes from the other. The lines come out in the order of transactions and days without any sort, since nothing here
# shuffles them: a hash join finds those of a template last first. OFFSET 0 keeps an amount from being computed again
# wherever it is used.
LINES: Final = f"""
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
SELECT $1::integer, i, line_no::integer, account, 1, DATE '0001-01-01' + $3::integer + day, factor * amount, name
FROM amount JOIN line USING (template)
"""
INSERT: Final = f"INSERT INTO postings ({', '.join(COLUMNS)}) {LINES}"

# The lines come in the order that they are written in, and no compiler is worth its time.
PREPARE: Final = "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '64MB'"
BEGIN: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {PREPARE}"


async def write_lines(connection: Connection, maker: Connection | None, arguments: Sequence[Any]) -> None:
    """Writes the lines of a ledger in a transaction; a maker, where there is one, makes them meanwhile.

    The arguments are the ledger, the seed, the days from the first of the calendar to the ledger's, and its layout.
    """
    await connection.execute(PREPARE)
    if maker is None:
        await connection.execute(INSERT, *arguments, timeout=TIMEOUT_S)
    else:
        await copy_lines(connection, maker, arguments)


async def copy_lines(connection: Connection, maker: Connection, arguments: Sequence[Any]) -> None:
    """Writes lines, in a transaction, while another connection makes them: sooner where there is a second core.

    The maker is closed when it is disturbed: asyncpg does not end a COPY whose reader is cancelled.
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES)

    async def make() -> None:
        try:
            await maker.execute(BEGIN)
            await maker.copy_from_query(LINES, *arguments, output=pieces.put, format="binary", timeout=TIMEOUT_S)
            await maker.execute("ROLLBACK")
        except asyncio.CancelledError:
            maker.terminate()
            raise
        except Exception:
            maker.terminate()
            await pieces.put(None)
            raise
        await pieces.put(None)

    async def made() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    making = start(make(), name="ledger-lines", handled=(Exception,))
    try:
        await connection.copy_to_table("postings", source=made(), columns=COLUMNS, format="binary", timeout=TIMEOUT_S)
    except BaseException:
        making.cancel()
        raise
    finally:
        await wait_for_end(making)
