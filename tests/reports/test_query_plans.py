"""How report statements find their rows once they are prepared: kept totals alone, and entries by an index."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import pytest

from reportsim.core.model import Ledger
from reportsim.reports.catalog import select_report
from reportsim.reports.generate import literal
from reportsim.store import ledger_totals, ledgers
from reportsim.store.pool import Connection

LINES: Final = 50_000
YEAR: Final = {"from": "2025-01-01", "to": "2026-01-01"}
QUARTER: Final = {"from": "2025-07-01", "to": "2025-10-01"}
DAY: Final = {"from": "2025-06-01", "to": "2025-06-02"}
# After five plans for the values given, PostgreSQL decides whether one for all of them is as good.
SETTLED: Final = 7


@pytest.fixture
async def large(connection: Connection) -> tuple[Connection, Ledger]:
    """A ledger of which most statements should see next to nothing."""
    ledger = await ledgers.generate(connection, "large", lines=LINES, seed=1, first_on=date(2025, 1, 1))
    return connection, ledger


async def plan(connection: Connection, ledger: Ledger, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of the plan that a report's statement settles on, with the rows that they returned."""
    report_type = select_report({"report_type": name, **parameters})
    arguments = (ledger.ledger_id, ledger.version, True, *report_type.arguments(parameters))
    await connection.execute(f"PREPARE settled AS {report_type.statement}")
    values = ", ".join(map(literal, arguments))
    for _ in range(SETTLED):
        text = await connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) EXECUTE settled ({values})")
    await connection.execute("DEALLOCATE settled")
    return list(nodes(json.loads(text)[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a plan and all below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def rows(found: list[dict[str, Any]], table: str) -> int:
    """How many rows of a table were read, with those that a filter removed."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in found
        if node.get("Relation Name") == table
    )


@pytest.mark.parametrize(
    ("name", "parameters", "most"),
    [
        ("trial_balance", YEAR, 50),
        ("balance_sheet", {"as_of": "2025-12-31"}, 50),
        ("cash_flow", YEAR, 50),
        ("income_statement", YEAR, 100),
        # Two look-ups for each month of 12 accounts.
        ("income_statement", {**YEAR, "group_by": "month"}, 400),
        ("trial_balance", {**QUARTER, "compare": "previous_year"}, 150),
        ("balance_sheet", {"as_of": "2025-12-31", "compare": "previous_year"}, 150),
        ("cash_flow", {**QUARTER, "compare": "previous_period"}, 150),
        ("income_statement", {**QUARTER, "compare": "previous_period"}, 150),
    ],
)
async def test_reports_of_balances_read_kept_totals_alone(
    large: tuple[Connection, Ledger], name: str, parameters: dict[str, Any], most: int
) -> None:
    found = await plan(*large, name, parameters)
    assert {node["Relation Name"] for node in found if "Relation Name" in node} == {"ledgers", "accounts", "balances"}
    assert 0 < rows(found, "balances") <= most


@pytest.mark.parametrize("parameters", [DAY, {**YEAR, "account_codes": ["3000"]}, {**DAY, "account_codes": ["1000"]}])
async def test_a_general_ledger_reads_its_own_entries_by_their_index(
    large: tuple[Connection, Ledger], parameters: dict[str, Any]
) -> None:
    found = await plan(*large, "general_ledger", parameters)
    (entries,) = (node for node in found if node.get("Relation Name") == "postings")
    assert entries["Index Name"] == "postings_account_day"
    listed = rows(found, "postings")
    assert 0 < listed <= 400
    if parameters == DAY:
        connection, ledger = large
        count = "SELECT count(*) FROM postings WHERE ledger_id = $1 AND posted_on = '2025-06-01'"
        assert listed == await connection.fetchval(count, ledger.ledger_id)


@pytest.mark.parametrize("parameters", [DAY, {**YEAR, "account_codes": ["3000"]}])
async def test_entries_with_cash_are_found_by_indexes(
    large: tuple[Connection, Ledger], parameters: dict[str, Any]
) -> None:
    found = await plan(*large, "general_ledger", {**parameters, "cash_only": True})
    indexes = {node["Index Name"] for node in found if node.get("Relation Name") == "postings"}
    assert indexes == {"postings_account_day", "postings_pkey"}
    assert 0 < rows(found, "postings") <= 2_000


async def test_a_general_ledger_that_is_streamed_reads_no_entries_before(large: tuple[Connection, Ledger]) -> None:
    assert rows(await plan(*large, "general_ledger", YEAR), "postings") == 0


async def explain(connection: Connection, statement: str, *values: int) -> list[dict[str, Any]]:
    """The nodes of the plan of a statement for these values, with the rows that they returned."""
    for number, value in enumerate(values, start=1):
        statement = statement.replace(f"${number}", str(value))
    text = await connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) {statement}")
    return list(nodes(json.loads(text)[0]["Plan"]))


async def test_an_append_reads_what_its_version_has_written_alone(large: tuple[Connection, Ledger]) -> None:
    """Whatever a ledger has already, the cost of adding to it is that of what is added."""
    connection, ledger = large
    found = await explain(connection, ledger_totals.SELECT_FAULTS, ledger.ledger_id, 2, 2)
    assert rows(found, "postings") == rows(found, "balances") == 0
    indexes = {node["Index Name"] for node in found if node["Node Type"] == "Bitmap Index Scan"}
    assert indexes == {"postings_version", "balances_version"}


async def insert_again(connection: Connection, ledger: Ledger, version: int) -> None:
    """The first transactions of a ledger once more, in a later version."""
    await connection.execute(
        "INSERT INTO postings SELECT ledger_id, transaction_id + 1000000 * $2, line_no, account_id, $2, posted_on,"
        " amount, description FROM postings WHERE ledger_id = $1 AND transaction_id <= 1000",
        ledger.ledger_id,
        version,
    )


async def test_a_version_that_statistics_do_not_know_is_added_up_in_one_pass(large: tuple[Connection, Ledger]) -> None:
    connection, ledger = large
    await insert_again(connection, ledger, 2)
    found = await explain(connection, ledger_totals.WRITE, ledger.ledger_id, 2, 2)
    days = await connection.fetchval("SELECT count(*) FROM balances WHERE ledger_id = $1", ledger.ledger_id)
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in found) <= days


async def test_an_append_that_goes_back_in_time_reads_later_days_once(large: tuple[Connection, Ledger]) -> None:
    """However many versions have written them."""
    connection, ledger = large
    for version in range(2, 7):
        await insert_again(connection, ledger, version)
        await ledger_totals.write(connection, ledger.ledger_id, version, 2_580)
    written = await connection.fetchval(
        "SELECT count(*) FROM balances WHERE ledger_id = $1 AND version = 6", ledger.ledger_id
    )
    assert written > 2_000
    found = await explain(connection, ledger_totals.SELECT_FAULTS_BUT_CASH, ledger.ledger_id, 6, 6)
    # A day is looked up, and then its row of the version.
    assert rows([node for node in found if node["Node Type"] == "Index Only Scan"], "balances") <= 2 * written


async def test_the_first_version_looks_for_no_older_totals(large: tuple[Connection, Ledger]) -> None:
    """Before an account's first day there are none: it would be all its days that are read for each of them."""
    connection, ledger = large
    found = await explain(connection, ledger_totals.SELECT_FAULTS_BUT_CASH, ledger.ledger_id, 1, 1)
    assert [node["Actual Loops"] for node in found if node.get("Scan Direction") == "Backward"] == [0]
