"""The invariants: a report that does not add up fails, says which check failed, and leaves no file."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from reportsim.core.problems import Problem
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.generate import conclude, generate, prepared_for
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.pool import Connection, Pool
from tests.conftest import Service
from tests.reports.books import request_for, store, store_entries, transaction
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

# Damage to the ledger of `small`, and the checks that must notice it. $1 is the ledger.
OF: Final = "WHERE ledger_id = $1 AND transaction_id"
DAMAGE: Final = {
    "a line is deleted": f"DELETE FROM postings {OF} = 8 AND line_no = 1",
    "an earlier line is deleted": f"DELETE FROM postings {OF} = 2 AND line_no = 2",
    "an amount is changed": f"UPDATE postings SET amount = amount + 1 {OF} = 10 AND line_no = 1",
    "both amounts are changed": f"UPDATE postings SET amount = amount * 2 {OF} = 8",
    "a line is moved out": f"UPDATE postings SET posted_on = '2026-01-01' {OF} = 8 AND line_no = 1",
    "a transaction is moved out": f"UPDATE postings SET posted_on = '2026-01-01' {OF} = 8",
    "a line is moved to an account that is not there": f"UPDATE postings SET account_id = 77 {OF} = 8 AND line_no = 1",
    "a transaction is moved to an account that is not there": f"UPDATE postings SET account_id = 77 {OF} = 8",
    "the last account has moved in secret": (
        "INSERT INTO postings SELECT ledger_id, 99, line_no, account_id, 1, '2025-03-03', amount, ''"
        f" FROM postings {OF} = 6"
    ),
}
NOTICED: Final = [
    ("trial_balance", "debits_equal_credits", "a line is deleted"),
    ("trial_balance", "debits_equal_credits", "an amount is changed"),
    ("trial_balance", "opening_balances", "an earlier line is deleted"),
    ("trial_balance", "closing_balances", "a line is moved out"),
    ("trial_balance", "opening_plus_period_is_closing", "both amounts are changed"),
    ("trial_balance", "opening_plus_period_is_closing", "a transaction is moved out"),
    ("trial_balance", "period_is_general_ledger", "a transaction is moved to an account that is not there"),
    ("income_statement", "net_income_is_change_of_net_assets", "a line is deleted"),
    ("income_statement", "net_income_is_change_of_net_assets", "a line is moved out"),
    ("balance_sheet", "assets_equal_liabilities_and_equity", "an earlier line is deleted"),
    (
        "balance_sheet",
        "assets_equal_liabilities_and_equity",
        "a line is moved to an account that is not there",
    ),
    ("balance_sheet", "entries_sum_to_zero", "an amount is changed"),
    ("cash_flow", "opening_plus_change_is_closing", "a line is deleted"),
    ("cash_flow", "opening_plus_change_is_closing", "an amount is changed"),
    ("cash_flow", "opening_plus_change_is_closing", "a line is moved out"),
    ("general_ledger", "debits_equal_credits", "an amount is changed"),
    ("general_ledger", "debits_equal_credits", "a line is moved out"),
    ("general_ledger", "rows_are_entries", "a transaction is moved to an account that is not there"),
    ("general_ledger", "last_balance_is_closing", "the last account has moved in secret"),
]

LAST_MOVES: Final = Book(
    accounts=CHART, entries=transaction(99, date(2025, 3, 3), ("9999", 5), ("1000", -5), description="Late")
)

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
    ("general_ledger", "debits_equal_credits"): {"whole": 1, "debit": 1},
    ("general_ledger", "last_balance_is_closing"): {"rows": 1, "entries": 1, "last_balance": 1},
}


async def failure(pool: Pool, folder: Path, ledger_id: int, report_type: str, version: int = 1) -> Problem:
    """The problem that a report ends with; no file may be left."""
    files = ReportFiles(folder, 1_000_000)
    request = request_for(ledger_id, report_type, ASKED[report_type], version=version)
    with pytest.raises(Problem) as raised, files.draft(request.id) as draft:
        await generate(pool, request, draft)
    assert list(folder.iterdir()) == []
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


@pytest.mark.parametrize(
    ("report_type", "check"),
    [("trial_balance", "opening_plus_period_is_closing"), ("general_ledger", "last_balance_is_closing")],
)
async def test_balances_that_were_changed_are_noticed(
    connection: Connection, pool: Pool, tmp_path: Path, report_type: str, check: str
) -> None:
    ledger_id = await store(connection, small())
    # The last account of all, on a day between the opening and the closing of the year.
    await store_entries(connection, ledger_id, LAST_MOVES, version=2)
    await connection.execute("UPDATE balances SET amount = amount + 1 WHERE ledger_id = $1 AND version = 2", ledger_id)
    problem = await failure(pool, tmp_path, ledger_id, report_type, version=2)
    assert problem.members["check"] == check


@pytest.mark.parametrize(("report_type", "check"), CHECKS)
def test_every_check_can_fail_by_itself_and_is_named(report_type: str, check: str) -> None:
    figures: dict[str, int] = defaultdict(int, BREAKS[report_type, check])
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
    await connection.execute(DAMAGE["a line is deleted"], ledger_id)
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
    assert list(settings.reports_dir.iterdir()) == []


@pytest.mark.parametrize("report_type", CATALOG)
async def test_a_ledger_that_is_deleted_during_its_report_is_named_as_the_reason(
    connection: Connection, service: Service, monkeypatch: pytest.MonkeyPatch, report_type: str
) -> None:
    """Between the figures and the rows."""
    await store(connection, small(), "short-lived")

    @contextlib.asynccontextmanager
    async def deleting(lent: Connection, entries: int) -> AsyncIterator[None]:
        await ledgers.delete(connection, "short-lived")
        async with prepared_for(lent, entries):
            yield

    monkeypatch.setattr("reportsim.reports.generate.prepared_for", deleting)
    async with service.client.post("/api/sync", json={"ledger": "short-lived", "report_type": report_type}) as answer:
        problem = await answer.json()
    assert (answer.status, problem["detail"]) == (500, "The ledger was deleted.")
    assert "checks" not in problem


async def test_a_ledger_that_is_deleted_while_its_file_is_made_again_is_gone(
    connection: Connection, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(connection, small(), "short-lived")
    async with service.client.post("/api/sync", json={"ledger": "short-lived"}) as answer:
        made = await answer.json()
    service.engine.files.remove([UUID(made["id"])])

    @contextlib.asynccontextmanager
    async def deleting(lent: Connection, entries: int) -> AsyncIterator[None]:
        await ledgers.delete(connection, "short-lived")
        yield

    monkeypatch.setattr("reportsim.reports.generate.prepared_for", deleting)
    async with service.client.get(made["links"]["report"]) as answer:
        assert (answer.status, (await answer.json())["type"]) == (410, "/problems/report-expired")
