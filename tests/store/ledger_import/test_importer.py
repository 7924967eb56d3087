"""Imports: both formats against direct SQL, versions on top of versions, and files that must change nothing."""

import asyncio
import contextlib
import csv
import io
import random
import shutil
import subprocess
import time
import tracemalloc
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportsim.core.model import Ledger
from reportsim.store import ledgers
from reportsim.store.ledger_import import formats as import_formats
from reportsim.store.ledger_import import importer
from reportsim.store.ledger_import.csv_reader import CsvFile, Faulty, Irregular
from reportsim.store.ledger_import.currencies import exponent
from reportsim.store.ledger_import.importer import Import, ImportRefused, import_ledger
from reportsim.store.pool import Connection, connect
from tests.store.ledger_import.hostile_files import HEADER, HLEDGER, HOSTILE, L1, L2, hledger, own, second

ACCOUNTS = "account_code,account_name,account_type,is_cash,cf_section"
BOOKS = (
    HEADER
    + '''
2024-02-29,7,1,1000,Bank,asset,1000.00,,"Sale, ""net"""
2024-02-29,7,2,4000,Sales,revenue,0.00,1000,=1+1
2024-03-01,10,1,5000,Rent,expense,0.5,,
2024-03-01,10,2,1000,Bank,asset,,0.50,rent
'''
)
QUOTABLE = "2024-02-29,7,1,1000,Bank,asset,1000.00,"
NAMED_LATER = "2024-03-01,11,1,5000,Rent,,1,,\n2024-03-01,11,2,5000,Rent,,,1,\n"
ENTRIES = """
SELECT transaction_id, line_no, code, posted_on, amount, description, p.version FROM postings p
JOIN accounts a USING (ledger_id, account_id) WHERE ledger_id = $1 ORDER BY transaction_id, line_no
"""
CHART = """
SELECT code, name, type, is_cash, cf_section, account_id, version FROM accounts WHERE ledger_id = $1 ORDER BY code
"""
EVERYTHING = (
    "SELECT * FROM ledgers ORDER BY 1",
    "SELECT * FROM accounts ORDER BY 1, 2",
    "SELECT count(*), sum(hashtext(p::text)::bigint) FROM postings p",
    "SELECT count(*), sum(hashtext(b::text)::bigint) FROM balances b",
)


def file(tmp_path: Path, content: str | bytes, name: str = "books.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


async def load(connection: Connection, path: Path, name: str = "books", **options: Any) -> Ledger:
    return await import_ledger(connection, Import(path=path, ledger=name, **options))


async def rows(connection: Connection, sql: str, ledger: Ledger) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(sql, ledger.ledger_id)]


async def everything(connection: Connection) -> list[list[tuple[Any, ...]]]:
    return [[tuple(row) for row in await connection.fetch(sql)] for sql in EVERYTHING]


class TestOwnFormat:
    async def test_entries_and_accounts_are_those_of_the_file(self, connection: Connection, tmp_path: Path) -> None:
        ledger = await load(connection, file(tmp_path, BOOKS))
        assert ledger == (await ledgers.all_ledgers(connection))[-1]
        assert (ledger.currency, ledger.exponent, ledger.version, ledger.lines) == ("EUR", 2, 1, 4)
        assert (ledger.first_on, ledger.last_on) == (date(2024, 2, 29), date(2024, 3, 1))
        assert await rows(connection, ENTRIES, ledger) == [
            (7, 1, "1000", date(2024, 2, 29), 100_000, 'Sale, "net"', 1),
            (7, 2, "4000", date(2024, 2, 29), -100_000, "=1+1", 1),
            (10, 1, "5000", date(2024, 3, 1), 50, "", 1),
            (10, 2, "1000", date(2024, 3, 1), -50, "rent", 1),
        ]
        assert await rows(connection, CHART, ledger) == [
            ("1000", "Bank", "asset", True, "cash", 1, 1),
            ("4000", "Sales", "revenue", False, "operating", 2, 1),
            ("5000", "Rent", "expense", False, "operating", 3, 1),
        ]
        count = "SELECT count(*) FROM balances WHERE ledger_id = $1 AND account_id <> 0"
        assert await connection.fetchval(count, ledger.ledger_id) == 4

    @pytest.mark.parametrize(
        "content",
        [
            BOOKS.replace("\n", "\r\n"),
            "\ufeff" + BOOKS,
            BOOKS.rstrip("\n"),
            BOOKS.replace(QUOTABLE, ",".join(f'"{cell}"' for cell in QUOTABLE.split(","))),
            BOOKS.replace(HEADER, ",".join(f'"{name}"' for name in HEADER.split(","))),
            HEADER + "\n" + "\n".join(reversed(BOOKS.splitlines()[1:])),
            BOOKS.replace("5000,Rent,", "5000,,") + NAMED_LATER,
        ],
        ids=["crlf", "bom", "no last newline", "quoted", "quoted header", "upside down", "name and type once"],
    )
    async def test_the_same_in_another_dress(self, connection: Connection, tmp_path: Path, content: str) -> None:
        plain = await load(connection, file(tmp_path, BOOKS))
        dressed = await load(connection, file(tmp_path, content), "dressed")
        assert (await rows(connection, ENTRIES, dressed))[:4] == await rows(connection, ENTRIES, plain)
        assert await rows(connection, CHART, dressed) == await rows(connection, CHART, plain)

    async def test_a_cell_of_several_lines(self, connection: Connection, tmp_path: Path) -> None:
        ledger = await load(connection, file(tmp_path, BOOKS.replace(",rent\n", ',"rent\r\nof ""May""\n"\n')))
        assert (await rows(connection, ENTRIES, ledger))[-1][5] == 'rent\r\nof "May"\n'

    @pytest.mark.parametrize(
        ("currency", "amount", "minor"),
        [("JPY", "12", 12), ("USD", "0.01", 1), ("KWD", "1.005", 1005), ("CLF", "1.2345", 12_345), ("BHD", "7", 7000)],
    )
    async def test_decimals_are_those_of_the_currency(
        self, connection: Connection, tmp_path: Path, currency: str, amount: str, minor: int
    ) -> None:
        content = f"{HEADER}\n2024-01-01,1,1,a,A,asset,{amount},,\n2024-01-01,1,2,b,B,equity,,{amount},\n"
        ledger = await load(connection, file(tmp_path, content), currency=currency)
        assert (ledger.currency, ledger.exponent) == (currency, exponent(currency))
        assert [row[4] for row in await rows(connection, ENTRIES, ledger)] == [minor, -minor]

    async def test_the_largest_amount_and_the_farthest_days(self, connection: Connection, tmp_path: Path) -> None:
        most, first, last = "92233720368547758.07", "0001-01-01", "9999-12-31"
        lines = [
            f"{first},{2**63 - 1},{2**31 - 1},a,A,asset,{most},,",
            f"{first},{2**63 - 1},0,b,B,equity,,{most},",
            f"{last},0,1,a,A,asset,,{most},",
            f"{last},0,2,b,B,equity,{most},,",
        ]
        ledger = await load(connection, file(tmp_path, "\n".join([HEADER, *lines])))
        assert (ledger.first_on, ledger.last_on) == (date.min, date.max)
        stored = "SELECT first_on::text, last_on::text FROM ledgers WHERE ledger_id = $1"
        assert await rows(connection, stored, ledger) == [(first, last)]
        assert {abs(row[4]) for row in await rows(connection, ENTRIES, ledger)} == {2**63 - 1}

    async def test_an_accounts_file_describes_accounts(self, connection: Connection, tmp_path: Path) -> None:
        accounts = f"""{ACCOUNTS}
1000,Girokonto,asset,1,
4000,Verkauf,revenue,0,operating
5000,Miete,expense,false,investing
6000,Nie benutzt,expense,,noncash
7000,Kasse,asset,,cash
"""
        content = BOOKS.replace("Bank", "").replace("Sales", "").replace("Rent", "").replace("asset", "")
        chart = file(tmp_path, accounts, "accounts.csv")
        ledger = await load(connection, file(tmp_path, content), accounts=chart)
        assert [row[:5] for row in await rows(connection, CHART, ledger)] == [
            ("1000", "Girokonto", "asset", True, "cash"),
            ("4000", "Verkauf", "revenue", False, "operating"),
            ("5000", "Miete", "expense", False, "investing"),
            ("6000", "Nie benutzt", "expense", False, "noncash"),
            ("7000", "Kasse", "asset", True, "cash"),
        ]

    async def test_transactions_of_more_than_64_lines(self, connection: Connection, tmp_path: Path) -> None:
        lines = [f"2024-01-01,1,{number},a,A,asset,1,," for number in range(1, 200)]
        content = "\n".join([HEADER, *lines, "2024-01-01,1,200,b,B,equity,,199,"])
        assert (await load(connection, file(tmp_path, content))).lines == 200
        with pytest.raises(Faulty, match="201: transaction 1 has line_no 3 twice"):
            await load(connection, file(tmp_path, content.replace(",1,200,b", ",1,3,b")), "twice")


class TestHledger:
    LINES = (
        '"4","2024/02/29","","*","","Opening ""x""","one\ntwo","Assets:Bank:1000","1000","EUR","","1000","",""\n'
        '"4","2024/02/29","","*","","Opening ""x""","one\ntwo","equity:opening","-1000.000","EUR","1000","","",""\n'
        '"7","2024-03-01","","","","Lunch","","expenses:food","7,50","EUR","","7,50","",""\n'
        '"7","2024-03-01","","","","Lunch","","assets:cash","0","","","0","",""\n'
        '"7","2024-03-01","","","","Lunch","","assets:cash","-7,5","EUR","7,50","","",""\n'
    )

    async def test_entries_and_accounts(self, connection: Connection, tmp_path: Path) -> None:
        ledger = await load(connection, file(tmp_path, HLEDGER + self.LINES))
        assert (ledger.currency, ledger.lines, ledger.first_on) == ("EUR", 4, date(2024, 2, 29))
        assert await rows(connection, ENTRIES, ledger) == [
            (4, 1, "Assets:Bank:1000", date(2024, 2, 29), 100_000, 'Opening "x"', 1),
            (4, 2, "equity:opening", date(2024, 2, 29), -100_000, 'Opening "x"', 1),
            (7, 1, "expenses:food", date(2024, 3, 1), 750, "Lunch", 1),
            (7, 2, "assets:cash", date(2024, 3, 1), -750, "Lunch", 1),
        ]
        assert [row[:5] for row in await rows(connection, CHART, ledger)] == [
            ("Assets:Bank:1000", "Assets:Bank:1000", "asset", True, "cash"),
            ("assets:cash", "assets:cash", "asset", True, "cash"),
            ("equity:opening", "equity:opening", "equity", False, "financing"),
            ("expenses:food", "expenses:food", "expense", False, "operating"),
        ]

    async def test_equity_and_loans_are_financing(self, connection: Connection, tmp_path: Path) -> None:
        lines = (
            '"1","2024-01-01","","","","","","assets:bank","9.00","EUR","","9.00","",""\n'
            '"1","2024-01-01","","","","","","liabilities:car loan","-5.00","EUR","5.00","","",""\n'
            '"1","2024-01-01","","","","","","liabilities:cloanage","-2.00","EUR","2.00","","",""\n'
            '"1","2024-01-01","","","","","","equity:capital","-2.00","EUR","2.00","","",""\n'
        )
        ledger = await load(connection, file(tmp_path, HLEDGER + lines))
        sections = {row[1]: row[4] for row in await rows(connection, CHART, ledger)}
        assert sections["liabilities:car loan"] == sections["equity:capital"] == "financing"
        assert sections["liabilities:cloanage"] == "operating"

    async def test_codes_types_and_cash_from_an_accounts_file(self, connection: Connection, tmp_path: Path) -> None:
        chart = file(tmp_path, f"{ACCOUNTS}\n1000,Bank,asset,1,\nfood,Essen,liability,0,financing\n", "accounts.csv")
        ledger = await load(connection, file(tmp_path, HLEDGER + self.LINES), accounts=chart)
        assert [row[:5] for row in await rows(connection, CHART, ledger)] == [
            ("1000", "Bank", "asset", True, "cash"),
            ("assets:cash", "assets:cash", "asset", False, "operating"),
            ("equity:opening", "equity:opening", "equity", False, "financing"),
            ("food", "Essen", "liability", False, "financing"),
        ]
        assert [row[2] for row in await rows(connection, ENTRIES, ledger)] == [
            "1000",
            "equity:opening",
            "food",
            "assets:cash",
        ]

    @pytest.mark.parametrize(
        ("account", "kind"),
        [
            ("Asset", "asset"),
            ("debts:x", "liability"),
            ("liability:x", "liability"),
            ("LIABILITIES", "liability"),
            ("equity:conversion", "equity"),
            ("income:x", "revenue"),
            ("Revenues:x", "revenue"),
            ("expense", "expense"),
        ],
    )
    async def test_types_from_names(self, connection: Connection, tmp_path: Path, account: str, kind: str) -> None:
        content = HLEDGER + self.LINES.replace("equity:opening", account)
        ledger = await load(connection, file(tmp_path, content))
        assert {row[0]: row[2] for row in await rows(connection, CHART, ledger)}[account] == kind

    async def test_newer_versions_swap_two_columns(self, connection: Connection, tmp_path: Path) -> None:
        swapped = HLEDGER.replace('"credit","debit"', '"debit","credit"')
        ledger = await load(connection, file(tmp_path, swapped + self.LINES))
        assert (await rows(connection, ENTRIES, ledger))[0][4] == 100_000

    @pytest.mark.parametrize(("commodity", "currency"), [("", "CHF"), ("$", "$"), ('GOLD 1, "x"', 'GOLD 1, "x"')])
    async def test_the_currency_is_the_commodity(
        self, connection: Connection, tmp_path: Path, commodity: str, currency: str
    ) -> None:
        cell = commodity.replace('"', '""')
        content = HLEDGER + self.LINES.replace('"EUR"', f'"{cell}"')
        given = None if commodity else "CHF"
        assert (await load(connection, file(tmp_path, content), currency=given)).currency == currency

    @pytest.mark.skipif(shutil.which("hledger") is None, reason="hledger is not installed")
    async def test_balances_are_those_of_hledger(self, connection: Connection, tmp_path: Path) -> None:
        draw = random.Random(5)
        names = ["assets:bank:giro", "assets:cash", "liabilities:card", "income:work", "expenses:food:out", "equity:x"]
        journal = []
        for _ in range(300):
            first, second, third = draw.sample(names, 3)
            day = date.fromordinal(date(2023, 12, 25).toordinal() + draw.randrange(800))
            journal.append(
                f'{day} * (c{draw.randrange(9)}) Shop "{draw.randrange(99)}" | note  ; tag: x\n'
                f"    {first}   {draw.randrange(-99_999, 99_999) / 100:.2f} EUR\n"
                f"    {second}   {draw.randrange(1, 99_999)} EUR\n    {third}\n"
            )
        path = file(tmp_path, "\n".join(journal), "x.journal")

        def run(*arguments: str) -> str:
            return subprocess.run(
                ["hledger", "-f", path, *arguments, "-O", "csv"], check=True, capture_output=True, text=True
            ).stdout

        ledger = await load(connection, file(tmp_path, run("print")))
        balances = csv.reader(io.StringIO(run("balance", "--flat", "--empty", "--no-total", "--commodity-column")))
        found = await connection.fetch(
            "SELECT code, sum(amount) FROM postings JOIN accounts USING (ledger_id, account_id)"
            " WHERE ledger_id = $1 GROUP BY 1",
            ledger.ledger_id,
        )
        expected = {row[0]: int(Decimal(row[-1]) * 100) for row in balances if row[0] in names}
        assert len(expected) == len(names)
        assert {row["code"]: int(row["sum"]) for row in found} == expected


class TestAppend:
    MORE = f"""{HEADER}
2023-12-31,11,1,1000,,,5,,more
2023-12-31,11,2,0900,Till,asset,,5,more
"""

    async def test_adds_a_version(self, connection: Connection, tmp_path: Path) -> None:
        before = await load(connection, file(tmp_path, BOOKS))
        entries, chart = await rows(connection, ENTRIES, before), await rows(connection, CHART, before)
        after = await load(connection, file(tmp_path, self.MORE), append=True)
        assert (after.ledger_id, after.version, after.lines) == (before.ledger_id, 2, 6)
        assert (after.first_on, after.last_on) == (date(2023, 12, 31), date(2024, 3, 1))
        assert [row for row in await rows(connection, ENTRIES, after) if row[-1] == 1] == entries
        assert [row for row in await rows(connection, ENTRIES, after) if row[-1] == 2] == [
            (11, 1, "1000", date(2023, 12, 31), 500, "more", 2),
            (11, 2, "0900", date(2023, 12, 31), -500, "more", 2),
        ]
        assert [row for row in await rows(connection, CHART, after) if row[-1] == 1] == chart
        assert (await rows(connection, CHART, after))[0] == ("0900", "Till", "asset", False, "operating", 4, 2)
        versions = await connection.fetch(
            "SELECT version, count(*) FROM balances WHERE ledger_id = $1 AND account_id <> 0 GROUP BY 1 ORDER BY 1",
            after.ledger_id,
        )
        # The new entries are before those of account 1000 that are there, whose totals are thus written again.
        assert [tuple(row) for row in versions] == [(1, 4), (2, 4)]

    async def test_hledger_accounts_find_the_codes_of_the_ledger(self, connection: Connection, tmp_path: Path) -> None:
        await load(connection, file(tmp_path, BOOKS))
        lines = '"9","2024-04-01","","","","","","assets:1000","{}","EUR","","","",""\n'
        content = HLEDGER + lines.format(5) + lines.format(-5)
        after = await load(connection, file(tmp_path, content), append=True)
        assert [row[2] for row in await rows(connection, ENTRIES, after) if row[-1] == 2] == ["1000", "1000"]

    @pytest.mark.parametrize(
        ("content", "accounts", "what"),
        [
            (MORE.replace(",11,", ",10,"), None, "2: transaction 10 is in the ledger already"),
            (
                MORE.replace("1000,,", "1000,Giro,"),
                None,
                '2: account 1000 is called "Giro" here and "Bank" in the ledger',
            ),
            (
                MORE.replace("1000,,,", "1000,,equity,"),
                None,
                "2: account 1000 is of type equity here and asset in the ledger",
            ),
            (MORE, "1000,Bank,asset,0,\n0900,Till,asset,,", 'accounts.csv:2: account 1000 is "Bank" in the ledger'),
            (MORE, "4000,Sales,revenue,0,operating", "3: account 0900 is neither in the accounts file nor in the"),
        ],
    )
    async def test_what_does_not_fit_changes_nothing(
        self, connection: Connection, tmp_path: Path, content: str, accounts: str | None, what: str
    ) -> None:
        await load(connection, file(tmp_path, BOOKS))
        before = await everything(connection)
        chart = accounts and file(tmp_path, f"{ACCOUNTS}\n{accounts}\n", "accounts.csv")
        with pytest.raises(Faulty) as caught:
            await load(connection, file(tmp_path, content), append=True, accounts=chart)
        assert what in str(caught.value.faults[0])
        assert await everything(connection) == before

    async def test_names_and_currencies_that_do_not_fit(self, connection: Connection, tmp_path: Path) -> None:
        path = file(tmp_path, BOOKS)
        with pytest.raises(ImportRefused, match="there is no ledger books"):
            await load(connection, path, append=True)
        await load(connection, path)
        before = await everything(connection)
        with pytest.raises(ledgers.LedgerExists):
            await load(connection, path)
        with pytest.raises(ImportRefused, match="is in EUR, not in USD"):
            await load(connection, path, append=True, currency="USD")
        dollars = file(tmp_path, HLEDGER + TestHledger.LINES.replace("EUR", "USD"), "dollars.csv")
        with pytest.raises(ImportRefused, match="is in USD, not in EUR"):
            await load(connection, dollars, append=True)
        assert await everything(connection) == before


class TestTogether:
    async def test_of_two_imports_under_one_name_one_wins(self, dsn: str, tmp_path: Path) -> None:
        path = file(tmp_path, BOOKS)
        first, second = await connect(dsn), await connect(dsn)
        done = await asyncio.gather(load(first, path), load(second, path), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in done) == ["Ledger", "LedgerExists"]
        assert await first.fetchval("SELECT count(*) FROM postings WHERE ledger_id > 2") == 4
        await first.close()
        await second.close()

    async def test_of_two_appends_both_count(self, dsn: str, tmp_path: Path) -> None:
        first, second = await connect(dsn), await connect(dsn)
        await load(first, file(tmp_path, BOOKS))
        other = file(tmp_path, TestAppend.MORE.replace(",11,", ",12,"), "other.csv")
        done = await asyncio.gather(
            load(first, file(tmp_path, TestAppend.MORE), append=True), load(second, other, append=True)
        )
        assert {(ledger.version, ledger.lines) for ledger in done} == {(2, 6), (3, 8)}
        await first.close()
        await second.close()

    async def test_a_snapshot_outlives_the_deletion(self, dsn: str, connection: Connection, tmp_path: Path) -> None:
        ledger = await load(connection, file(tmp_path, BOOKS))
        reading = await connect(dsn)
        async with reading.transaction(isolation="repeatable_read", readonly=True):
            before = await everything(reading)
            assert await ledgers.delete(connection, "books")
            assert await everything(reading) == before
        assert await rows(reading, ENTRIES, ledger) == []
        await reading.close()

    async def test_nothing_stays_in_the_session(self, connection: Connection, tmp_path: Path) -> None:
        await load(connection, file(tmp_path, BOOKS))
        with contextlib.suppress(Faulty):
            await load(connection, file(tmp_path, BOOKS.replace("0.50", "0.51")), "bad")
        assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'import%'") == 0
        names = "('work_mem', 'jit', 'temp_buffers')"
        changed = f"SELECT name FROM pg_settings WHERE name IN {names} AND setting <> reset_val"
        assert await connection.fetch(changed) == []

    @pytest.mark.parametrize("had_temporary_tables", [False, True])
    async def test_temporary_tables_have_memory_where_the_session_has_none_yet(
        self, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had_temporary_tables: bool
    ) -> None:
        session = await connect(dsn)
        buffers = []
        write = importer.write

        async def noting(connection: Connection, *args: Any) -> Ledger:
            buffers.append(await connection.fetchval("SHOW temp_buffers"))
            return await write(connection, *args)

        monkeypatch.setattr(importer, "write", noting)
        if had_temporary_tables:
            await session.execute("CREATE TEMPORARY TABLE kept AS SELECT 1 AS one")
        await load(session, file(tmp_path, BOOKS))
        assert buffers == ["8MB" if had_temporary_tables else "256MB"]
        await ledgers.delete(session, "books")
        await load(session, file(tmp_path, BOOKS))
        await ledgers.delete(session, "books")
        await session.close()


class TestHostileFiles:
    @pytest.mark.parametrize("name", HOSTILE)
    async def test_is_refused_with_its_line(self, connection: Connection, tmp_path: Path, name: str) -> None:
        content, what = HOSTILE[name]
        path, before = file(tmp_path, content), await everything(connection)
        with pytest.raises(Faulty) as caught:
            await load(connection, path)
        assert str(caught.value.faults[0]).startswith(f"{path}:")
        assert what.replace("{path}", str(path)) in str(caught.value.faults[0]).removeprefix(str(path))
        assert all(str(fault).isprintable() for fault in caught.value.faults)
        assert await everything(connection) == before

    @pytest.mark.parametrize(
        ("accounts", "what"),
        [
            ("a,A,asset,1,\na,A,asset,1,", "3: account a is there twice"),
            ("a,A,money,,", '2: account_type: "money" is none of'),
            ("a,A,asset,yes,", '2: is_cash: "yes" is none of 0, 1, true, false'),
            ("a,A,asset,,other", '2: cf_section: "other" is none of operating'),
            ("a,A,asset,1,operating", "2: cf_section is operating, but is_cash is 1"),
            ("a,A,asset,false,cash", "2: cf_section is cash, but is_cash is false"),
            ("a,,asset,,", "2: account_name: empty"),
            ("a,A,asset", "2: cells: 3"),
            ("a,A,asset,1,\nc,C,asset,1,", "3: account b is neither in the accounts file"),
            ("a,Other,asset,1,\nb,B,equity,,", '2: account a is called "A" here and "Other" in {accounts}:2'),
            ("a,A,asset,,\nb,B,liability,,", "3: account b is of type equity here and liability in {accounts}:3"),
        ],
    )
    async def test_accounts_file(self, connection: Connection, tmp_path: Path, accounts: str, what: str) -> None:
        chart, before = file(tmp_path, f"{ACCOUNTS}\n{accounts}\n", "accounts.csv"), await everything(connection)
        with pytest.raises(Faulty) as caught:
            await load(connection, file(tmp_path, own(L1, L2)), accounts=chart)
        assert what.format(accounts=chart) in str(caught.value.faults[0])
        assert await everything(connection) == before

    @pytest.mark.parametrize(
        ("accounts", "content", "said"),
        [
            (
                "account_code\n",
                "2025-01-02 Opening\n    assets:bank  5\n",
                ["accounts.csv:1: the header is not that of", "books.csv:1: this looks like a journal"],
            ),
            (
                f"{ACCOUNTS}\na,A,money,maybe,\nb,,equity,,\n",
                own(L1.replace("2024-01-01", "soon").replace("asset,5", "loan,five"), L2),
                [
                    'accounts.csv:2: account_type: "money" is none of asset, liability, equity, revenue, expense; '
                    'is_cash: "maybe" is none of',
                    "accounts.csv:3: account_name: empty",
                    'books.csv:2: date: "soon" is not a date like 2025-01-31; account_type: "loan" is none of asset, '
                    'liability, equity, revenue, expense; debit: "five" is not an amount',
                ],
            ),
            (
                f"{ACCOUNTS}\na,A,asset,1,\na,A,asset,1,\n",
                own(L1, L2.replace(",5,", ",6,")),
                ["accounts.csv:3: account a is there twice", "books.csv:2: transaction 1 does not balance"],
            ),
            (
                f"{ACCOUNTS}\na,A,asset,1,\na,A,asset,1,\n",
                own(),
                ["accounts.csv:3: account a", "books.csv: no entries"],
            ),
        ],
    )
    async def test_all_faults_of_both_files_and_of_every_cell_are_reported_at_once(
        self, connection: Connection, tmp_path: Path, accounts: str, content: str, said: list[str]
    ) -> None:
        chart, before = file(tmp_path, accounts, "accounts.csv"), await everything(connection)
        with pytest.raises(Faulty) as caught:
            await load(connection, file(tmp_path, content), accounts=chart)
        found = [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults]
        assert len(found) == len(said), found
        assert all(fault.startswith(what) for fault, what in zip(found, said, strict=True)), found
        assert await everything(connection) == before

    async def test_what_is_no_file(self, connection: Connection, tmp_path: Path) -> None:
        for path, what in (
            (tmp_path, "not a regular file"),
            (Path("/dev/zero"), "not a regular file"),
            (tmp_path / "none", "No such file"),
        ):
            with pytest.raises(Faulty, match=what):
                await load(connection, path)
            with pytest.raises(Faulty, match=what):
                await load(connection, file(tmp_path, BOOKS), accounts=path)
        with pytest.raises(Faulty, match="the header is not that of account_code"):
            await load(connection, file(tmp_path, BOOKS), accounts=file(tmp_path, BOOKS))

    @pytest.mark.parametrize(
        ("accounts", "lines", "said"),
        [
            (
                "a,A,asset,1,",
                (L1.replace(",5,", ",x,"), L2, second(L1), second(L2, ",5,", ",4,")),
                ["2: debit:", "4: tr"],
            ),
            ("a,A,money,1,", (L1, L2.replace(",5,", ",7.5,")), ["2: account_type:", "2: transaction 1"]),
            ("a,A,money,1,", (L1, second(L1), second(L2), L2), ["2: account_type:"]),
            ("a,A,asset,1,", (L1.replace(",1,1,", ",x,1,"), L2), ["2: transaction_id:"]),
            ("a,A,asset,1,", (L1.replace(",5,", ",x,"), L2), ["2: debit:"]),
        ],
    )
    async def test_transactions_that_do_not_balance_are_reported_with_other_faults(
        self, connection: Connection, tmp_path: Path, accounts: str, lines: tuple[str, ...], said: list[str]
    ) -> None:
        chart = file(tmp_path, f"{ACCOUNTS}\n{accounts}\nb,B,equity,,\n", "accounts.csv")
        with pytest.raises(Faulty) as caught:
            await load(connection, file(tmp_path, own(*lines)), accounts=chart)
        found = [f"{fault.line}: {fault.what}" for fault in caught.value.faults]
        assert len(found) == len(said)
        assert all(fault.startswith(start) for fault, start in zip(found, said, strict=True)), found

    async def test_the_first_twenty_faults_are_kept(self, connection: Connection, tmp_path: Path) -> None:
        bad = [L1.replace(",5,", ",5.55x,")] * 30
        with pytest.raises(Faulty) as caught:
            await load(connection, file(tmp_path, own(L1, L2, *bad)))
        assert [fault.line for fault in caught.value.faults] == list(range(4, 24))
        assert caught.value.more
        with pytest.raises(Faulty) as caught:
            await load(connection, file(tmp_path, own(*(L1.replace(",1,1", f",{n},1") for n in range(20)))))
        assert [fault.line for fault in caught.value.faults] == list(range(2, 22))
        assert not caught.value.more

    async def test_lines_are_counted_past_quoted_newlines(self, connection: Connection, tmp_path: Path) -> None:
        """Far into a file of records of very different sizes: places in the table are places in the file."""
        draw = random.Random(3)
        pairs = []
        for number in range(2, 6_000):
            text = '"' + "\n".join("y" * draw.randrange(60) for _ in range(draw.randrange(5))) + '"'
            pairs += [x.replace(",1,", f",{number},", 1).replace(",x", f",{text}") for x in (L1, L2)]
        pairs[9_001] = pairs[9_001].replace(",,5,", ",,6,")
        content = own(*pairs)
        line = content[: content.index(pairs[9_000])].count("\n") + 1
        with pytest.raises(Faulty, match=f":{line}: transaction 4502 does not balance"):
            await load(connection, file(tmp_path, content))

    @pytest.mark.parametrize("filler", [b"x", b'"x\n', b'",', b"\n", b'""', b'",\n"'], ids=repr)
    async def test_endless_files_end_at_once(self, connection: Connection, tmp_path: Path, filler: bytes) -> None:
        """A gigabyte that begins within a cell; 32 MB of it are written, the rest is a hole."""
        path = file(tmp_path, own(L1, L2, L1).removesuffix("x\n") + '"')
        with path.open("ab") as handle:
            for _ in range(32):
                handle.write(filler * (2**20 // len(filler)))
            handle.truncate(2**30)
        tracemalloc.start()
        started = time.monotonic()
        with pytest.raises(Faulty) as caught:
            await load(connection, path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 2**20
        assert time.monotonic() - started < 20
        assert caught.value.faults[0].line == 4


CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "5.00", "5.001", "-5", "2024-01-01", "2023-02-29", "asset", '"', '""', "\\.", "x"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)


@st.composite
def files(draw: st.DrawFn, good: str) -> str:
    """A good file with a few cells and characters changed."""
    header, *lines = [line.split(",") for line in good.splitlines()]
    for _ in range(draw(st.integers(0, 3))):
        line = draw(st.sampled_from(lines))
        cell = draw(CELLS)
        line[draw(st.integers(0, len(line) - 1))] = draw(st.sampled_from([cell, '"' + cell.replace('"', '""') + '"']))
    text = "\n".join(",".join(line) for line in [header, *lines]) + "\n"
    at = draw(st.integers(text.index("\n") + 1, len(text)))
    return text[:at] + draw(st.sampled_from(["", "", ",", '"', "\n", "\r", "\r\n", "\0", "é"])) + text[at:]


GOOD = {"own": own(L1, L2), "hledger": hledger(), "accounts": f"{ACCOUNTS}\na,A,asset,1,cash\nb,B,equity,,\n"}
LAYOUTS = {
    "own": import_formats.own_format("EUR", 2).layout,
    "hledger": import_formats.hledger_format(HLEDGER.replace('"', "").strip().split(","), "EUR", 2, bare=False).layout,
    "accounts": import_formats.accounts_format().layout,
}


class TestTwoReadings:
    @pytest.mark.parametrize("kind", GOOD)
    @given(data=st.data())
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_what_the_quick_one_refuses_the_slow_one_explains(
        self, tmp_path: Path, kind: str, data: st.DataObject
    ) -> None:
        content = data.draw(files(GOOD[kind]))
        path = file(tmp_path, content)
        try:
            read = b"".join(CsvFile(path).pieces(LAYOUTS[kind]))
        except Irregular:
            assert CsvFile(path).faults(LAYOUTS[kind])
        else:
            assert read == content.partition("\n")[2].encode() + b"\n" * (not content.endswith("\n"))

    @pytest.mark.parametrize("kind", ["own", "hledger"])
    @given(data=st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_every_refusal_names_a_line(
        self, connection: Connection, tmp_path: Path, kind: str, data: st.DataObject
    ) -> None:
        with contextlib.suppress(ImportRefused):
            try:
                await load(connection, file(tmp_path, data.draw(files(GOOD[kind]))), "drawn")
            except Faulty as error:
                assert all(fault.line for fault in error.faults) or error.faults[0].what == "no entries"
            else:
                await ledgers.delete(connection, "drawn")


AMOUNTS = st.integers(1, 10**12)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


class TestAnyLedger:
    @given(
        transactions=st.lists(st.tuples(AMOUNTS, AMOUNTS, st.dates(), TEXT), min_size=1, max_size=8),
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        newline=st.sampled_from(["\n", "\r\n"]),
        shuffled=st.randoms(use_true_random=False),
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_comes_back_as_it_was(
        self,
        connection: Connection,
        tmp_path: Path,
        transactions: list[tuple[int, int, date, str]],
        quoting: int,
        newline: str,
        shuffled: random.Random,
    ) -> None:
        expected = []
        for id, (first, other, day, text) in enumerate(transactions):
            for line_no, (code, amount) in enumerate((("a", first), ("b", other), ("a", -first - other)), start=1):
                expected.append((id, line_no, code, day, amount, text, 1))
        lines = list(expected)
        shuffled.shuffle(lines)
        written = io.StringIO()
        if any("\r" in text for *_, text in transactions):
            quoting = csv.QUOTE_ALL  # Python's csv leaves a carriage return at the end of a line unquoted
        writer = csv.writer(written, quoting=quoting, lineterminator=newline)  # type: ignore[arg-type]
        writer.writerow(HEADER.split(","))
        for id, line_no, code, day, amount, text, _ in lines:
            money = f"{abs(amount) // 100}.{abs(amount) % 100:02}"
            sides = (money, "") if amount > 0 else ("", money)
            writer.writerow([day, id, line_no, code, code, "asset", *sides, text])
        try:
            ledger = await load(connection, file(tmp_path, written.getvalue()), "any")
            assert await rows(connection, ENTRIES, ledger) == expected
        finally:
            await ledgers.delete(connection, "any")
