"""A statement by month or quarter is a matrix: its columns and rows add up, and are those of the file."""

import csv
import io
from collections import Counter
from datetime import date
from typing import Any, Final

import pytest

from reportsim.pages.statement import matrix
from reportsim.pages.statement.matrix import Matrix, paginate, read_matrix
from reportsim.store.pool import Connection
from tests.conftest import Service
from tests.pages.statement.parsed import Cell, Row, Statement
from tests.pages.statement.test_statement import SPRING, post, request_entries, show
from tests.pages.test_pages import get_page
from tests.reports import oracle
from tests.reports.books import entries, store, transaction
from tests.reports.oracle import Account, Book

SECTIONS: Final = {"revenue": "Revenue", "expense": "Expenses"}
CHART: Final = (
    Account(code="1", name="Bank", type="asset", is_cash=True),
    Account(code="4", name="Sales", type="revenue"),
    Account(code="5", name="Refunds", type="revenue"),
    Account(code="6", name="Rent", type="expense"),
)
# Two years, with a month whose entries cancel out, a loss, and entries at the ends of months.
BOOK: Final = Book(
    accounts=CHART,
    entries=entries(
        transaction(1, date(2023, 11, 30), ("1", 500), ("4", -500)),
        transaction(2, date(2024, 1, 31), ("1", 12_345), ("4", -12_345)),
        transaction(3, date(2024, 2, 1), ("1", -30_000), ("6", 30_000)),
        transaction(4, date(2024, 2, 29), ("1", 777), ("4", -777)),
        transaction(5, date(2024, 3, 5), ("1", 40), ("4", -40)),
        transaction(6, date(2024, 3, 6), ("1", -40), ("4", 40)),
        transaction(7, date(2024, 4, 1), ("5", 900), ("1", -900)),
        transaction(8, date(2025, 1, 1), ("1", 60), ("4", -60)),
        transaction(9, date(2025, 10, 31), ("1", -70), ("6", 70)),
    ),
)


def expected(book: Book, first: str, after: str, unit: str) -> dict[str, dict[str, Counter[str]]]:
    """The oracle's figures, by section, account and first day of the period."""
    file = oracle.income_statement(book, date.fromisoformat(first), date.fromisoformat(after), group_by=unit)
    found: dict[str, dict[str, Counter[str]]] = {"revenue": {}, "expense": {}}
    for row in csv.DictReader(io.StringIO(file.decode())):
        amounts = found[row["section"]].setdefault(row["account_code"], Counter())
        amounts[row["period_start"]] = int(row["amount"].replace(".", ""))
    return found


def figures(line: Row) -> list[int]:
    """The figures of a line, without its texts."""
    return [cell.minor for cell in figure_cells(line)]


def figure_cells(line: Row) -> list[Cell]:
    """The cells of a line that have figures."""
    return line.cells[1 if line.cells[0].span > 1 else 2 :]


def check_sums(page: Statement) -> None:
    """Rows add up to their last column, and columns to the lines beneath them."""
    sums = {}
    for title in SECTIONS.values():
        lines = page.group(title)
        subtotal = figures(page.line(f"Total {title.lower()}"))
        sums[title] = [sum(column) for column in zip(*map(figures, lines), strict=True)] or [0] * len(subtotal)
        assert sums[title] == subtotal
    assert figures(page.line("Net income")) == [
        revenue - expense for revenue, expense in zip(sums["Revenue"], sums["Expenses"], strict=True)
    ]
    for line in page.rows:
        if line.kind != "head":
            assert sum(figures(line)[:-1]) == figures(line)[-1]


@pytest.mark.parametrize(
    ("first", "after", "unit", "heads", "starts"),
    [
        (
            "2024-01-15",
            "2024-04-02",
            "month",
            ["2024-01-15 to 2024-01-31", "2024-02", "2024-03", "2024-04-01 to 2024-04-01"],
            ["2024-01-15", "2024-02-01", "2024-03-01", "2024-04-01"],
        ),
        (
            "2023-11-30",
            "2024-07-01",
            "quarter",
            ["2023-11-30 to 2023-12-31", "2024 Q1", "2024 Q2"],
            ["2023-11-30", "2024-01-01", "2024-04-01"],
        ),
    ],
)
async def test_a_matrix_is_the_oracles_figures(
    connection: Connection, service: Service, first: str, after: str, unit: str, heads: list[str], starts: list[str]
) -> None:
    await store(connection, BOOK, "matrix")
    row = await post(service, "income_statement", ledger="matrix", **{"from": first, "to": after}, group_by=unit)
    page = await show(service, row)
    assert page.head[-1].texts == ["Code", "Account", *heads, "Total"]
    check_sums(page)
    oracles = expected(BOOK, first, after, unit)
    for section, title in SECTIONS.items():
        assert {line.texts[0]: figures(line) for line in page.group(title)} == {
            code: [*(amounts[start] for start in starts), amounts.total()] for code, amounts in oracles[section].items()
        }
    totals = row["result_payload"]["totals"]
    assert figures(page.line("Net income"))[-1] == totals["net_income"]
    assert (
        figures(page.line("Total revenue"))[-1]
        == totals["revenue"]
        == sum(amounts.total() for amounts in oracles["revenue"].values())
    )
    assert figures(page.line("Total expenses"))[-1] == totals["expense"] > 0


@pytest.mark.parametrize("unit", ["month", "quarter"])
async def test_every_figure_leads_to_the_entries_of_its_account_and_period(service: Service, unit: str) -> None:
    row = await post(service, "income_statement", **SPRING, group_by=unit)
    page = await show(service, row)
    check_sums(page)
    starts = {
        "month": ["2025-02-10", "2025-03-01", "2025-04-01", "2025-05-01"],
        "quarter": ["2025-02-10", "2025-04-01"],
    }[unit]
    days = [*zip(starts, [*starts[1:], SPRING["to"]], strict=True), (SPRING["from"], SPRING["to"])]
    (line,) = (line for line in page.group("Expenses") if line.texts[1] == "Rent")
    # Rent is paid on the first of a month, so the first month, which begins on the tenth, has none.
    assert [cell.text == "–" for cell in figure_cells(line)] == [unit == "month", *[False] * (len(days) - 1)]
    for cell, (first, after) in zip(figure_cells(line), days, strict=True):
        if cell.text == "–":
            continue
        found = await request_entries(service, row, cell.source or "")
        asked, totals = found["input_payload"], found["result_payload"]["totals"]
        assert (asked["account_codes"], asked["from"], asked["to"]) == ([line.texts[0]], first, after)
        assert cell.minor == totals["debit"] - totals["credit"] > 0
    assert all(
        (cell.source is None) == (cell.text == "–") for line in page.group("Revenue") for cell in figure_cells(line)
    )


async def test_many_periods_are_in_pages_of_twelve(connection: Connection, service: Service) -> None:
    await store(connection, BOOK, "matrix")
    days = {"from": "2000-01-01", "to": "2030-01-01"}
    row = await post(service, "income_statement", ledger="matrix", **days, group_by="month")
    oracles = expected(BOOK, days["from"], days["to"], "month")
    for number, year in enumerate((2023, 2024, 2025), start=1):
        page = await show(service, row, number)
        months = [f"{year}-{month:02}" for month in range(1, 13)]
        assert page.head[-1].texts[2:] == [*months, "Total 2000-01-01 to 2029-12-31"]
        assert f"page {number} of 3" in page.html
        for section, title in SECTIONS.items():
            assert {line.texts[0]: figures(line) for line in page.group(title)} == {
                code: [*(amounts[f"{month}-01"] for month in months), amounts.total()]
                for code, amounts in oracles[section].items()
            }
        assert figures(page.line("Net income"))[-1] == row["result_payload"]["totals"]["net_income"]
    assert "the statement has 3" in await get_page(service, f"/requests/{row['id']}?page=4", 404)


async def test_pages_of_accounts_together_are_all_of_them(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await post(service, "income_statement", **SPRING, group_by="month")
    whole = await show(service, row)
    monkeypatch.setattr(matrix, "ACCOUNTS", 3)
    monkeypatch.setattr(matrix, "PERIODS", 3)
    accounts = [line.texts for line in whole.rows if line.kind == "row"]
    parts = -(-len(accounts) // 3)
    pages = [await show(service, row, number) for number in range(1, 2 * parts + 1)]
    for pages_of_periods, columns in ((pages[:parts], slice(2, 5)), (pages[parts:], slice(5, 6))):
        lines = [line.texts for page in pages_of_periods for line in page.rows if line.kind == "row"]
        assert [(*line[:2], *line[2:-1], line[-1]) for line in lines] == [
            (*line[:2], *line[columns], line[-1]) for line in accounts
        ]
        for label in ("Total revenue", "Total expenses", "Net income"):
            (found,) = (line for page in pages_of_periods for line in page.rows if line.texts[0] == label)
            assert figures(found)[:-1] == figures(whole.line(label))[columns.start - 2 : columns.stop - 2]


async def test_a_matrix_without_figures_has_its_first_periods(service: Service) -> None:
    days = {"from": "2001-01-01", "to": "2003-01-01"}
    page = await show(service, await post(service, "income_statement", **days, group_by="quarter"))
    assert page.head[-1].texts[2:] == [f"{year} Q{quarter}" for year in (2001, 2002) for quarter in range(1, 5)] + [
        "Total"
    ]
    check_sums(page)


async def test_a_long_file_is_shown_as_it_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await post(service, "income_statement", **SPRING, group_by="month")
    monkeypatch.setattr(matrix, "MOST_BYTES", row["result_payload"]["bytes"] - 1)
    page = await show(service, row)
    assert page.head[-1].texts[:3] == ["Code", "Account", "Period from"]
    assert len([line for line in page.rows if line.kind == "row"]) == row["result_payload"]["rows"]


def parameters(**options: str) -> dict[str, Any]:
    return {"report_type": "income_statement", "group_by": "month", **options}


async def test_the_calendars_last_period_is_whole() -> None:
    text = b"section,account_code,account_name,period_start,amount\nrevenue,4,Sales,9999-12-01,3.20\n"
    found = await read_matrix(io.BytesIO(text))
    asked, result = parameters(**{"from": "0001-01-01", "to": "9999-12-31"}), {"totals": {"revenue": 320}}
    pages = paginate(found, asked, result)
    assert pages.count == 1
    assert [pages.column(number).head for number in pages.ranges[0]] == [f"9999-{month:02}" for month in range(1, 13)]


def test_rows_of_an_account_that_the_file_writes_alike_are_one() -> None:
    found = Matrix()
    for amount in ("1.00", "2.50"):
        found.add(
            {
                "section": "revenue",
                "account_code": "'-1",
                "account_name": "Odd",
                "period_start": "2025-01-01",
                "amount": amount,
            }
        )
    (account,) = found.accounts
    assert account.row()["2025-01-01"] == account.row()["amount"] == "350"
    assert found.sums == {"2025-01-01": Counter(revenue=350)}
