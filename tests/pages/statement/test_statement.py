"""What a statement shows adds up, is what the file has, and leads to the entries of each figure."""

import contextlib
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from reportsim.pages.statement import csv_page, load
from reportsim.pages.statement.general_ledger import describe_selection
from reportsim.pages.statement.notes import NOT_CLOSED
from reportsim.reports.general_ledger import MAX_CODES
from reportsim.settings import Settings
from reportsim.store.pool import Connection
from reportsim.web.limits.concurrency_limit import LATE_PAGE_LIMIT, MAX_LATE_PAGES_PER_CLIENT
from tests.conftest import Service, serving
from tests.pages.statement.parsed import Row, Statement
from tests.pages.test_pages import get_page
from tests.reports.books import store, transaction
from tests.reports.oracle import Account, Book

SPRING: Final = {"from": "2025-02-10", "to": "2025-06-01"}
ASKED: Final[dict[str, dict[str, Any]]] = {
    "trial_balance": SPRING,
    "income_statement": SPRING,
    "balance_sheet": {"as_of": "2025-08-15"},
    "cash_flow": SPRING,
    "general_ledger": SPRING,
}


async def post(service: Service, report_type: str, **options: Any) -> dict[str, Any]:
    """A completed request."""
    async with service.client.post("/api/sync", json={"report_type": report_type, **options}) as answer:
        found: dict[str, Any] = await answer.json()
        assert answer.status == 200, found
        return found


async def show(service: Service, row: dict[str, Any], page: int = 1) -> Statement:
    """A page of its statement."""
    return Statement(await get_page(service, f"/requests/{row['id']}?page={page}"))


async def read_file(service: Service, row: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of its file."""
    async with service.client.get(row["links"]["report"]) as answer:
        return list(csv.DictReader(io.StringIO(await answer.text(), newline="")))


async def request_entries(service: Service, row: dict[str, Any], source: str) -> Any:
    """Presses the button of a figure; returns the request that this leads to."""
    form = {"figure": source}
    async with service.client.post(f"/requests/{row['id']}/entries", data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        return await service.ended(answer.headers["Location"].rpartition("/")[2])


def last(rows: Iterable[Row]) -> int:
    """The sum of the last column."""
    return sum(row.cells[-1].minor for row in rows)


async def test_an_income_statement_adds_up(service: Service) -> None:
    row = await post(service, "income_statement", **SPRING)
    page = await show(service, row)
    for section in ("Revenue", "Expenses"):
        assert last(page.group(section)) == last([page.line(f"Total {section.lower()}")]) > 0
    assert last([page.line("Net income")]) == last(page.group("Revenue")) - last(page.group("Expenses"))
    assert page.head[-1].texts == ["Code", "Account", "2025-02-10 to 2025-05-31"]
    for said in (">Income statement</h2>", "<p>demo</p>", "2025-02-10 to 2025-05-31 · amounts in EUR</p>"):
        assert said in page.html


SECTIONS: Final[dict[str, tuple[tuple[str, ...], str, Callable[..., int]]]] = {
    "income_statement": (("Revenue", "Expenses"), "Net income", lambda revenue, expense: revenue - expense),
    "balance_sheet": (
        ("Assets", "Liabilities", "Equity"),
        "Total liabilities and equity",
        lambda _, liabilities, equity: liabilities + equity,
    ),
    "cash_flow": (
        ("Operating activities", "Investing activities", "Financing activities"),
        "Net change in cash",
        lambda *sections: sum(sections),
    ),
}
QUARTER: Final = {"from": "2025-04-01", "to": "2025-07-01"}
COMPARED: Final = (
    ("income_statement", {**QUARTER, "compare": "previous_period"}, "2025-01-01 to 2025-03-31"),
    ("cash_flow", {**QUARTER, "compare": "previous_period"}, "2025-01-01 to 2025-03-31"),
    ("balance_sheet", {"as_of": "2026-02-28", "compare": "previous_year"}, "2025-02-28"),
)


@pytest.mark.parametrize(("report_type", "options", "other"), COMPARED)
async def test_a_comparison_adds_up_in_every_column(
    service: Service, report_type: str, options: dict[str, Any], other: str
) -> None:
    page = await show(service, await post(service, report_type, **options))
    assert page.head[-1].texts[3:] == [other, "Change"]
    assert f"compared with {other} · amounts in EUR" in page.html
    sections, total, together = SECTIONS[report_type]
    for column in (-3, -2, -1):
        sums = [sum(row.cells[column].minor for row in page.group(section)) for section in sections]
        subtotals = [group[-1].cells[column].minor for group in page.groups if group[0].texts[0] in sections]
        assert sums == subtotals
        assert together(*sums) == page.line(total).cells[column].minor != 0
    for row in page.rows:
        if row.kind != "head":
            now, before, change = (cell.minor for cell in row.cells[-3:])
            assert change == now - before


async def test_the_comparison_of_a_trial_balance_is_of_its_closings(service: Service) -> None:
    page = await show(service, await post(service, "trial_balance", **QUARTER, compare="previous_period"))
    assert page.head[0].texts == ["", "Opening", "Period", "Closing", "Closing 2025-03-31", "Closing balance"]
    for line in page.groups[0]:
        opening, closing, before = (line.cells[at].minor - line.cells[at + 1].minor for at in (2, 6, 8))
        assert before == opening
        assert line.cells[10].minor == closing - before
    total = page.line("Total")
    assert [cell.minor for cell in total.cells[1:]] == [
        sum(line.cells[at].minor for line in page.groups[0]) for at in range(2, 11)
    ]


async def test_a_balance_sheet_adds_up(service: Service) -> None:
    page = await show(service, await post(service, "balance_sheet", as_of="2025-08-15"))
    sums = {section: last(page.group(section)) for section in ("Assets", "Liabilities", "Equity")}
    assert sums == {section: last([page.line(f"Total {section.lower()}")]) for section in sums}
    total = last([page.line("Total liabilities and equity")])
    assert sums["Assets"] == total == sums["Liabilities"] + sums["Equity"] > 0
    assert "as of 2025-08-15 · amounts in EUR" in page.html
    assert ["", "Earnings of prior years", "–"] in [row.texts for row in page.rows]


async def test_a_cash_flow_statement_adds_up(service: Service) -> None:
    page = await show(service, await post(service, "cash_flow", **SPRING))
    sections = [group[0].texts[0] for group in page.groups[:-1]]
    assert sections == [f"{name} activities" for name in ("Operating", "Investing", "Financing")]
    change = 0
    for section in sections:
        assert last(page.group(section)) == last([page.line(f"Cash from {section.lower()}")])
        change += last(page.group(section))
    opening, closing = (last([page.line(f"{name} cash")]) for name in ("Opening", "Closing"))
    assert last([page.line("Net change in cash")]) == change == closing - opening != 0


async def test_a_trial_balance_adds_up(service: Service) -> None:
    row = await post(service, "trial_balance", **SPRING)
    page = await show(service, row)
    assert page.head[0].texts == ["", "Opening", "Period", "Closing"]
    lines = page.groups[0]
    sums = [sum(line.cells[column].minor for line in lines) for column in range(2, 8)]
    total = page.line("Total")
    assert sums == [cell.minor for cell in total.cells[1:]]
    assert sums[0] == sums[1]
    assert sums[2] == sums[3]
    assert sums[4] == sums[5] > 0
    assert [total.cells[0].span, *(cell.span for cell in total.cells[1:])] == [2, 1, 1, 1, 1, 1, 1]


async def test_a_general_ledger_adds_up_on_every_page(service: Service) -> None:
    row = await post(service, "general_ledger", **SPRING)
    pages = -(-row["result_payload"]["rows"] // csv_page.ROWS)
    assert pages > 2
    entries: list[Row] = []
    carried: dict[str, int] = {}
    for number in range(1, pages + 1):
        page = await show(service, row, number)
        assert len(page.html) < 100_000
        assert f"page {number} of {pages}" in page.html
        for head, forward, *lines in (group for group in page.groups if group[0].kind == "head"):
            account, balance = head.texts[0], last([forward])
            assert forward.texts[0] == "Brought forward"
            assert carried.get(account, balance) == balance
            shown = [line for line in lines if line.kind == "row"]
            entries += shown
            balance += sum(line.cells[3].minor - line.cells[4].minor for line in shown)
            assert last(lines[-1:]) == last(shown[-1:]) == balance
            carried[account] = balance
            assert (lines[-1].texts[0] == "Closing balance") == (lines[-1].kind == "subtotal")
    total = page.line("Total")
    assert [sum(line.cells[column].minor for line in entries) for column in (3, 4)] == [
        cell.minor for cell in total.cells[1:3]
    ]
    file = await read_file(service, row)
    assert [line.texts[1] for line in entries] == [line["transaction_id"] for line in file]


@pytest.mark.parametrize("report_type", ["trial_balance", "income_statement", "balance_sheet", "cash_flow"])
async def test_pages_together_are_the_file(service: Service, report_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await post(service, report_type, **ASKED[report_type])
    whole = await show(service, row)
    monkeypatch.setattr(csv_page, "ROWS", 3)
    file = await read_file(service, row)
    pages = [await show(service, row, number) for number in range(1, -(-len(file) // 3) + 1)]
    lines = [line for page in pages for line in page.rows if line.kind == "row"]
    assert [line.texts[0] for line in lines] == [line["account_code"] for line in file]
    assert sorted(tuple(line.texts) for line in lines) == sorted(
        tuple(line.texts) for line in whole.rows if line.kind == "row"
    )
    for kind in ("subtotal", "total", "balance"):
        found = [line.texts for page in pages for line in page.rows if line.kind == kind]
        assert sorted(found) == sorted(line.texts for line in whole.rows if line.kind == kind and last_sums(line))
    heads = [line.texts[0] for page in pages for line in page.rows if line.kind == "head"]
    assert len(set(heads)) == len([head for head in heads if "(continued)" not in head]) + len(
        {head for head in heads if "(continued)" in head}
    )


def last_sums(line: Row) -> bool:
    """Whether a line is of a section that has rows, or of all of them."""
    return line.kind == "total" or any(cell.minor for cell in line.cells[1:])


async def test_there_are_no_pages_beyond_the_last(service: Service) -> None:
    row = await post(service, "general_ledger", **SPRING)
    path = f"/requests/{row['id']}"
    pages = -(-row["result_payload"]["rows"] // csv_page.ROWS)
    first, final = await get_page(service, path), await get_page(service, f"{path}?page={pages}")
    assert f'<a href="{path}?page=2#statement" rel="next">' in first
    assert f"{path}?fragment=detail&amp;page={pages}" in final
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in final
    assert f"the statement has {pages}" in await get_page(service, f"{path}?page={pages + 1}", 404)
    assert f"the statement has {pages}" in await get_page(service, f"{path}?page={'9' * 18}", 404)
    for wrong in ("0", "-1", "1.5", "x", "", "9" * 19, "1&page=2"):
        await get_page(service, f"{path}?page={wrong}", 422)


async def test_few_late_pages_of_long_files_are_read_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await post(service, "general_ledger")
    monkeypatch.setattr(load, "MOST_BYTES", 1_000)
    limit = service.app[LATE_PAGE_LIMIT]
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_LATE_PAGES_PER_CLIENT):
            stack.enter_context(limit.permit("127.0.0.1"))
        await show(service, row)
        await get_page(service, f"/requests/{row['id']}?page=2", 429)
    await show(service, row, 2)


async def test_a_report_without_rows_is_a_statement_of_nothing(service: Service) -> None:
    past = {"from": "2001-01-01", "to": "2002-01-01"}
    for report_type in ("trial_balance", "income_statement", "cash_flow", "general_ledger"):
        page = await show(service, await post(service, report_type, **past))
        assert not [row for row in page.rows if row.kind == "row"]
        assert {cell.text for row in page.rows if row.kind == "total" for cell in row.cells[1:]} <= {"–", ""}


def sign(head: str) -> int:
    """How a section shows balances, whose debits are above zero."""
    return 1 if head in {"Assets", "Expenses"} else -1


def unlinked(page: Statement) -> int:
    """The number of differences that are not zero: they alone have no entries."""
    has_change = page.head[-1].texts[-1] == "Change"
    return len([row for row in page.rows if row.kind == "row" and has_change and row.cells[-1].minor])


@pytest.mark.parametrize(
    ("report_type", "options"),
    [
        ("income_statement", SPRING),
        ("income_statement", {**SPRING, "group_by": "month"}),
        ("income_statement", {**SPRING, "group_by": "quarter"}),
        ("balance_sheet", {"as_of": "2025-08-15"}),
        ("balance_sheet", {"as_of": "9999-12-31"}),
        ("cash_flow", SPRING),
        *((report_type, options) for report_type, options, _ in COMPARED),
    ],
)
async def test_a_figure_leads_to_entries_that_add_up_to_it(
    service: Service, report_type: str, options: dict[str, Any]
) -> None:
    row = await post(service, report_type, **options)
    page = await show(service, row)
    figures = 0
    for group in page.groups:
        for line in (line for line in group if line.kind == "row"):
            for figure in line.cells[2:]:
                if figure.source is None:
                    continue
                figures += 1
                entries = await request_entries(service, row, figure.source)
                totals = entries["result_payload"]["totals"]
                if line.texts[0]:
                    assert entries["input_payload"]["account_codes"] == [line.texts[0]]
                    assert figure.minor == sign(group[0].texts[0]) * (totals["debit"] - totals["credit"])
                else:
                    assert figure.minor == totals["net_income"]
    shown = [cell for row in page.rows if row.kind == "row" for cell in row.cells[2:] if cell.text != "–"]
    assert figures == len(shown) - unlinked(page) > 8


@pytest.mark.parametrize(
    ("report_type", "options", "sums"),
    [
        ("income_statement", {**SPRING, "compare": "previous_period"}, 6),
        ("income_statement", {**SPRING, "group_by": "month"}, 15),
        ("balance_sheet", {"as_of": "2025-08-15"}, 4),
        ("cash_flow", SPRING, 3),
    ],
)
async def test_a_sum_leads_to_entries_that_add_up_to_it(
    service: Service, report_type: str, options: dict[str, Any], sums: int
) -> None:
    row = await post(service, report_type, **options)
    found = 0
    for line in (await show(service, row)).rows:
        for figure in line.cells[1:] if line.kind in {"subtotal", "total"} else ():
            if figure.source is None:
                continue
            found += 1
            entries = await request_entries(service, row, figure.source)
            totals = entries["result_payload"]["totals"]
            sign = 1 if line.texts[0] in {"Total assets", "Total expenses"} else -1
            assert figure.minor == sign * (totals["debit"] - totals["credit"])
            assert figure.text.strip("()") in (await show(service, entries)).html.partition("<table>")[0]
    assert found == sums


async def test_a_sum_of_more_accounts_than_a_general_ledger_can_have_is_refused(
    connection: Connection, service: Service
) -> None:
    accounts = [Account(code=str(code), name="Sales", type="revenue") for code in range(MAX_CODES + 1)]
    lines = [(account.code, -1) for account in accounts]
    bank = Account(code="bank", name="Bank", type="asset")
    entries = transaction(1, date(2025, 1, 1), ("bank", len(lines)), *lines)
    await store(connection, Book(accounts=[bank, *accounts], entries=entries), "many")
    row = await post(service, "income_statement", ledger="many")
    form = {"figure": urlencode({"column": "amount", "sum": "revenue"})}
    async with service.client.post(f"/requests/{row['id']}/entries", data=form) as answer:
        assert answer.status == 422
        assert "1000" in (text := await answer.text())
        assert '<section id="statement"' in text


async def test_each_side_of_a_trial_balance_leads_to_its_entries(service: Service) -> None:
    row = await post(service, "trial_balance", **SPRING, compare="previous_year")
    page = await show(service, row)
    figures = 0
    for line in page.groups[0][::3]:
        for column, cell in enumerate(line.cells[2:10]):
            assert (cell.source is None) == (cell.minor == 0)
            if cell.source is None:
                continue
            figures += 1
            totals = (await request_entries(service, row, cell.source))["result_payload"]["totals"]
            net = totals["debit"] - totals["credit"]
            assert cell.minor == (net, -net, totals["debit"], totals["credit"], net, -net, net, -net)[column]
    assert figures > 12


async def test_the_general_ledger_of_a_figure_is_shown_with_its_total(service: Service) -> None:
    row = await post(service, "trial_balance", **SPRING)
    line = next(line for line in (await show(service, row)).rows if line.texts[1] == "Bank")
    entries = await request_entries(service, row, line.cells[4].source or "")
    page = await show(service, entries, -(-entries["result_payload"]["rows"] // csv_page.ROWS))
    assert page.line("Total").cells[1].minor == line.cells[4].minor > 0
    closing = await request_entries(service, row, line.cells[6].source or "")
    assert "until 2025-05-31 · amounts in EUR" in (await show(service, closing)).html


async def test_cash_entries_are_headed_as_a_selection_and_have_no_balances(service: Service) -> None:
    row = await post(service, "cash_flow", **SPRING)
    line = next(line for line in (await show(service, row)).rows if line.kind == "row" and line.cells[-1].source)
    entries = await request_entries(service, row, line.cells[-1].source or "")
    pages = -(-entries["result_payload"]["rows"] // csv_page.ROWS)
    title = f"General ledger: cash entries of account {line.texts[0]} only"
    for number in range(1, pages + 1):
        page = await show(service, entries, number)
        assert f"{title}</h2>" in page.html
        assert page.head[-1].texts[-2:] == ["Debit", "Credit"]
        assert {row.kind for row in page.rows} <= {"head", "row", "total"}
    assert f"<title>{title} COMPLETED" in await get_page(service, f"/requests/{entries['id']}")
    totals = entries["result_payload"]["totals"]
    assert [cell.minor for cell in page.line("Total").cells[1:]] == [totals["debit"], totals["credit"]]


def test_a_selection_names_few_accounts_and_counts_many() -> None:
    assert describe_selection({"account_codes": None}) == ""
    assert describe_selection({"account_codes": ["1", "2", "1"]}) == "accounts 1, 2 only"
    assert describe_selection({"account_codes": [str(code) for code in range(1_000)]}) == "1,000 accounts only"
    assert describe_selection({"cash_only": True}) == "cash entries only"


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (["1000"], None),
        (["9999"], "There is no account 9999 in demo."),
        (["5", "4", "1000", "3", "2", "1"], "There is no account 1, 2, 3 and 2 more in demo."),
    ],
)
async def test_accounts_that_the_ledger_does_not_have_are_named(
    service: Service, codes: list[str], said: str | None
) -> None:
    page = await show(service, await post(service, "general_ledger", account_codes=codes))
    assert page.notes == ([said] if said else [])


async def test_a_trial_balance_says_where_earlier_years_are_not_closed(
    connection: Connection, service: Service
) -> None:
    accounts = [Account(code="1", name="Bank", type="asset"), Account(code="4", name="Sales", type="revenue")]
    entries = [transaction(number, date(2025 + number, 1, 31), ("1", 100), ("4", -100)) for number in (0, 1)]
    await store(connection, Book(accounts=accounts, entries=[*entries[0], *entries[1]]), "years")
    for first, is_said in (("2025-01-01", False), ("2025-06-01", False), ("2026-01-01", True), ("2026-12-01", True)):
        row = await post(service, "trial_balance", ledger="years", **{"from": first, "to": "2027-01-01"})
        assert (await show(service, row)).notes == ([NOT_CLOSED] if is_said else [])
    closing = transaction(2, date(2025, 12, 31), ("4", 100), ("3", -100))
    equity = Account(code="3", name="Capital", type="equity")
    await store(connection, Book(accounts=[*accounts, equity], entries=[*entries[0], *closing, *entries[1]]), "closed")
    row = await post(service, "trial_balance", ledger="closed", **{"from": "2026-01-01", "to": "2027-01-01"})
    assert (await show(service, row)).notes == []


@pytest.mark.parametrize(("first", "said"), [("2025-04-01", ["The ledger begins 2025-01-01."]), ("2026-01-01", [])])
async def test_a_comparison_with_days_before_the_ledger_says_when_it_begins(
    service: Service, first: str, said: list[str]
) -> None:
    days = {"from": first, "to": f"{first[:4]}-07-01"}
    page = await show(service, await post(service, "income_statement", **days, compare="previous_year"))
    assert page.notes == said


async def test_codes_that_the_file_writes_with_a_guard_are_found(connection: Connection, service: Service) -> None:
    accounts = [Account(code=code, name="Odd", type="asset") for code in ("-1", "'-1", " \n=é&column=x", "1, 2")]
    book = Book(
        accounts=[*accounts, Account(code="9", name="Rest", type="equity")],
        entries=[
            entry
            for number, account in enumerate(accounts, start=1)
            for entry in transaction(number, date(2025, 1, number), (account.code, number), ("9", -number))
        ],
    )
    await store(connection, book, "odd")
    row = await post(service, "balance_sheet", ledger="odd")
    found = [
        (await request_entries(service, row, line.cells[-1].source or ""))["input_payload"]["account_codes"]
        for line in (await show(service, row)).group("Assets")
    ]
    assert sorted(found) == sorted([["'-1", "-1"], ["'-1", "-1"], [" \n=é&column=x"], ["1, 2"]])


HOSTILE: Final[Sequence[dict[str, str]]] = (
    {},
    {"column": "amount"},
    {"column": "amount", "account": "no such"},
    {"column": "amount", "sum": "no such"},
    {"column": "amount", "sum": "assets"},
    {"column": "amount", "sum": ""},
    {"column": "amount", "account": "1\0"},
    {"column": "rows", "account": "1000"},
    {"account": "1000"},
    {"column": "amount", "earnings": "future"},
    {"column": "amount", "account": "1000", "period_start": "2025-13-01"},
    {"column": "amount", "account": "1000", "more": "x"},
    {"column": "amount", "earnings": "prior"},
)


async def test_what_no_statement_offers_is_not_found(service: Service) -> None:
    row = await post(service, "income_statement", **SPRING)
    for figure in ("", "&", "=", "x" * 10_000, *(urlencode(parts) for parts in HOSTILE)):
        async with service.client.post(f"/requests/{row['id']}/entries", data={"figure": figure}) as answer:
            assert answer.status == 404, figure
            assert "no such figure" in await answer.text()
    figure = urlencode({"column": "amount", "account": "6000", "period_start": "2031-01-01"})
    async with service.client.post(f"/requests/{row['id']}/entries", data={"figure": figure}) as answer:
        assert answer.status == 200


async def test_entries_are_requested_under_the_sync_limit(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1)) as service:
        row = await post(service, "trial_balance")
        source = urlencode({"column": "closing_debit", "account": "1000"})
        async with service.client.post(f"/requests/{row['id']}/entries", data={"figure": source}) as answer:
            assert answer.status == 429
            assert "The sync quota is used up." in (text := await answer.text())
            assert '<section id="statement"' in text


async def test_pages_of_other_sites_request_no_entries(service: Service) -> None:
    row = await post(service, "trial_balance")
    source = urlencode({"column": "closing_debit", "account": "1000"})
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        async with service.client.post(
            f"/requests/{row['id']}/entries", data={"figure": source}, headers=headers
        ) as answer:
            assert answer.status == 403
