"""What people export from hledger: refused or right, never silently something else."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from reportsim.core.model import Ledger
from reportsim.store import ledgers
from reportsim.store.ledger_import import checks
from reportsim.store.ledger_import.csv_reader import CsvFile, Faulty
from reportsim.store.ledger_import.importer import ImportRefused
from reportsim.store.pool import Connection
from tests.store.ledger_import.hostile_files import HEADER, HLEDGER, L1, L2, own
from tests.store.ledger_import.test_importer import ACCOUNTS, CHART, ENTRIES, everything, file, load, rows

CHARTED = f"{ACCOUNTS}\ntravel,Travel,expense,0,operating\nbank,Bank,asset,1,cash\n"
SUMS = """
SELECT code, sum(amount) FROM postings JOIN accounts USING (ledger_id, account_id) WHERE ledger_id = $1 GROUP BY 1
"""
needs_hledger = pytest.mark.skipif(shutil.which("hledger") is None, reason="hledger is not installed")


def printed(*transactions: tuple[tuple[str, str], ...], commodity: str = "EUR", day: str = "2025-01-02") -> str:
    """What hledger prints of transactions, each of accounts and amounts."""
    names = [name.strip('"') for name in HLEDGER.strip().split(",")]
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for number, lines in enumerate(transactions, start=1):
        for account, amount in lines:
            cells = {"txnidx": number, "date": day, "description": "x", "account": account, "amount": amount}
            cells["commodity"] = commodity
            writer.writerow(cells.get(name, "") for name in names)
    return HLEDGER + written.getvalue()


def pair(debit: str, credit: str, amount: str = "10.00") -> tuple[tuple[str, str], ...]:
    return (debit, amount), (credit, f"-{amount}")


async def sums(connection: Connection, ledger: Ledger) -> dict[str, int]:
    return {code: int(amount) for code, amount in await rows(connection, SUMS, ledger)}


async def fault(connection: Connection, path: Path, **options: Any) -> str:
    """The first fault of an import, which changes nothing."""
    before = await everything(connection)
    with pytest.raises(Faulty) as caught:
        await load(connection, path, **options)
    assert await everything(connection) == before
    return str(caught.value.faults[0])


def text(plans: list[list[asyncpg.Record]]) -> str:
    """What EXPLAIN said."""
    return "\n".join(row[0] for plan in plans for row in plan)


def hledger(tmp_path: Path, journal: str, *arguments: str) -> Path:
    """What hledger prints of a journal."""
    path = file(tmp_path, journal, "x.journal")
    command = ["hledger", "-f", str(path), "print", "-O", "csv", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, timeout=30)
    return file(tmp_path, done.stdout, "printed.csv")


class TestAccounts:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("expenses:travel", "income:travel"),
            ("expenses:travel", "liabilities:travel"),
            ("expenses:a:travel", "expenses:b:travel"),
            ("travel", "expenses:travel"),
        ],
    )
    async def test_two_that_end_alike_never_become_one(
        self, connection: Connection, tmp_path: Path, one: str, other: str
    ) -> None:
        chart = file(tmp_path, CHARTED, "accounts.csv")
        path = file(tmp_path, printed(pair(one, "assets:bank"), pair("assets:bank", other)))
        said = await fault(connection, path, accounts=chart)
        assert f"2: accounts {one}, {other} would all be account travel" in said
        # And what it advises works.
        full = file(tmp_path, f"{CHARTED}{one},One,expense,,\n{other},Other,revenue,,\n".replace("travel,T", "t,T", 1))
        chart.write_text(full.read_text())
        path.write_text(printed(pair(one, "assets:bank"), pair("assets:bank", other)))
        ledger = await load(connection, path, accounts=chart)
        assert await sums(connection, ledger) == {one: 1000, other: -1000, "bank": 0}

    @pytest.mark.parametrize("charted_again", [False, True])
    @pytest.mark.parametrize("other", ["income:travel", "expenses:work:travel", "travel"])
    async def test_nor_when_the_other_comes_later(
        self, connection: Connection, tmp_path: Path, other: str, charted_again: bool
    ) -> None:
        chart = file(tmp_path, CHARTED, "accounts.csv")
        first = file(tmp_path, printed(pair("expenses:travel", "assets:bank")))
        await load(connection, first, accounts=chart)
        later = file(tmp_path, printed(pair("assets:bank", other), day="2025-02-01"), "later.csv")
        options = {"accounts": chart} if charted_again else {}
        said = await fault(connection, later, append=True, **options)
        assert f"account {other} would be account travel, which is expenses:travel in the ledger" in said
        if other != "travel":
            full = file(tmp_path, f"{ACCOUNTS}\n{other},Other,revenue,,\n", "full.csv")
            ledger = await load(connection, later, append=True, accounts=full)
            assert await sums(connection, ledger) == {"travel": 1000, other: -1000, "bank": 0}

    async def test_the_same_one_later_is_the_same_one(self, connection: Connection, tmp_path: Path) -> None:
        chart = file(tmp_path, CHARTED, "accounts.csv")
        await load(connection, file(tmp_path, printed(pair("expenses:travel", "assets:bank"))), accounts=chart)
        later = file(tmp_path, printed(pair("expenses:travel", "assets:bank"), day="2025-02-01"))
        ledger = await load(connection, later, append=True)
        # Also where an accounts file lists it by its full name now.
        full = file(tmp_path, f"{ACCOUNTS}\nexpenses:travel,Travel,expense,,\n", "full.csv")
        later = file(tmp_path, printed(pair("expenses:travel", "assets:bank"), day="2025-03-01"))
        ledger = await load(connection, later, append=True, accounts=full)
        assert await sums(connection, ledger) == {"travel": 3000, "bank": -3000}

    async def test_codes_of_the_ledger_count_by_their_type(self, connection: Connection, tmp_path: Path) -> None:
        """A ledger of our own format does not say what its codes are called in hledger."""
        lines = "2024-01-01,1,1,bank,Bank,asset,5,,x\n2024-01-01,1,2,loan,Loan,liability,,5,x\n"
        await load(connection, file(tmp_path, f"{HEADER}\n{lines}"))
        later = file(tmp_path, printed(pair("expenses:loan", "assets:bank")), "later.csv")
        said = await fault(connection, later, append=True)
        assert "account expenses:loan would be account loan, which is of type liability in the ledger" in said
        later.write_text(printed(pair("liabilities:loan", "assets:bank")))
        ledger = await load(connection, later, append=True)
        assert await sums(connection, ledger) == {"loan": 500, "bank": -500}
        # From now on it does.
        later.write_text(printed(pair("liabilities:other:loan", "assets:bank"), day="2025-03-01"))
        assert "which is liabilities:loan in the ledger" in await fault(connection, later, append=True)

    async def test_a_full_name_that_is_known_goes_before_its_last_component(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        chart = file(tmp_path, f"{CHARTED}expenses:travel,Other travel,expense,0,operating\n", "accounts.csv")
        ledger = await load(connection, file(tmp_path, printed(pair("expenses:travel", "assets:bank"))), accounts=chart)
        assert await sums(connection, ledger) == {"expenses:travel": 1000, "bank": -1000}


class TestDecimals:
    @pytest.mark.parametrize(
        ("commodity", "amount", "exponent", "minor"),
        [
            ("BTC", "0.12345678", 8, 12_345_678),
            ("BTC", "1000,12345678", 8, 100_012_345_678),
            ("ETH", "0.000000000000000001", 18, 1),
            ("AAPL", "3", 2, 300),
            ("h", "1.5", 2, 150),
            ("$", "1.759", 3, 1759),
            ("XAU", "0.1000", 4, 1000),
            ("GOLD", "0.1000000000000000000000", 2, 10),
            ("KWD", "1.005", 3, 1005),
            ("JPY", "7", 0, 7),
        ],
    )
    async def test_those_of_a_commodity_that_iso_does_not_list_are_found(
        self, connection: Connection, tmp_path: Path, commodity: str, amount: str, exponent: int, minor: int
    ) -> None:
        content = printed(pair("assets:a", "equity:b", amount), commodity=commodity)
        ledger = await load(connection, file(tmp_path, content))
        assert (ledger.currency, ledger.exponent) == (commodity, exponent)
        assert await sums(connection, ledger) == {"assets:a": minor, "equity:b": -minor}

    async def test_in_our_own_format_too(self, connection: Connection, tmp_path: Path) -> None:
        path = file(tmp_path, own(L1.replace(",5,", ",0.12345678,"), L2.replace(",,5,", ",,0.12345678,")))
        said = await fault(connection, path)
        assert '"0.12345678" has more decimals than EUR has: 2' in said
        assert (await load(connection, path, currency="XBT")).exponent == 8

    @pytest.mark.parametrize(("decimals", "minor"), [(4, 111_111_102), (18, None), (0, None), (3, None)])
    async def test_given_ones_count_for_listed_currencies(
        self, connection: Connection, tmp_path: Path, decimals: int, minor: int | None
    ) -> None:
        path = file(tmp_path, printed(pair("assets:a", "equity:b", "11111.1102")))
        assert "has more decimals than EUR has: 2 (--decimals gives" in await fault(connection, path)
        if minor is None:
            said = await fault(connection, path, decimals=decimals)
            assert ("is too large" if decimals == 18 else "has more decimals") in said
        else:
            ledger = await load(connection, path, decimals=decimals)
            assert (ledger.exponent, (await sums(connection, ledger))["assets:a"]) == (decimals, minor)

    async def test_those_of_the_ledger_stay(self, connection: Connection, tmp_path: Path) -> None:
        path = file(tmp_path, printed(pair("assets:a", "equity:b", "0.1234"), commodity="BTC"))
        await load(connection, path)
        finer = printed(pair("assets:a", "equity:b", "0.12345"), commodity="BTC", day="2025-02-01")
        said = await fault(connection, file(tmp_path, finer, "finer.csv"), append=True)
        assert '"0.12345" has more decimals than BTC has: 4' in said
        coarser = file(tmp_path, finer.replace("0.12345", "0.5"), "coarser.csv")
        with pytest.raises(ImportRefused, match="the ledger books has 4 decimals, not 8"):
            await load(connection, coarser, append=True, decimals=8)
        ledger = await load(connection, coarser, append=True, decimals=4)
        assert (await sums(connection, ledger))["assets:a"] == 6234

    async def test_a_thousand_is_not_taken_for_one(self, connection: Connection, tmp_path: Path) -> None:
        """Some versions group digits: with three decimals or more, only another amount tells."""
        grouped = printed(
            pair("assets:a", "equity:b", "1,000"), pair("assets:a", "equity:b", "0.12345678"), commodity="BTC"
        )
        said = await fault(connection, file(tmp_path, grouped))
        assert '"1,000" may be a thousand, or have decimals: hledger print -c writes amounts with a point' in said
        euros = file(tmp_path, printed(pair("assets:a", "equity:b", "1.2345")), "euros.csv")
        await load(connection, euros, "euros", decimals=4)
        later = printed(pair("assets:a", "equity:b", "1,000"), day="2025-02-01")
        assert "may be a thousand" in await fault(connection, file(tmp_path, later), name="euros", append=True)
        told = printed(pair("assets:a", "equity:b", "1,000"), pair("assets:a", "equity:b", "0,5000"), commodity="BTC")
        ledger = await load(connection, file(tmp_path, told))
        assert (ledger.exponent, (await sums(connection, ledger))["assets:a"]) == (4, 15_000)

    @needs_hledger
    async def test_the_way_to_write_a_point(self, connection: Connection, tmp_path: Path) -> None:
        journal = "commodity 1.000,000 VEH\n2025-01-01\n    assets:a   1,234 VEH\n    equity:b\n"
        assert "may be a thousand" in await fault(connection, hledger(tmp_path, journal), decimals=3)
        path = hledger(tmp_path, journal, "-c", "1000.000 VEH")
        ledger = await load(connection, path)
        assert (ledger.exponent, (await sums(connection, ledger))["assets:a"]) == (3, 1234)


class TestVirtual:
    JOURNAL = """
2025-01-04 budget
    assets:bank     -10.00 EUR
    expenses:food    10.00 EUR
    (budget:food)   -3 h
    [budget:a]        5.00 EUR
    [budget:b]       -5.00 EUR

2025-01-05 virtual alone
    (budget:food)   -1.123456 BTC
"""

    @needs_hledger
    @pytest.mark.parametrize("arguments", [(), ("--real",), ("-x",)])
    async def test_are_left_out_on_request(
        self, connection: Connection, tmp_path: Path, arguments: tuple[str, ...]
    ) -> None:
        path = hledger(tmp_path, self.JOURNAL, *arguments)
        said = await fault(connection, path)
        assert 'account: a virtual posting, "(budget:food)": --skip-virtual leaves them out' in said
        ledger = await load(connection, path, skip_virtual=True)
        assert (ledger.currency, ledger.exponent, ledger.lines) == ("EUR", 2, 2)
        assert await sums(connection, ledger) == {"assets:bank": -1000, "expenses:food": 1000}
        assert [row[0] for row in await rows(connection, CHART, ledger)] == ["assets:bank", "expenses:food"]

    @pytest.mark.parametrize("account", ["(budget)", "[budget]", '(a, "b"\nc)'])
    async def test_need_not_be_right_themselves(self, connection: Connection, tmp_path: Path, account: str) -> None:
        lines = ((account, "nonsense"), *pair("assets:a", "equity:b"), (account, "1.23456"))
        path = file(tmp_path, printed(lines, pair(account, account, "7")))
        ledger = await load(connection, path, skip_virtual=True)
        assert await sums(connection, ledger) == {"assets:a": 1000, "equity:b": -1000}

    async def test_what_is_real_is_held_to_account(self, connection: Connection, tmp_path: Path) -> None:
        for lines, what in (
            ((("[a]", "1"), ("assets:b", "-1")), "3: transaction 1 does not balance"),
            ((("(a]", "1"), ("assets:b", "-1")), "2: account: a virtual posting"),
            ((("(a)", "1"),), "no entries"),
            ((("(a)", "1"), ("assets:b", "x")), "3: amount: "),
        ):
            assert what in await fault(connection, file(tmp_path, printed(lines)), skip_virtual=True)


class TestFilesThatFollowEachOther:
    async def test_are_numbered_on(self, connection: Connection, tmp_path: Path) -> None:
        year = [pair("assets:a", "equity:b", f"{n}.00") for n in (1, 2, 3)]
        first = await load(connection, file(tmp_path, printed(*year)))
        for version, day in ((2, "2026-01-02"), (3, "2024-01-02")):
            ledger = await load(connection, file(tmp_path, printed(*year, day=day)), append=True)
            assert (ledger.version, ledger.lines) == (version, 6 * version)
        numbers = [(row[0], row[1], row[-1]) for row in await rows(connection, ENTRIES, first)]
        assert numbers == [(n, line, (n + 2) // 3) for n in range(1, 10) for line in (1, 2)]

    async def test_go_on_after_a_ledger_of_our_own_format(self, connection: Connection, tmp_path: Path) -> None:
        await load(connection, file(tmp_path, own(L1.replace(",1,", ",70,", 1), L2.replace(",1,", ",70,", 1))))
        ledger = await load(connection, file(tmp_path, printed(pair("assets:a", "equity:b"))), append=True)
        assert [row[0] for row in await rows(connection, ENTRIES, ledger)] == [70, 70, 71, 71]

    async def test_are_refused_when_no_numbers_are_left(self, connection: Connection, tmp_path: Path) -> None:
        last = f",{2**63 - 1},"
        await load(connection, file(tmp_path, own(L1.replace(",1,", last, 1), L2.replace(",1,", last, 1))))
        with pytest.raises(ImportRefused, match="no transaction numbers left"):
            await load(connection, file(tmp_path, printed(pair("assets:a", "equity:b"))), append=True)

    async def test_the_same_file_twice_is_refused(self, connection: Connection, tmp_path: Path) -> None:
        path = file(tmp_path, printed(pair("assets:a", "equity:b"), pair("assets:a", "equity:b", "2.00")))
        await load(connection, path)
        said = await fault(connection, path, append=True)
        assert "2: the ledger has all 2 transactions up to 2025-01-02 already: hledger print -b 2025-01-03" in said

    @needs_hledger
    async def test_a_file_that_begins_with_the_last_one_is_refused(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        journal = "2025-01-02\n    assets:a   1.00 EUR\n    equity:b\n"
        await load(connection, hledger(tmp_path, journal))
        longer = journal + "\n2025-02-02\n    assets:a   5.00 EUR\n    equity:b\n"
        said = await fault(connection, hledger(tmp_path, longer), append=True)
        advised = said.partition("hledger print ")[2].split()[:2]
        ledger = await load(connection, hledger(tmp_path, longer, *advised), append=True)
        assert (await sums(connection, ledger))["assets:a"] == 600

    async def test_what_repeats_itself_on_one_day_is_no_repetition_of_the_file(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        await load(connection, file(tmp_path, printed(pair("expenses:bus", "assets:a"))))
        more = file(tmp_path, printed(pair("expenses:bus", "assets:a"), pair("expenses:bus", "assets:a", "3.00")))
        ledger = await load(connection, more, append=True)
        assert (await sums(connection, ledger))["expenses:bus"] == 2300

    async def test_a_new_file_is_known_as_new_by_its_first_entry(
        self, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many entries the ledger has: of those on the days of the file, none is read but by an index."""
        await ledgers.generate(connection, "books", lines=20_000, seed=1)
        plans = []

        async def refuse(
            connection: Connection, file: CsvFile, table: str, problems: list[str], *others: object
        ) -> None:
            plans.extend([await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {each}") for each in problems])

        monkeypatch.setattr(checks, "refuse", refuse)
        new = [pair("assets:1000", "revenues:4000", f"{n}.01") for n in range(1, 40)]
        await load(connection, file(tmp_path, printed(*new, day="2025-06-01")), append=True)
        read = re.findall(r"Scan .*\bpostings\b.* \((?:actual.* rows=([0-9.]+)|never executed)", text(plans))
        assert len(read) >= 2
        assert sum(float(rows or 0) for rows in read) <= 1
        assert not re.search("Rows Removed by Filter: [0-9]{3}", text(plans))

    async def test_another_commodity_is_refused(self, connection: Connection, tmp_path: Path) -> None:
        await load(connection, file(tmp_path, printed(pair("assets:a", "equity:b"))))
        for commodity in ("€", "$", "BTC"):
            other = file(tmp_path, printed(pair("assets:a", "equity:b"), commodity=commodity), "other.csv")
            with pytest.raises(ImportRefused, match="not in EUR"):
                await load(connection, other, append=True)
