"""Writes an import file of any size in our own CSV: `python -m benchmarks.parts.make_ledger_csv FILE [LINES]`.

Transactions of two lines over one year, the same from the same seed; a million lines take about two seconds.
"""

import random
import sys
from datetime import date, timedelta
from pathlib import Path

HEADER = "date,transaction_id,line_no,account_code,account_name,account_type,debit,credit,description\n"
ACCOUNTS = (
    "1000,Bank,asset",
    "1010,Cash on hand,asset",
    "1100,Trade receivables,asset",
    "2000,Trade payables,liability",
    "3000,Share capital,equity",
    "4000,Product sales,revenue",
    "5000,Cost of goods sold,expense",
    "6100,Rent,expense",
)
FIRST = date(2025, 1, 1)
DAYS = 365
BATCH = 10_000


def make_ledger_csv(path: Path, lines: int = 1_000_000, seed: int = 42) -> None:
    """Writes an even number of lines, at least two."""
    draw = random.Random(seed)
    transactions = max(lines // 2, 1)
    days = [str(FIRST + timedelta(days=number)) for number in range(DAYS)]
    pairs = [(first, second) for first in ACCOUNTS for second in ACCOUNTS if first != second]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER)
        for start in range(0, transactions, BATCH):
            written = []
            for id in range(start, min(start + BATCH, transactions)):
                day = days[id * DAYS // transactions]
                debited, credited = pairs[int(draw.random() * len(pairs))]
                cents = 1 + int(draw.random() * 50_000_000)
                amount = f"{cents // 100}.{cents % 100:02}"
                written.append(
                    f"{day},{id + 1},1,{debited},{amount},,Entry {id + 1}\n"
                    f"{day},{id + 1},2,{credited},,{amount},Entry {id + 1}\n"
                )
            file.writelines(written)


if __name__ == "__main__":
    make_ledger_csv(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
