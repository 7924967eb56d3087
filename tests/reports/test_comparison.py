"""The days that a report is compared with."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from reportsim.reports.comparison import compared_days
from tests.conftest import Service
from tests.reports import oracle

PERIOD, YEAR = "previous_period", "previous_year"


@pytest.mark.parametrize(
    ("first", "after", "compare", "expected"),
    [
        ("2025-03-01", "2025-04-01", PERIOD, ("2025-02-01", "2025-03-01")),
        ("2025-01-01", "2025-02-01", PERIOD, ("2024-12-01", "2025-01-01")),
        ("2024-03-01", "2024-04-01", PERIOD, ("2024-02-01", "2024-03-01")),
        ("2025-01-01", "2025-04-01", PERIOD, ("2024-10-01", "2025-01-01")),
        ("2025-01-01", "2026-01-01", PERIOD, ("2024-01-01", "2025-01-01")),
        ("2025-05-01", "2025-07-01", PERIOD, ("2025-03-01", "2025-05-01")),
        ("2025-03-01", "2025-03-31", PERIOD, ("2025-01-30", "2025-03-01")),
        ("2024-02-29", "2024-03-01", PERIOD, ("2024-02-28", "2024-02-29")),
        ("2024-03-01", "2024-03-02", PERIOD, ("2024-02-29", "2024-03-01")),
        ("9999-12-01", "9999-12-31", PERIOD, ("9999-11-01", "9999-12-01")),
        ("9999-12-31", "9999-12-31", PERIOD, ("9999-12-30", "9999-12-31")),
        ("0001-02-01", "0001-03-01", PERIOD, ("0001-01-01", "0001-02-01")),
        ("2025-02-10", "2025-06-01", YEAR, ("2024-02-10", "2024-06-01")),
        ("2025-02-01", "2025-03-01", YEAR, ("2024-02-01", "2024-03-01")),
        ("2024-02-01", "2024-03-01", YEAR, ("2023-02-01", "2023-03-01")),
        ("2024-02-29", "2024-03-01", YEAR, ("2023-02-28", "2023-03-01")),
        ("2024-02-28", "2024-02-29", YEAR, ("2023-02-28", "2023-03-01")),
        ("2024-02-29", "2025-02-28", YEAR, ("2023-02-28", "2024-02-28")),
        ("9999-01-01", "9999-12-31", YEAR, ("9998-01-01", "9999-01-01")),
        ("9998-12-31", "9999-12-30", YEAR, ("9997-12-31", "9998-12-30")),
    ],
)
def test_intervals(first: str, after: str, compare: str, expected: tuple[str, str]) -> None:
    found = compared_days({"from": first, "to": after, "compare": compare})
    assert (found["from"], found["to"]) == expected


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("2025-12-31", "2024-12-31"),
        ("2025-02-28", "2024-02-29"),
        ("2024-02-29", "2023-02-28"),
        ("2024-02-28", "2023-02-28"),
        ("2024-03-01", "2023-03-01"),
        ("9999-12-31", "9998-12-31"),
        ("9999-12-30", "9998-12-30"),
        ("0002-01-01", "0001-01-01"),
    ],
)
def test_days(as_of: str, expected: str) -> None:
    assert compared_days({"as_of": as_of, "compare": YEAR}) == {"as_of": expected}


@given(
    first=st.dates(date(4, 1, 1), date(9990, 1, 1)), days=st.integers(1, 1_500), compare=st.sampled_from([PERIOD, YEAR])
)
def test_intervals_are_those_of_the_oracle(first: date, days: int, compare: str) -> None:
    after = first + timedelta(days=days)
    found = compared_days({"from": first.isoformat(), "to": after.isoformat(), "compare": compare})
    start, end = oracle.compared(first, after, compare)
    assert (found["from"], found["to"]) == (start.isoformat(), end.isoformat())
    assert start < end
    if compare == PERIOD:
        assert end == first


@pytest.mark.parametrize(
    "parameters",
    [
        {"from": "0001-01-01", "to": "0001-02-01", "compare": PERIOD},
        {"from": "0001-01-02", "to": "0001-01-10", "compare": PERIOD},
        {"from": "0001-05-01", "to": "9999-12-31", "compare": PERIOD},
        {"from": "0001-06-01", "to": "0002-01-01", "compare": YEAR},
        {"as_of": "0001-12-31", "compare": YEAR},
    ],
)
def test_there_is_nothing_before_the_calendar(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        compared_days(parameters)
    assert raised.value.messages == {"compare": ["The days to compare with are before 0001-01-01."]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"report_type": "balance_sheet", "compare": PERIOD}, "A balance sheet is of one day"),
        (
            {"report_type": "income_statement", "group_by": "month", "compare": YEAR},
            "Not with group_by month or quarter",
        ),
        ({"report_type": "general_ledger", "compare": YEAR}, "Unknown field."),
        ({"report_type": "cash_flow", "compare": "next_year"}, "Must be one of: previous_period, previous_year."),
        ({"report_type": "cash_flow", "compare": None}, "Field may not be null."),
        ({"from": "0001-01-01", "compare": PERIOD}, "before 0001-01-01"),
    ],
)
async def test_what_cannot_be_compared_is_refused(service: Service, body: dict[str, Any], said: str) -> None:
    async with service.client.post("/api/sync", json=body) as answer:
        assert answer.status == 422
        (error,) = (await answer.json())["errors"]
        assert error["pointer"] == "#/compare"
        assert said in error["detail"]


async def test_the_result_has_both_totals_and_the_difference(service: Service) -> None:
    body = {"report_type": "income_statement", "from": "2025-04-01", "to": "2025-07-01"}
    async with service.client.post("/api/sync", json={**body, "compare": PERIOD}) as answer:
        result = (await answer.json())["result_payload"]
    totals = []
    for days in ({}, {"from": "2025-01-01", "to": "2025-04-01"}):
        async with service.client.post("/api/sync", json={**body, **days}) as answer:
            found = (await answer.json())["result_payload"]
            assert "comparison" not in found
            totals.append(found["totals"])
    now, before = totals
    assert result["totals"] == now
    assert result["comparison"] == {
        "from": "2025-01-01",
        "to": "2025-04-01",
        "totals": before,
        "difference": {name: now[name] - before[name] for name in now},
    }
