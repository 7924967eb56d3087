"""The invariants: a report that does not add up fails, says which check failed, and leaves no file."""

from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from reportsim.core.problems import Problem
from reportsim.reports import generate as generation
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.general_ledger import MAX_BYTES, MAX_DESCRIPTION, MAX_ENTRIES
from reportsim.reports.generate import conclude, generate
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.pool import Connection, Pool
from tests.conftest import Service
from tests.reports.books import expected, make, request_for, store, store_entries, transaction
from tests.reports.oracle import Book
from tests.reports.test_reports import CHART, small

YEAR: Final = {"from": date(2025, 1, 1), "to": date(2026, 1, 1)}
ASKED: Final[dict[str, dict[str, Any]]] = {
    "trial_balance": YEAR,
    "income_statement": YEAR,
    "balance_sheet": {"as_of": date(2025, 12, 31)},
    "cash_flow": YEAR,
    "general_ledger": YEAR,
}
CHECKS: Final = [(report.name, check.name) for report in CATALOG.values() for check in report.checks]

# Damage to the kept totals of `small`, to its entries, or to both, and the checks that must notice it. $1 is the
# ledger; accounts are numbered in the order of CHART, and 0 is all of them.
KEPT: Final = "WHERE ledger_id = $1 AND account_id"
OF: Final = "WHERE ledger_id = $1 AND transaction_id"
DAMAGE: Final = {
    "a debit is changed": f"UPDATE balances SET debit = debit + 1 {KEPT} = 2 AND day >= '2025-01-01'",
    "a credit is changed": f"UPDATE balances SET credit = credit - 1 {KEPT} = 3 AND day = '2025-05-05'",
    "an opening balance is changed": f"UPDATE balances SET balance = balance + 1 {KEPT} = 6 AND day < '2025-01-01'",
    "a closing balance is changed": f"UPDATE balances SET balance = balance - 1 {KEPT} = 2 AND day = '2025-05-05'",
    "a day is lost": f"DELETE FROM balances {KEPT} = 3 AND day = '2025-05-05'",
    "all days of an account are lost": f"DELETE FROM balances {KEPT} = 3",
    "the sum of all accounts is changed": f"UPDATE balances SET balance = 1 {KEPT} = 0",
    "a debit of all accounts is changed": f"UPDATE balances SET debit = debit + 1 {KEPT} = 0 AND day = '2025-05-05'",
    "cash is changed": f"UPDATE balances SET cash = cash + 1 {KEPT} = 2 AND day = '2025-05-05'",
    "the balance of cash is changed": f"UPDATE balances SET balance = balance + 1 {KEPT} = 3 AND day = '2025-05-05'",
    "a number of entries is changed": f"UPDATE balances SET entries = entries + 1 {KEPT} = 2 AND day = '2025-05-05'",
    "a line is deleted": f"DELETE FROM postings {OF} = 8 AND line_no = 1",
    "an amount is changed": f"UPDATE postings SET amount = amount + 1 {OF} = 10 AND line_no = 1",
    "both amounts are changed": f"UPDATE postings SET amount = amount * 2 {OF} = 8",
    "a line is moved out": f"UPDATE postings SET posted_on = '2026-01-01' {OF} = 8 AND line_no = 1",
    "a transaction is moved to an account that is not there": f"UPDATE postings SET account_id = 77 {OF} = 8",
    "the last account has moved in secret": (
        "INSERT INTO postings SELECT ledger_id, 99, line_no, account_id, 1, '2025-03-03', amount, ''"
        f" FROM postings {OF} = 6"
    ),
    "the last account's closing is changed": f"UPDATE balances SET balance = 7 {KEPT} = 2 AND day = '2025-05-05'",
}
NOTICED: Final = [
    ("trial_balance", "debits_equal_credits", "a debit is changed"),
    ("trial_balance", "opening_balances", "an opening balance is changed"),
    ("trial_balance", "closing_balances", "a closing balance is changed"),
    ("trial_balance", "closing_balances", "all days of an account are lost"),
    ("trial_balance", "opening_plus_period_is_closing", "a credit is changed"),
    ("trial_balance", "opening_plus_period_is_closing", "a closing balance is changed"),
    ("trial_balance", "period_is_general_ledger", "a debit of all accounts is changed"),
    ("trial_balance", "period_is_general_ledger", "a day is lost"),
    ("income_statement", "net_income_is_change_of_net_assets", "a closing balance is changed"),
    ("income_statement", "net_income_is_change_of_net_assets", "all days of an account are lost"),
    ("balance_sheet", "assets_equal_liabilities_and_equity", "the balance of cash is changed"),
    ("balance_sheet", "assets_equal_liabilities_and_equity", "all days of an account are lost"),
    ("balance_sheet", "entries_sum_to_zero", "the sum of all accounts is changed"),
    ("cash_flow", "opening_plus_change_is_closing", "cash is changed"),
    ("cash_flow", "opening_plus_change_is_closing", "the balance of cash is changed"),
    ("general_ledger", "debits_equal_credits", "a debit is changed"),
    ("general_ledger", "rows_are_entries", "a number of entries is changed"),
    ("general_ledger", "rows_are_entries", "a line is deleted"),
    ("general_ledger", "rows_are_entries", "a line is moved out"),
    ("general_ledger", "rows_are_entries", "a transaction is moved to an account that is not there"),
    ("general_ledger", "rows_are_entries", "the last account has moved in secret"),
    ("general_ledger", "entries_are_kept_totals", "an amount is changed"),
    ("general_ledger", "entries_are_kept_totals", "both amounts are changed"),
    ("general_ledger", "entries_are_kept_totals", "a credit is changed"),
    ("general_ledger", "last_balance_is_closing", "the last account's closing is changed"),
]

# A later version in which the last account of all moves, on a day between the opening and the closing of the year; what
# is damaged in its kept totals alone, and the checks that must notice it.
LAST_MOVES: Final = Book(
    accounts=CHART, entries=transaction(99, date(2025, 3, 3), ("9999", 5), ("1000", -5), description="Late")
)
NOTICED_LATER: Final = [
    ("trial_balance", "balance", ["closing_balances", "opening_plus_period_is_closing"]),
    (
        "trial_balance",
        "debit",
        ["debits_equal_credits", "opening_plus_period_is_closing", "period_is_general_ledger"],
    ),
    (
        "trial_balance",
        "credit",
        ["debits_equal_credits", "opening_plus_period_is_closing", "period_is_general_ledger"],
    ),
    ("income_statement", "balance", ["net_income_is_change_of_net_assets"]),
    ("balance_sheet", "balance", ["assets_equal_liabilities_and_equity", "entries_sum_to_zero"]),
    ("cash_flow", "balance", ["opening_plus_change_is_closing"]),
    ("cash_flow", "cash", ["opening_plus_change_is_closing"]),
    ("general_ledger", "balance", ["last_balance_is_closing"]),
    ("general_ledger", "debit", ["debits_equal_credits", "entries_are_kept_totals"]),
    ("general_ledger", "credit", ["debits_equal_credits", "entries_are_kept_totals"]),
    ("general_ledger", "entries", ["rows_are_entries"]),
]

# Figures that break one check and no other, where all others are zero.
BREAKS: Final = {
    ("trial_balance", "debits_equal_credits"): {"period_debit": 1, "entries_gross": 1},
    ("trial_balance", "opening_balances"): {"opening_debit": 1},
    ("trial_balance", "closing_balances"): {"closing_credit": 1},
    ("trial_balance", "opening_plus_period_is_closing"): {"accounts_off": 1},
    ("trial_balance", "period_is_general_ledger"): {"entries_gross": 1},
    ("trial_balance", "rows_are_accounts"): {"rows": 1},
    ("income_statement", "net_income_is_revenue_less_expense"): {"revenue": 1},
    ("income_statement", "net_income_is_change_of_net_assets"): {"net_assets_gained": 1},
    ("income_statement", "rows_are_lines"): {"rows": 1},
    ("balance_sheet", "assets_equal_liabilities_and_equity"): {"earnings": 1},
    ("balance_sheet", "entries_sum_to_zero"): {"entries_sum": 1},
    ("balance_sheet", "rows_are_lines"): {"rows": 1},
    ("cash_flow", "opening_plus_change_is_closing"): {"closing_cash": 1},
    ("cash_flow", "sections_sum_to_change"): {"operating": 1},
    ("cash_flow", "rows_are_lines"): {"rows": 1},
    ("general_ledger", "rows_are_entries"): {"entries": 1},
    ("general_ledger", "debits_equal_credits"): {"debit": 1, "listed_debit": 1},
    ("general_ledger", "entries_are_kept_totals"): {"listed_credit": 1},
    ("general_ledger", "last_balance_is_closing"): {"rows": 1, "entries": 1, "last_balance": 1},
}


async def failure(pool: Pool, folder: Path, ledger_id: int, report_type: str, version: int = 1) -> Problem:
    """The problem that a report ends with; nothing of it may be left, in memory or in a file."""
    files = ReportFiles(folder, 1_000_000)
    request = request_for(ledger_id, report_type, ASKED[report_type], version=version)
    with pytest.raises(Problem) as raised, files.draft(request.id) as draft:
        await generate(pool, request, draft)
    assert (files.ids(), list(folder.iterdir())) == ([], [])
    return raised.value


@pytest.mark.parametrize(("report_type", "check", "damage"), NOTICED)
async def test_damage_is_noticed(
    connection: Connection, pool: Pool, tmp_path: Path, report_type: str, check: str, damage: str
) -> None:
    ledger_id = await store(connection, small())
    assert (await connection.execute(DAMAGE[damage], ledger_id)).split()[-1] != "0"
    problem = await failure(pool, tmp_path, ledger_id, report_type)
    assert (problem.slug, problem.status) == ("report-failed", 500)
    failed = [found["name"] for found in problem.members["checks"] if not found["ok"]]
    assert check in failed
    assert problem.members["check"] == failed[0]
    assert all(name in problem.detail for name in failed)


@pytest.mark.parametrize(("report_type", "column", "checks"), NOTICED_LATER)
async def test_damage_to_a_later_version_is_noticed_in_it_alone(
    connection: Connection, pool: Pool, tmp_path: Path, report_type: str, column: str, checks: list[str]
) -> None:
    ledger_id = await store(connection, small())
    await store_entries(connection, ledger_id, LAST_MOVES, version=2)
    first, second = (request_for(ledger_id, report_type, ASKED[report_type], version=version) for version in (1, 2))
    before, _ = await make(pool, first)
    await make(pool, second)
    damage = f"UPDATE balances SET {column} = {column} + 1 WHERE ledger_id = $1 AND version = 2"
    assert await connection.execute(damage, ledger_id) != "UPDATE 0"
    problem = await failure(pool, tmp_path, ledger_id, report_type, version=2)
    assert [found["name"] for found in problem.members["checks"] if not found["ok"]] == checks
    assert (await make(pool, first))[0] == before


@pytest.mark.parametrize(("report_type", "check"), CHECKS)
def test_every_check_can_fail_by_itself_and_is_named(report_type: str, check: str) -> None:
    figures: dict[str, int] = defaultdict(int, {"whole": 1, **BREAKS[report_type, check]})
    with pytest.raises(Problem) as raised:
        conclude(CATALOG[report_type], figures, "EUR", 2)
    problem = raised.value
    assert problem.members["check"] == check
    assert [found["name"] for found in problem.members["checks"] if not found["ok"]] == [check]
    assert [found["name"] for found in problem.members["checks"]] == [each.name for each in CATALOG[report_type].checks]
    assert check in problem.detail


@pytest.mark.parametrize("report_type", CATALOG)
def test_figures_of_zero_pass(report_type: str) -> None:
    assert conclude(CATALOG[report_type], defaultdict(int), "EUR", 2).rows == 0


async def test_a_report_that_does_not_add_up_is_an_error_for_every_client(
    connection: Connection, service: Service, settings: Settings
) -> None:
    ledger_id = await store(connection, small(), "damaged")
    await connection.execute(DAMAGE["all days of an account are lost"], ledger_id)
    for report_type in CATALOG:
        body = {"ledger": "damaged", "report_type": report_type}
        async with service.client.post("/api/sync", json=body) as answer:
            assert answer.status == 500
            assert answer.content_type == "application/problem+json"
            problem = await answer.json()
        assert problem["type"] == "/problems/report-failed"
        failed = [check["name"] for check in problem["checks"] if not check["ok"]]
        assert problem["check"] == failed[0]
        assert problem["check"] in problem["detail"]

        async with service.client.post("/api/async", json=body) as answer:
            assert answer.status == 202
            accepted = await answer.json()
        for id in (problem["id"], accepted["id"]):
            ended = await service.ended(id)
            error: Any = ended["error"]
            assert ended["status"] == "FAILED"
            assert (error["type"], error["check"]) == ("/problems/report-failed", problem["check"])
            assert ended["result_payload"] is None
            async with service.client.get(f"/api/reports/{id}.csv") as answer:
                assert answer.status == 404
    assert (service.engine.files.ids(), list(settings.reports_dir.iterdir())) == ([], [])


def delete_before(monkeypatch: pytest.MonkeyPatch, name: str, connection: Connection, ledger: str) -> None:
    """Deletes a ledger whenever a function of `reportsim.reports.generate` is about to run."""
    wrapped = getattr(generation, name)

    async def deleting(*args: Any) -> Any:
        await ledgers.delete(connection, ledger)
        return await wrapped(*args)

    monkeypatch.setattr(generation, name, deleting)


@pytest.mark.parametrize("report_type", CATALOG)
async def test_a_ledger_that_is_deleted_before_its_report_is_named_as_the_reason(
    connection: Connection, service: Service, monkeypatch: pytest.MonkeyPatch, report_type: str
) -> None:
    await store(connection, small(), "short-lived")
    delete_before(monkeypatch, "select", connection, "short-lived")
    async with service.client.post("/api/sync", json={"ledger": "short-lived", "report_type": report_type}) as answer:
        problem = await answer.json()
    assert (answer.status, problem["detail"]) == (500, "The ledger was deleted.")
    assert "checks" not in problem


async def test_a_ledger_that_is_deleted_before_its_entries_are_streamed_is_named_as_the_reason(
    connection: Connection, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledgers.generate(connection, "short-lived", lines=MAX_ENTRIES + 1, seed=1)
    delete_before(monkeypatch, "stream", connection, "short-lived")
    body = {"ledger": "short-lived", "report_type": "general_ledger"}
    async with service.client.post("/api/sync", json=body) as answer:
        problem = await answer.json()
    assert (answer.status, problem["detail"]) == (500, "The ledger was deleted.")


async def test_a_ledger_that_is_deleted_while_its_file_is_made_again_is_gone(
    connection: Connection, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(connection, small(), "short-lived")
    async with service.client.post("/api/sync", json={"ledger": "short-lived"}) as answer:
        made = await answer.json()
    service.engine.files.remove([UUID(made["id"])])
    delete_before(monkeypatch, "select", connection, "short-lived")
    async with service.client.get(made["links"]["report"]) as answer:
        assert (answer.status, (await answer.json())["type"]) == (410, "/problems/report-expired")


COMPARED_CHECKS: Final = [
    (report.name, check.name)
    for report in CATALOG.values()
    if (variant := report.variants.get("compare"))
    for check in variant.checks[len(report.checks) :]
]


@pytest.mark.parametrize(("report_type", "check"), COMPARED_CHECKS)
def test_every_check_of_a_comparison_can_fail_by_itself(report_type: str, check: str) -> None:
    broken = BREAKS[report_type, check.removeprefix("compare_")]
    zeros = dict.fromkeys([*CATALOG[report_type].totals, "net_assets_gained", "entries_sum"], 0)
    compared = {f"compare_{name}": value for name, value in (zeros | broken).items()}
    figures: dict[str, int] = defaultdict(int, compared)
    with pytest.raises(Problem) as raised:
        conclude(CATALOG[report_type].variants["compare"], figures, "EUR", 2)
    assert [found["name"] for found in raised.value.members["checks"] if not found["ok"]] == [check]


async def test_damage_before_the_days_that_are_compared_is_noticed(connection: Connection, pool: Pool) -> None:
    ledger_id = await store(connection, small())
    await connection.execute(DAMAGE["an opening balance is changed"], ledger_id)
    request = request_for(ledger_id, "trial_balance", {**YEAR, "compare": "previous_year"})
    with pytest.raises(Problem) as raised:
        await make(pool, request)
    assert "compare_closing_balances" in raised.value.detail


@pytest.mark.parametrize("options", [{}, {"cash_only": True}])
async def test_debits_are_not_held_against_credits_where_accounts_are_selected(
    connection: Connection, pool: Pool, options: dict[str, Any]
) -> None:
    ledger_id = await store(connection, small())
    for selected, is_checked in (({}, True), ({"account_codes": ["1000"]}, False)):
        _, report = await make(pool, request_for(ledger_id, "general_ledger", {**YEAR, **options, **selected}))
        assert ("debits_equal_credits" in {check["name"] for check in report.checks}) is is_checked


@pytest.mark.parametrize(
    ("check", "damage"),
    [
        ("entries_are_kept_totals", "cash is changed"),
        ("entries_are_kept_totals", "an amount is changed"),
        ("debits_equal_credits", "an amount is changed"),
        ("entries_are_kept_totals", "a line is moved out"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_damage_to_entries_with_cash_is_noticed(
    connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch, check: str, damage: str, streamed: bool
) -> None:
    book = small()
    ledger_id = await store(connection, book)
    request = request_for(ledger_id, "general_ledger", {**YEAR, "cash_only": True})
    if streamed:
        variant = CATALOG["general_ledger"].variants["cash_only"]
        statement = variant.statement.replace(str(MAX_ENTRIES), "3")
        report = replace(CATALOG["general_ledger"], variants={"cash_only": replace(variant, statement=statement)})
        monkeypatch.setitem(CATALOG, "general_ledger", report)
    made, _ = await make(pool, request)
    assert made == expected(book, "general_ledger", {**YEAR, "cash_only": True})
    await connection.execute(DAMAGE[damage], ledger_id)
    with pytest.raises(Problem) as raised:
        await make(pool, request)
    assert check in raised.value.detail


@pytest.mark.parametrize("options", [{}, {"cash_only": True}])
@pytest.mark.parametrize(
    ("lengths", "streams"),
    [
        ([MAX_DESCRIPTION], False),
        ([MAX_DESCRIPTION + 1], True),
        ([1, MAX_DESCRIPTION + 1, 1], True),
        ([MAX_DESCRIPTION] * (MAX_BYTES // MAX_DESCRIPTION // 2 - 1), False),
        ([MAX_DESCRIPTION] * (MAX_BYTES // MAX_DESCRIPTION // 2 + 1), True),
    ],
    ids=["longest", "too long", "one too long", "as much as fits", "too much"],
)
async def test_long_descriptions_are_streamed_and_in_the_file(
    connection: Connection,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    lengths: list[int],
    streams: bool,
) -> None:
    # Bytes count, not characters, and what a cell needs around them does not.
    entries = [
        entry
        for number, length in enumerate(lengths, start=1)
        for entry in transaction(
            number, date(2025, 3, 3), ("1000", 5), ("4000", -5), description='"é' * (length // 3) + "x" * (length % 3)
        )
    ]
    book = Book(accounts=CHART, entries=entries)
    ledger_id = await store(connection, book)
    streamed = 0
    stream = generation.stream

    async def count(*args: Any) -> Any:
        nonlocal streamed
        streamed += 1
        return await stream(*args)

    monkeypatch.setattr(generation, "stream", count)
    parameters = {**YEAR, **options}
    made, _ = await make(pool, request_for(ledger_id, "general_ledger", parameters))
    assert made == expected(book, "general_ledger", parameters)
    assert bool(streamed) is streams
