"""What an upgrade costs: `python -m benchmarks.upgrade CHECKOUT [LINES]`.

CHECKOUT is of an older commit, with its own .venv. It generates a ledger; copies of its database are migrated by this
one, while a reader asks for a row of the balances and of the entries again and again: its longest wait is how long the
migrations keep reports from their tables.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.harness.checkout import Checkout
from benchmarks.harness.database import postgresql
from benchmarks.harness.figures import Table, count, shown
from benchmarks.harness.page import ROOT

LINES: Final = 1_000_000
ROUNDS: Final = 3
PAUSE_S: Final = 0.005
READ: Final = (
    "SELECT FROM balances WHERE ledger_id = 1 LIMIT 1",
    "SELECT FROM postings WHERE ledger_id = 1 LIMIT 1",
)


async def longest_wait(dsn: str, over: asyncio.Event) -> float:
    """The milliseconds that a reader waited at most."""
    connection = await asyncpg.connect(dsn)
    longest = 0.0
    try:
        while not over.is_set():
            began = time.perf_counter()
            for statement in READ:
                await connection.execute(statement)
            longest = max(longest, time.perf_counter() - began)
            await asyncio.sleep(PAUSE_S)
    finally:
        await connection.close()
    return 1000 * longest


async def migrate(dsn: str) -> tuple[float, float]:
    """The seconds of the migrations, and the longest wait of a reader."""
    over = asyncio.Event()
    reader = asyncio.create_task(longest_wait(dsn, over))
    try:
        [seconds] = await asyncio.to_thread(Checkout(ROOT, dsn).run, ("migrate",))
    finally:
        over.set()
    return seconds, await reader


def main(older: Path, lines: int = LINES) -> None:
    """Prints the table."""
    with postgresql() as database:
        before = Checkout(older, database.create("before"))
        before.generate("large", lines)
        seconds, waits = [], []
        for index in range(ROUNDS):
            dsn = database.create(f"after_{index}", template="before")
            database.execute("CHECKPOINT")
            took, waited = asyncio.run(migrate(dsn))
            seconds.append(took)
            waits.append(waited)
    table = Table((f"a ledger of {count(lines)} lines", ""))
    table.add("migrations", shown(seconds, "s"))
    table.add("longest wait of a reader", shown(waits, "ms"))
    print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
