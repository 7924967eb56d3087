"""Kept totals: those of the entries on every day and in every version, or else the import is refused."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportsim.core.model import Ledger
from reportsim.store import ledger_totals, ledgers
from reportsim.store.ledger_totals import TotalsDiffer, verify
from reportsim.store.pool import Connection
from tests.reports.books import entries, store, store_entries, transaction
from tests.reports.oracle import Account, Book
from tests.store.test_ledgers import undone

CHART: Final = (
    Account(code="1", name="Bank", type="asset", is_cash=True, cf_section="cash"),
    Account(code="2", name="Loan", type="liability", cf_section="financing"),
    Account(code="3", name="Sales", type="revenue"),
    Account(code="4", name="Rent", type="expense"),
)
FIRST: Final = date(2025, 1, 1)
TOTALS: Final = """
SELECT balance, debit, credit, entries, cash FROM balances
WHERE ledger_id = $1 AND account_id = $2 AND day <= $3 AND version <= $4 ORDER BY day DESC, version DESC LIMIT 1
"""
# The statement by which the previous build looks up a balance.
PREVIOUS: Final = """
SELECT sum(last.amount) FROM generate_series(1, $4) AS v CROSS JOIN LATERAL (
    SELECT amount FROM balances
    WHERE ledger_id = $1 AND account_id = $2 AND version = v AND day <= $3 ORDER BY day DESC LIMIT 1) AS last
"""

# A version: for each of its transactions a day and the accounts and amount of two lines.
VERSION: Final = st.lists(
    st.tuples(st.integers(0, 9), st.permutations("1234").map(lambda codes: codes[:2]), st.integers(1, 10**18)),
    min_size=1,
    max_size=6,
)


def books(versions: Iterable[list[tuple[int, list[str], int]]]) -> list[Book]:
    """The versions of a ledger."""
    number = 0
    made = []
    for version in versions:
        lines = []
        for day, (debit, credit), amount in version:
            number += 1
            lines.append(transaction(number, FIRST + timedelta(day), (debit, amount), (credit, -amount)))
        made.append(Book(accounts=CHART, entries=entries(*lines)))
    return made


def expected(made: list[Book], code: str | None, day: date, version: int) -> tuple[int, int, int, int, int]:
    """The totals of an account, or of all, by adding up entries one by one."""
    seen = [entry for book in made[:version] for entry in book.entries]
    cash = {entry.transaction_id for entry in seen if entry.code == "1"}
    found = [entry for entry in seen if entry.day <= day and code in {None, entry.code}]
    return (
        sum(entry.amount for entry in found),
        sum(max(entry.amount, 0) for entry in found),
        sum(max(-entry.amount, 0) for entry in found),
        len(found),
        sum(entry.amount for entry in found if entry.transaction_id in cash),
    )


async def write(connection: Connection, made: list[Book]) -> Ledger:
    """Writes the versions of a ledger one after the other."""
    ledger_id = await store(connection, made[0], "versions")
    for version, book in enumerate(made[1:], start=2):
        await store_entries(connection, ledger_id, book, version=version)
    await connection.execute(
        "UPDATE ledgers SET version = $2, lines = $3 WHERE ledger_id = $1",
        ledger_id,
        len(made),
        sum(len(book.entries) for book in made),
    )
    found = await ledgers.find(connection, "versions")
    assert found is not None
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(VERSION, min_size=1, max_size=4))
async def test_a_look_up_finds_the_totals_of_any_day_and_version(
    connection: Connection, versions: list[list[tuple[int, list[str], int]]]
) -> None:
    made = books(versions)
    async with undone(connection):
        ledger = await write(connection, made)
        assert await verify(connection, ledger) == []
        for version in range(1, len(made) + 1):
            for day in (FIRST + timedelta(number) for number in range(-1, 11)):
                for number, code in enumerate((None, "1", "2", "3", "4")):
                    place = (ledger.ledger_id, number, day, version)
                    found = await connection.fetchrow(TOTALS, *place)
                    assert (tuple(found) if found else (0,) * 5) == expected(made, code, day, version)
                    if code is not None:
                        # A replica of the previous build goes on reading during an upgrade.
                        balance = await connection.fetchval(PREVIOUS, *place)
                        assert (balance or 0) == expected(made, code, day, version)[0]


async def test_the_import_of_an_older_build_fails(connection: Connection) -> None:
    ledger = await write(connection, books([[(0, ["1", "2"], 5)]]))
    with pytest.raises(asyncpg.NotNullViolationError):
        await connection.execute(
            "INSERT INTO balances (ledger_id, account_id, version, day, amount) VALUES ($1, 1, 2, '2025-02-01', 1)",
            ledger.ledger_id,
        )


async def test_only_a_ledger_that_is_new_gets_statistics(connection: Connection) -> None:
    """A sample of the whole table takes longer than all the rest of an append."""
    first, second = books([[(0, ["1", "2"], 5)], [(1, ["1", "2"], 7)]])
    ledger = await write(connection, [first])
    known = "SELECT reltuples FROM pg_class WHERE oid = 'postings'::regclass"
    before = await connection.fetchval(known)
    assert before == await connection.fetchval("SELECT count(*) FROM postings")
    await store_entries(connection, ledger.ledger_id, second, version=2)
    assert await connection.fetchval(known) == before


THREE: Final = [
    [(0, ["1", "2"], 500), (4, ["4", "1"], 70)],
    [(2, ["3", "1"], 20)],
    [(9, ["1", "3"], 9), (9, ["4", "2"], 3)],
]
COLUMNS: Final = ("amount", "balance", "debit", "credit", "entries", "cash")
DAMAGE: Final = {
    **{
        f"{column} of {whose} in version {version}": f"UPDATE balances SET {column} = {column} + 1"
        f" WHERE ledger_id = $1 AND account_id = {account} AND version = {version} AND day = '{day}'"
        for column in COLUMNS
        for whose, account, version, day in (
            ("an account", 1, 1, "2025-01-01"),
            ("an account", 1, 2, "2025-01-05"),
            ("all accounts", 0, 3, "2025-01-10"),
        )
    },
    "a row is lost": "DELETE FROM balances WHERE ledger_id = $1 AND account_id = 4",
    "a row that a version wrote again is lost": (
        "DELETE FROM balances WHERE ledger_id = $1 AND account_id = 1 AND version = 2 AND day = '2025-01-05'"
    ),
    "a row is moved": (
        "UPDATE balances SET day = '2025-01-07' WHERE ledger_id = $1 AND account_id = 4 AND day = '2025-01-05'"
    ),
    "a row is doubled": (
        "INSERT INTO balances SELECT ledger_id, 3, day, version, amount, balance, debit, credit, entries, cash"
        " FROM balances WHERE ledger_id = $1 AND account_id = 4 AND version = 1"
    ),
    "a row of a version that is not there": (
        "INSERT INTO balances SELECT ledger_id, account_id, day, 9, amount, balance, debit, credit, entries, cash"
        " FROM balances WHERE ledger_id = $1 AND account_id = 4"
    ),
    "an amount": "UPDATE postings SET amount = amount + 1 WHERE ledger_id = $1 AND transaction_id = 1 AND line_no = 1",
    "both amounts": "UPDATE postings SET amount = 2 * amount WHERE ledger_id = $1 AND transaction_id = 2",
    "an account": "UPDATE postings SET account_id = 4 WHERE ledger_id = $1 AND transaction_id = 3 AND line_no = 1",
    "an account that is not there": (
        "UPDATE postings SET account_id = 44 WHERE ledger_id = $1 AND transaction_id = 3 AND line_no = 1"
    ),
    "a day": "UPDATE postings SET posted_on = '2025-01-04' WHERE ledger_id = $1 AND transaction_id = 3",
    "the day of a line": (
        "UPDATE postings SET posted_on = '2025-01-04' WHERE ledger_id = $1 AND transaction_id = 3 AND line_no = 2"
    ),
    "a version": "UPDATE postings SET version = 3 WHERE ledger_id = $1 AND transaction_id = 3",
    "a version that is not there": "UPDATE postings SET version = 4 WHERE ledger_id = $1 AND transaction_id = 4",
    "a line is lost": "DELETE FROM postings WHERE ledger_id = $1 AND transaction_id = 2 AND line_no = 1",
    "a transaction is lost": "DELETE FROM postings WHERE ledger_id = $1 AND transaction_id = 2",
    "a line of another transaction": (
        "UPDATE postings SET transaction_id = 2, line_no = 3"
        " WHERE ledger_id = $1 AND transaction_id = 1 AND line_no = 1"
    ),
    "an account becomes cash": "UPDATE accounts SET is_cash = true WHERE ledger_id = $1 AND code = '2'",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_verify_finds_what_is_damaged(connection: Connection, damage: str) -> None:
    ledger = await write(connection, books(THREE))
    assert (await connection.execute(DAMAGE[damage], ledger.ledger_id)).split()[-1] != "0"
    assert await verify(connection, ledger) != []


async def test_verify_names_the_place(connection: Connection) -> None:
    ledger = await write(connection, books(THREE))
    await connection.execute(DAMAGE["debit of an account in version 2"], ledger.ledger_id)
    first, *_ = await verify(connection, ledger)
    assert first == "the totals of account 1 on 2025-01-05 in version 2 are not those of its entries"


TAMPER: Final = """
CREATE FUNCTION tamper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
CREATE TRIGGER tamper BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION tamper()
"""


@pytest.mark.parametrize(
    ("table", "body"),
    [
        *(
            ("balances", f"IF NEW.account_id = 1 THEN NEW.{column} = NEW.{column} + 1; END IF; RETURN NEW;")
            for column in COLUMNS
        ),
        ("balances", "IF NEW.account_id = 3 THEN NEW.day = NEW.day + 1; END IF; RETURN NEW;"),
        ("balances", "IF NEW.account_id = 3 THEN RETURN NULL; END IF; RETURN NEW;"),
    ],
)
async def test_an_import_whose_totals_are_not_those_of_its_entries_is_refused(
    connection: Connection, table: str, body: str
) -> None:
    async with undone(connection):
        await connection.execute(TAMPER.format(table=table, body=body))
        with pytest.raises(TotalsDiffer, match="the ledger was not written: "):
            await ledgers.generate(connection, "tampered", lines=40, seed=1)
        assert await ledgers.find(connection, "tampered") is None


async def test_totals_that_were_computed_wrongly_are_refused(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written as it was computed is still held against the entries."""
    for right, wrong in (
        ("greatest(amount, 0)", "greatest(amount, 1)"),
        ("count(*) AS entries", "count(*) + 1 AS entries"),
        ("ORDER BY day)", "ORDER BY day DESC)"),
    ):
        monkeypatch.setattr(ledger_totals, "WRITE", ledger_totals.WRITE.replace(right, wrong))
        with pytest.raises(TotalsDiffer, match=r"the totals of .* on 2025-.* are not those of its entries"):
            await ledgers.generate(connection, "wrong", lines=40, seed=1)
        monkeypatch.undo()
    assert await ledgers.find(connection, "wrong") is None


async def test_appends_write_only_the_later_days_again(connection: Connection) -> None:
    ledger = await write(connection, books([[(day, ["1", "2"], 1) for day in range(6)], [(3, ["1", "4"], 1)]]))
    rows = await connection.fetch(
        "SELECT account_id, day FROM balances WHERE ledger_id = $1 AND version = 2 ORDER BY 1, 2", ledger.ledger_id
    )
    later = [FIRST + timedelta(day) for day in (3, 4, 5)]
    assert [tuple(row) for row in rows] == [
        *((0, day) for day in later),
        *((1, day) for day in later),
        (4, FIRST + timedelta(3)),
    ]
