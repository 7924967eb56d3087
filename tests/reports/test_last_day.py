"""The first and the last day of the calendar are in every report."""

from datetime import date
from typing import Any
from uuid import UUID

import pytest

from reportsim.reports.general_ledger import MAX_BYTES
from reportsim.store.pool import Connection
from tests.conftest import Service
from tests.reports.books import entries, store, transaction
from tests.reports.oracle import Account, Book

CHART = [
    Account(code="1", name="Bank", type="asset", is_cash=True, cf_section="cash"),
    Account(code="2", name="Capital", type="equity"),
    Account(code="4", name="Sales", type="revenue"),
]
FIRST, LAST = date.min, date.max
WHOLE = entries(
    transaction(1, FIRST, ("1", 1), ("2", -1)),
    transaction(2, date(9999, 12, 30), ("1", 20), ("4", -20)),
    transaction(3, LAST, ("1", 300), ("4", -300)),
)
ONLY_LAST = transaction(1, LAST, ("1", 300), ("4", -300))
INTERVALS = ["trial_balance", "income_statement", "cash_flow", "general_ledger"]
MOVED = {
    "trial_balance": "period_debit",
    "income_statement": "revenue",
    "cash_flow": "net_change",
    "general_ledger": "debit",
}


async def made(service: Service, **body: Any) -> Any:
    async with service.client.post("/api/sync", json={"ledger": "edge", **body}) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.parametrize("report_type", INTERVALS)
async def test_the_last_day_is_in_what_reaches_it(service: Service, connection: Connection, report_type: str) -> None:
    await store(connection, Book(accounts=CHART, entries=WHOLE), "edge")
    last, name = LAST.isoformat(), MOVED[report_type]
    whole = 320 if report_type == "income_statement" else 321
    for window, moved in (
        ({}, whole),
        ({"to": last}, whole),
        ({"from": last}, 300),
        ({"from": last, "to": last}, 300),
        ({"to": "9999-12-30"}, whole - 320),
        ({"from": "9999-12-30"}, 320),
    ):
        report = await made(service, report_type=report_type, **window)
        assert report["result_payload"]["totals"][name] == moved, window


async def test_the_days_before_the_last_open_it(service: Service, connection: Connection) -> None:
    await store(connection, Book(accounts=CHART, entries=WHOLE), "edge")
    last = LAST.isoformat()
    assert (await made(service, **{"from": last}))["result_payload"]["totals"]["opening_debit"] == 21
    cash = (await made(service, report_type="cash_flow", **{"from": last}))["result_payload"]["totals"]
    assert (cash["opening_cash"], cash["closing_cash"]) == (21, 321)
    report = await made(service, report_type="general_ledger", account_codes=["1"], **{"from": last})
    async with service.client.get(report["links"]["report"]) as answer:
        assert (await answer.text()).splitlines()[1] == f'1,Bank,{last},3,3.00,0.00,3.21,""'


@pytest.mark.parametrize("group_by", ["month", "quarter"])
async def test_the_last_period_holds_the_last_day(service: Service, connection: Connection, group_by: str) -> None:
    await store(connection, Book(accounts=CHART, entries=WHOLE), "edge")
    report = await made(service, report_type="income_statement", group_by=group_by)
    async with service.client.get(report["links"]["report"]) as answer:
        lines = (await answer.text()).splitlines()
    assert lines[1:] == [f"revenue,4,Sales,9999-{'12' if group_by == 'month' else '10'}-01,3.20"]


@pytest.mark.parametrize("day", [FIRST, LAST])
@pytest.mark.parametrize("report_type", [*INTERVALS, "balance_sheet"])
async def test_a_ledger_of_one_such_day(service: Service, connection: Connection, report_type: str, day: date) -> None:
    only = transaction(1, day, ("1", 300), ("4", -300))
    await store(connection, Book(accounts=CHART, entries=only), "edge")
    report = await made(service, report_type=report_type)
    assert report["result_payload"]["totals"][MOVED.get(report_type, "assets")] == 300
    # A file that is gone is made again, the same.
    service.engine.files.remove([UUID(report["id"])])
    async with service.client.get(report["links"]["report"]) as answer:
        assert answer.status == 200
        assert answer.headers["ETag"] == f'"{report["result_payload"]["sha256"]}"'


@pytest.mark.parametrize("window", [{}, {"from": LAST.isoformat()}, {"from": "0001-01-01", "to": LAST.isoformat()}])
async def test_entries_too_large_for_one_row_are_listed_up_to_the_last_day(
    service: Service, connection: Connection, window: dict[str, str]
) -> None:
    """They are streamed by COPY, which takes no parameters: the days are written into its text."""
    long = "x" * (MAX_BYTES // 2 + 1)
    of_days = entries(
        transaction(1, FIRST, ("1", 1), ("2", -1), description=long),
        transaction(2, LAST, ("1", 300), ("4", -300), description=long),
    )
    await store(connection, Book(accounts=CHART, entries=of_days), "edge")
    report = await made(service, report_type="general_ledger", **window)
    listed = 300 if window.get("from") == LAST.isoformat() else 301
    assert report["result_payload"]["totals"] == {"debit": listed, "credit": listed}
    assert report["result_payload"]["rows"] == (2 if listed == 300 else 4)
    async with service.client.get(report["links"]["report"]) as answer:
        assert (await answer.text()).count(f",{LAST.isoformat()},2,") == 2


async def test_the_page_asks_for_the_last_day(service: Service, connection: Connection) -> None:
    await store(connection, Book(accounts=CHART, entries=ONLY_LAST), "edge")
    form = {"mode": "sync", "report_type": "trial_balance", "ledger": "edge", "from": "9999-12-31", "to": "9999-12-31"}
    for fields in (form, {**form, "from": "", "to": ""}):
        async with service.client.post("/", data=fields, headers={"Origin": service.url}) as answer:
            assert answer.status == 200, await answer.text()
            ended = await service.ended(answer.url.name)
        assert ended["result_payload"]["totals"]["period_debit"] == 300  # type: ignore[index]


async def test_an_empty_interval_is_refused_as_ever(service: Service, connection: Connection) -> None:
    await store(connection, Book(accounts=CHART, entries=WHOLE), "edge")
    body = {"ledger": "edge", "from": "9999-12-30", "to": "9999-12-30"}
    async with service.client.post("/api/sync", json=body) as answer:
        assert answer.status == 422
