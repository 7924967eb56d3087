"""Every byte of the five reports, held against an independent implementation."""

import csv
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportsim.reports.catalog import CATALOG
from reportsim.store.pool import Connection, Pool, create_pool
from tests.reports.books import (
    COMPARISONS,
    DAY,
    assert_equal,
    entries,
    expected,
    make,
    parameter_sets,
    read,
    request_for,
    store,
    store_accounts,
    store_entries,
    transaction,
    without_guard,
)
from tests.reports.oracle import Account, Book, Entry

# Not in the order of their codes, so that an order by number shows.
CHART: Final = (
    Account(code="6400", name="Depreciation", type="expense", cf_section="noncash"),
    Account(code="4000", name="Sales", type="revenue"),
    Account(code="1000", name="Bank", type="asset", is_cash=True, cf_section="cash"),
    Account(code="1010", name="Till", type="asset", is_cash=True, cf_section="cash"),
    Account(code="6000", name="Wages", type="expense"),
    Account(code="1500", name="Equipment", type="asset", cf_section="investing"),
    Account(code="1590", name="Accumulated depreciation", type="asset", cf_section="noncash"),
    Account(code="2500", name="Loan", type="liability", cf_section="financing"),
    Account(code="3000", name="Capital", type="equity", cf_section="financing"),
    Account(code="9999", name="Never used", type="expense"),
)
WHOLE: Final = {"from": date(2024, 1, 1), "to": date(2026, 1, 1)}


def small(exponent: int = 2, factor: int = 1) -> Book:
    """Two years of a small business, in which every report has something of each kind."""
    return Book(
        accounts=CHART,
        exponent=exponent,
        entries=entries(
            transaction(1, date(2024, 1, 1), ("1000", 500_000 * factor), ("3000", -500_000 * factor)),
            # Leap day; the same account twice in one transaction.
            transaction(
                2,
                date(2024, 2, 29),
                ("1000", 1_201 * factor),
                ("1000", 99 * factor),
                ("4000", -1_300 * factor),
                description="A day that comes every four years",
            ),
            transaction(3, date(2024, 3, 1), ("6000", 700 * factor), ("1000", -700 * factor), description="Wages"),
            # From one cash account to another: no flow at all.
            transaction(4, date(2024, 6, 30), ("1010", 300 * factor), ("1000", -300 * factor)),
            # Bought in part with cash, in part on credit.
            transaction(5, date(2024, 7, 1), ("1500", 900 * factor), ("1000", -400 * factor), ("2500", -500 * factor)),
            # No cash in it.
            transaction(6, date(2024, 12, 31), ("6400", 250 * factor), ("1590", -250 * factor)),
            # More is given back than sold: revenue below zero in this month.
            transaction(7, date(2025, 1, 1), ("4000", 800 * factor), ("1010", -300 * factor), ("1000", -500 * factor)),
            transaction(8, date(2025, 1, 15), ("4000", -150 * factor), ("1000", 150 * factor)),
            transaction(9, date(2025, 1, 31), ("4000", -50 * factor), ("1000", 50 * factor)),
            # Back to nothing: the loan closes at zero, but has moved.
            transaction(10, date(2025, 4, 1), ("2500", 500 * factor), ("1000", -500 * factor)),
            # A non-cash account that meets cash.
            transaction(11, date(2025, 4, 2), ("1590", 20 * factor), ("1000", -20 * factor)),
            # Sold and returned on one day: revenue of this month is zero.
            transaction(12, date(2025, 5, 5), ("4000", -5 * factor), ("1000", 5 * factor)),
            transaction(13, date(2025, 5, 5), ("4000", 5 * factor), ("1000", -5 * factor)),
        ),
    )


def sorted_oddly() -> Book:
    """Codes whose order by bytes is no language's and no number's."""
    codes = [
        "a",
        "B",
        "b",
        "A",
        "é",
        "e",
        "f",
        "Z",
        "z",
        "10",
        "9",
        "100",
        "1-0",
        "1 0",
        "_",
        "ß",
        "ss",
        "€",
        "😀",
        "\ufb01",
    ]
    accounts = [Account(code=code, name=f"Account {code}", type="expense") for code in codes]
    cash = Account(code="M", name="Money", type="asset", is_cash=True, cf_section="cash")
    return Book(
        accounts=[*accounts, cash],
        entries=entries(
            *(
                transaction(number, date(2025, 1, 1) + number * DAY, (account.code, 100 + number), ("M", -100 - number))
                for number, account in enumerate(accounts)
            )
        ),
    )


def told_badly() -> Book:
    """Texts that need quotes, and texts that a spreadsheet would run."""
    texts = [
        "",
        " ",
        ",",
        '"',
        '""',
        'say "yes", twice',
        "two\nlines",
        "two\r\nlines",
        "\n",
        "\r",
        "\t",
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        '=cmd|"/c calc"!A1',
        "'=1",
        "a=1",
        "\\.",
        "\\N",
        "NULL",
        "back\\slash",
        "it's",
        "semi;colon",
        'x;=HYPERLINK("http://a.example","b")',
        "x; -1;+2; ;@a",
        'x;"=1+1"',
        '"=1+1',
        "x|=1\ty\t=1",
        "a:=b,=c",
        "two\n=lines\r\n+of it",
        "\n=1",
        " =1",
        "\u00a0=1\u3000＝1",
        "＝1",
        "＋1;－2",
        "＠SUM(A1)",
        "﹦1，﹢2",
        "\ufeff=1",
        "Rent - March + April = due @ home",
        " lead and trail ",
        "nul-like \\000",
        "日本語",
        "\ufeffbom",
        "\u2028",
        "\x1f\x0b\x0c\x85",
    ]
    accounts = [Account(code=text or "empty", name=text, type="revenue") for text in texts]
    cash = Account(code="M", name="Money", type="asset", is_cash=True, cf_section="cash")
    return Book(
        accounts=[cash, *accounts],
        entries=entries(
            *(
                transaction(
                    number, date(2025, 1, 1), (account.code, -7), ("M", 7), description=texts[-number % len(texts)]
                )
                for number, account in enumerate(accounts)
            )
        ),
    )


def numbered_high() -> Book:
    """Transaction ids beyond 2^31 and 2^53, which sort as numbers; and in another order than days."""
    ids = [2**31, 2**31 - 1, 9, 10, 2**53 + 1, 2**53, 2**63 - 1, 0, -1]
    return Book(
        accounts=CHART,
        entries=entries(
            *(
                transaction(id, date(2025, 3, 10 - number // 4), ("1000", 1 + number), ("4000", -1 - number))
                for number, id in enumerate(ids)
            )
        ),
    )


BOOKS: Final = {
    "small": small(),
    "no decimals": small(exponent=0),
    "one decimal": small(exponent=1),
    "three decimals": small(exponent=3),
    "four decimals": small(exponent=4),
    "beyond 2^31": small(factor=2**31 + 1),
    "beyond 2^53": small(exponent=3, factor=2**43 + 1),
    "odd codes": sorted_oddly(),
    "odd texts": told_badly(),
    "odd texts, unguarded": without_guard(told_badly()),
    "high ids": numbered_high(),
}


@pytest.mark.parametrize("report_type", CATALOG)
@pytest.mark.parametrize("name", BOOKS)
async def test_reports_are_the_oracles(connection: Connection, pool: Pool, name: str, report_type: str) -> None:
    book = BOOKS[name]
    ledger_id = await store(connection, book)
    for parameters in parameter_sets(book, report_type):
        await assert_equal(pool, ledger_id, book, report_type, parameters)


@pytest.mark.parametrize("report_type", CATALOG)
async def test_the_demo_ledger_is_the_oracles(connection: Connection, pool: Pool, report_type: str) -> None:
    ledger_id, book = await read(connection, "demo")
    for parameters in parameter_sets(book, report_type):
        await assert_equal(pool, ledger_id, book, report_type, parameters)


# The oracle could be wrong in the same way as the reports: these lines were written by hand.
BY_HAND: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "trial_balance": (
        {"from": date(2025, 1, 1), "to": date(2025, 5, 1)},
        """\
account_code,account_name,account_type,opening_debit,opening_credit,period_debit,period_credit,closing_debit,closing_credit
1000,Bank,asset,4999.00,0.00,2.00,10.20,4990.80,0.00
1010,Till,asset,3.00,0.00,0.00,3.00,0.00,0.00
1500,Equipment,asset,9.00,0.00,0.00,0.00,9.00,0.00
1590,Accumulated depreciation,asset,0.00,2.50,0.20,0.00,0.00,2.30
2500,Loan,liability,0.00,5.00,5.00,0.00,0.00,0.00
3000,Capital,equity,0.00,5000.00,0.00,0.00,0.00,5000.00
4000,Sales,revenue,0.00,13.00,8.00,2.00,0.00,7.00
6000,Wages,expense,7.00,0.00,0.00,0.00,7.00,0.00
6400,Depreciation,expense,2.50,0.00,0.00,0.00,2.50,0.00
""",
    ),
    "income_statement": (
        {"from": date(2024, 2, 15), "to": date(2026, 1, 1), "group_by": "month"},
        """\
section,account_code,account_name,period_start,amount
revenue,4000,Sales,2024-02-15,13.00
revenue,4000,Sales,2025-01-01,-6.00
expense,6000,Wages,2024-03-01,7.00
expense,6400,Depreciation,2024-12-01,2.50
""",
    ),
    "balance_sheet": (
        {"as_of": date(2025, 1, 15)},
        """\
section,account_code,account_name,amount
asset,1000,Bank,4995.50
asset,1500,Equipment,9.00
asset,1590,Accumulated depreciation,-2.50
liability,2500,Loan,5.00
equity,3000,Capital,5000.00
equity,,Earnings of prior years,3.50
equity,,Earnings of the current year,-6.50
""",
    ),
    "cash_flow": (
        {"from": date(2024, 1, 1), "to": date(2026, 1, 1)},
        """\
section,account_code,account_name,amount
financing,3000,Capital,5000.00
investing,1500,Equipment,-9.00
operating,1590,Accumulated depreciation,-0.20
operating,4000,Sales,7.00
operating,6000,Wages,-7.00
""",
    ),
    "general_ledger": (
        {"from": date(2024, 7, 1), "to": date(2025, 1, 16), "account_codes": ["1010", "1000"]},
        """\
account_code,account_name,date,transaction_id,debit,credit,running_balance,description
1000,Bank,2024-07-01,5,0.00,4.00,4999.00,""
1000,Bank,2025-01-01,7,0.00,5.00,4994.00,""
1000,Bank,2025-01-15,8,1.50,0.00,4995.50,""
1010,Till,2025-01-01,7,0.00,3.00,0.00,""
""",
    ),
}


@pytest.mark.parametrize("report_type", CATALOG)
async def test_figures_worked_out_by_hand(connection: Connection, pool: Pool, report_type: str) -> None:
    parameters, text = BY_HAND[report_type]
    book = small()
    made, _ = await make(pool, request_for(await store(connection, book), report_type, parameters))
    assert made.decode() == text
    assert expected(book, report_type, parameters).decode() == text


async def test_totals_are_minor_units_beside_currency_and_exponent(connection: Connection, pool: Pool) -> None:
    ledger_id = await store(connection, small(exponent=3))
    found = {
        report_type: (await make(pool, request_for(ledger_id, report_type, parameters)))[1]
        for report_type, parameters in [
            ("trial_balance", WHOLE),
            ("income_statement", WHOLE),
            ("balance_sheet", {"as_of": date(2025, 12, 31)}),
            ("cash_flow", {"from": date(2025, 1, 1), "to": date(2026, 1, 1)}),
            ("general_ledger", WHOLE),
        ]
    }
    assert {(report.currency, report.exponent) for report in found.values()} == {("KWD", 3)}
    gross = sum(entry.amount for entry in small().entries if entry.amount > 0)
    assert found["trial_balance"].totals == {
        "accounts": 9,
        "opening_debit": 0,
        "opening_credit": 0,
        "period_debit": gross,
        "period_credit": gross,
        "closing_debit": 500_930,
        "closing_credit": 500_930,
    }
    assert found["income_statement"].totals == {"revenue": 700, "expense": 950, "net_income": -250}
    assert found["balance_sheet"].totals == {
        "assets": 499_750,
        "liabilities": 0,
        "equity": 500_000,
        "earnings": -250,
    }
    assert found["cash_flow"].totals == {
        "opening_cash": 500_200,
        "operating": -620,
        "investing": 0,
        "financing": -500,
        "net_change": -1_120,
        "closing_cash": 499_080,
    }
    assert found["general_ledger"].totals == {"debit": gross, "credit": gross}


@pytest.mark.parametrize("report_type", CATALOG)
async def test_an_interval_without_entries_has_a_header_and_good_checks(pool: Pool, report_type: str) -> None:
    parameters: dict[str, Any] = {"from": date(2001, 1, 1), "to": date(2002, 1, 1)}
    if report_type == "balance_sheet":
        parameters = {"as_of": date(2001, 1, 1)}
    made, report = await make(pool, request_for(2, report_type, parameters))
    computed = 2 if report_type == "balance_sheet" else 0
    assert made.count(b"\n") == 1 + computed
    assert report.rows == computed
    assert set(report.totals.values()) == {0}
    assert all(check["ok"] for check in report.checks)


async def test_months_and_quarters_add_up_to_the_whole(connection: Connection, pool: Pool) -> None:
    ledger_id, book = await read(connection, "demo")
    first, after = date(2025, 2, 14), date(2025, 11, 9)
    totals = [
        (await make(pool, request_for(ledger_id, "income_statement", {"from": first, "to": after, **option})))[1].totals
        for option in ({}, {"group_by": "month"}, {"group_by": "quarter"})
    ]
    assert totals[0] == totals[1] == totals[2]
    assert totals[0]["revenue"] > totals[0]["expense"] > 0
    assert len(book.entries) == 2_000


@pytest.mark.parametrize("report_type", CATALOG)
async def test_later_versions_are_not_seen(connection: Connection, pool: Pool, report_type: str) -> None:
    book = small()
    ledger_id = await store(connection, book)
    later = Book(
        accounts=[Account(code="4500", name="New", type="revenue"), Account(code="0", name="First", type="asset")],
        entries=entries(
            transaction(1_000, date(2024, 2, 29), ("1000", 33), ("4500", -33)),
            transaction(1_001, date(2025, 1, 1), ("0", 44), ("1000", -44)),
        ),
    )
    await store_accounts(connection, ledger_id, later.accounts, first=100, version=2)
    await store_entries(connection, ledger_id, later, version=2)
    both = Book(accounts=[*book.accounts, *later.accounts], entries=[*book.entries, *later.entries])
    for parameters in parameter_sets(book, report_type):
        old, _ = await make(pool, request_for(ledger_id, report_type, parameters, version=1))
        new, _ = await make(pool, request_for(ledger_id, report_type, parameters, version=2))
        assert old.decode() == expected(book, report_type, parameters).decode()
        assert new.decode() == expected(both, report_type, parameters).decode()


@pytest.mark.parametrize("report_type", CATALOG)
async def test_other_ledgers_are_not_seen(connection: Connection, pool: Pool, report_type: str) -> None:
    book = small()
    await store(connection, small(factor=3))
    ledger_id = await store(connection, book)
    await store(connection, small(factor=5))
    parameters = next(parameter_sets(book, report_type))
    await assert_equal(pool, ledger_id, book, report_type, parameters)


@pytest.mark.parametrize("report_type", CATALOG)
async def test_the_session_changes_nothing(dsn: str, connection: Connection, report_type: str) -> None:
    odd = "TimeZone=Pacific/Apia&DateStyle=SQL,DMY&standard_conforming_strings=off&extra_float_digits=-5"
    book = told_badly()
    ledger_id = await store(connection, book)
    separator = "&" if "?" in dsn else "?"
    async with create_pool(f"{dsn}{separator}{odd}", size=1, statement_cache=100) as pool:
        for parameters in parameter_sets(book, report_type):
            await assert_equal(pool, ledger_id, book, report_type, parameters)


async def test_a_chosen_code_cannot_leave_its_quotes(dsn: str, connection: Connection) -> None:
    code = "x\\'; SELECT pg_sleep(9)--"
    book = Book(
        accounts=[*CHART, Account(code=code, name="Sly", type="expense")],
        entries=transaction(1, date(2025, 1, 1), (code, 5), ("1000", -5)),
    )
    ledger_id = await store(connection, book)
    separator = "&" if "?" in dsn else "?"
    for setting in ("on", "off"):
        address = f"{dsn}{separator}standard_conforming_strings={setting}&backslash_quote=on"
        async with create_pool(address, size=1, statement_cache=100) as pool:
            await assert_equal(pool, ledger_id, book, "general_ledger", {**WHOLE, "account_codes": [code, "'", "\\"]})


async def test_a_last_line_of_any_length_is_understood(connection: Connection, pool: Pool) -> None:
    for text in ("x" * 300_000, "\n" * 300_000, '"' * 300_000, '\n"' * 100_000, '"\n' * 100_001, ",\r\n" * 100_000):
        book = Book(
            accounts=CHART, entries=transaction(1, date(2025, 1, 1), ("1000", 5), ("6000", -5), description=text)
        )
        ledger_id = await store(connection, book)
        await assert_equal(pool, ledger_id, book, "general_ledger", WHOLE)


# What the ledger tiny (seed 42, 40 lines) comes to. A change of these is a change of a report's bytes: the report's
# `version` in the catalog must then be raised, since files that are made again would come out differently.
TINY: Final = {
    "trial_balance": "c7c2b247bb310275732b93a59abcfb11a4a30c65baffeb23d3f1f44f75f70e46",
    "income_statement": "4595379bafb1bd63b3fb98a0d4a60150e47c9a691dbac0870a7141fbc1b9d201",
    "balance_sheet": "ec048970ec71753e0ff53219d052dd9d680e097cb3a67a54f0b77dd7a50eaaef",
    "cash_flow": "5b761d133b2d79fa11456f02b311085feefb90163e37ad299f4efb2ce14a5522",
    "general_ledger": "7dd47334ea588f27fab7a90587cecd1e5b9ba3e9980ac4cd36a66fb387720c37",
}


@pytest.mark.parametrize("report_type", CATALOG)
async def test_bytes_of_the_tiny_ledger_are_known(pool: Pool, report_type: str) -> None:
    parameters: dict[str, Any] = {"from": date(2025, 1, 1), "to": date(2026, 1, 1)}
    if report_type == "balance_sheet":
        parameters = {"as_of": date(2025, 12, 31)}
    made, _ = await make(pool, request_for(2, report_type, parameters))
    assert hashlib.sha256(made).hexdigest() == TINY[report_type]


TEXT: Final = st.text(alphabet="aA1é=+-@,\"'\n\r\t \\.;€😀", max_size=6)
TYPES: Final = ("asset", "liability", "equity", "revenue", "expense")
SECTIONS: Final = ("operating", "investing", "financing", "noncash", "cash")
# Around a leap day and the end of a year, so that few days meet all borders.
DAYS: Final = st.one_of(
    st.dates(date(2024, 2, 27), date(2024, 3, 2)),
    st.dates(date(2024, 12, 29), date(2025, 1, 3)),
    st.dates(date(2023, 1, 1), date(2026, 12, 31)),
)
AMOUNTS: Final = st.one_of(st.integers(-3, 3), st.integers(-(10**6), 10**6), st.integers(-(2**55), 2**55)).filter(
    lambda amount: amount != 0
)


@st.composite
def books(draw: st.DrawFn) -> Book:
    """A small ledger of any kind."""
    codes = draw(st.lists(TEXT.filter(bool), min_size=2, max_size=6, unique=True))
    accounts = [
        Account(
            code=code,
            name=draw(TEXT),
            type=draw(st.sampled_from(TYPES)),
            is_cash=draw(st.booleans()),
            cf_section=draw(st.sampled_from(SECTIONS)),
        )
        for code in codes
    ]
    ids = draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 12), max_size=6, unique=True))
    made: list[Entry] = []
    for id in ids:
        lines = draw(st.lists(st.tuples(st.sampled_from(codes), AMOUNTS), min_size=1, max_size=4))
        if rest := -sum(amount for _, amount in lines):
            lines.append((draw(st.sampled_from(codes)), rest))
        made += transaction(id, draw(DAYS), *lines, description=draw(TEXT))
    return Book(accounts=accounts, entries=made, exponent=draw(st.integers(0, 4)), guard=draw(st.booleans()))


@st.composite
def questions(draw: st.DrawFn, book: Book) -> dict[str, dict[str, Any]]:
    """Parameters for each report."""
    on = st.sampled_from([entry.day for entry in book.entries]) | DAYS if book.entries else DAYS
    first = draw(on)
    interval = {"from": first, "to": max(draw(on), first) + draw(st.integers(1, 40)) * DAY}
    codes = draw(st.lists(st.sampled_from([account.code for account in book.accounts]) | TEXT.filter(bool), max_size=3))
    compare = st.sampled_from([{}, {}, *COMPARISONS])
    by_period = st.sampled_from([{"group_by": "month"}, {"group_by": "quarter"}])
    return {
        "trial_balance": {**interval, "include_zero": draw(st.booleans()), **draw(compare)},
        "income_statement": {**interval, **draw(compare | by_period)},
        "balance_sheet": {"as_of": draw(on), **draw(st.sampled_from([{}, COMPARISONS[1]]))},
        "cash_flow": {**interval, **draw(compare)},
        "general_ledger": {
            **interval,
            **({"account_codes": codes} if codes else {}),
            **draw(st.sampled_from([{}, {"cash_only": True}])),
        },
    }


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_reports_of_any_small_ledger_are_the_oracles(pool: Pool, data: st.DataObject) -> None:
    book = data.draw(books())
    asked = data.draw(questions(book))
    async with pool.acquire() as connection:
        ledger_id = await store(connection, book)
    for report_type, parameters in asked.items():
        await assert_equal(pool, ledger_id, book, report_type, parameters)


def hledger() -> str:
    """The program, where there is one."""
    if (program := shutil.which("hledger")) is None:
        pytest.skip("hledger is not installed")
    return program


def journal(book: Book) -> Iterator[str]:
    """A book in hledger's format; the type of an account is the first part of its name."""
    by_id: dict[int, list[Entry]] = {}
    for entry in book.entries:
        by_id.setdefault(entry.transaction_id, []).append(entry)
    for lines in by_id.values():
        yield f"{lines[0].day} {lines[0].description}\n"
        for entry in lines:
            amount = Decimal(entry.amount).scaleb(-book.exponent)
            yield f"    {book.chart[entry.code].type}:{entry.code}  {amount} EUR\n"
        yield "\n"


async def test_hledger_comes_to_the_same_balances(connection: Connection, pool: Pool, tmp_path: Path) -> None:
    program = hledger()
    ledger_id, book = await read(connection, "demo")
    path = tmp_path / "demo.journal"
    path.write_text("".join(journal(book)))
    first, after = date(2025, 2, 1), date(2025, 7, 1)

    def balances(*options: str) -> dict[str, Decimal]:
        done = subprocess.run(
            [program, "-f", path, "bal", "--flat", "-N", "-O", "csv", *options],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        lines = [line.strip('"').split('","') for line in done.stdout.splitlines()[1:]]
        return {account.partition(":")[2]: Decimal(amount.removesuffix(" EUR")) for account, amount in lines}

    made, _ = await make(pool, request_for(ledger_id, "trial_balance", {"from": first, "to": after}))
    rows = [line.split(",") for line in made.decode().splitlines()[1:]]
    figures = {row[0]: [Decimal(cell) for cell in row[3:]] for row in rows}
    opening = {code: figure[0] - figure[1] for code, figure in figures.items()}
    change = {code: figure[2] - figure[3] for code, figure in figures.items()}
    closing = {code: figure[4] - figure[5] for code, figure in figures.items()}
    for mine, theirs in (
        (opening, balances("-e", f"{first}")),
        (change, balances("-b", f"{first}", "-e", f"{after}")),
        (closing, balances("-e", f"{after}")),
    ):
        assert {code: amount for code, amount in mine.items() if amount} == theirs
        assert len(theirs) > 15


@pytest.mark.parametrize("separator", [";", "\t", "|", ":"])
async def test_no_formula_appears_when_a_spreadsheet_splits_at_another_separator(
    connection: Connection, pool: Pool, separator: str
) -> None:
    ledger_id = await store(connection, told_badly())
    made, _ = await make(
        pool, request_for(ledger_id, "trial_balance", {"from": date(2025, 1, 1), "to": date(2026, 1, 1)})
    )
    signs = tuple("=+-@＝＋－＠﹦﹢﹣﹫")
    for line in made.decode().splitlines():
        for cells in (line.split(separator), *csv.reader([line], delimiter=separator)):
            assert not [cell for cell in cells if cell.strip(' \t"\u3000\xa0\ufeff').startswith(signs)]
