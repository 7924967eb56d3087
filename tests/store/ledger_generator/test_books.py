"""The generated books are those of a company, whatever their size, seed and window."""

from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reportsim.store import ledgers
from reportsim.store.ledger_generator.layout import lay_out
from reportsim.store.ledger_generator.templates import CHART, TEMPLATES, lines_of
from reportsim.store.pool import Connection
from tests.store.ledger_generator.books import KEYS, Books, expand
from tests.store.test_ledgers import SEEDS, entries, undone

LINES = st.one_of(st.integers(4, 200), st.integers(200, 3_000))
FIRST = st.dates(date(2024, 1, 1), date(2025, 12, 31))
SPANS = st.one_of(st.integers(1, 60), st.integers(60, 1_200), st.integers(1_200, 36_500))
MANY = settings(max_examples=120, deadline=None)
SIZES = [1_000, 2_000, 20_000]


def count(lines: int, days: int) -> int:
    """How many lines a layout has."""
    layout = lay_out(lines, 42, date(2025, 1, 1), days)
    return sum(
        (stretch.high - stretch.low + 1) * sum(lines_of(KEYS[item.template]) for item in items)
        for stretch in layout.stretches
        for items in [layout.items[stretch.item_low - 1 : stretch.item_high]]
    )


def test_every_template_sums_to_zero() -> None:
    for template in TEMPLATES.values():
        assert sum(factor for _, factor in template.lines) == 0
        assert {account for account, _ in template.lines} <= {code for code, *_ in CHART}


@pytest.mark.parametrize(("days", "step"), [(1, 97), (31, 97), (365, 97), (1_096, 97), (36_500, 4_999)])
def test_every_number_of_lines_is_met(days: int, step: int) -> None:
    for lines in [*range(4, 400), *range(400, 20_000, step), 100_000, 999_999, 10_000_000, 20_000_000]:
        assert count(lines, days) == lines, lines


@MANY
@given(lines=LINES, seed=SEEDS, first_on=FIRST, days=SPANS)
@example(lines=4, seed=0, first_on=date.min, days=36_500)
@example(lines=1_000, seed=0, first_on=date(9999, 12, 2), days=30)
def test_books_are_sound(lines: int, seed: int, first_on: date, days: int) -> None:
    books = Books(lines, seed, first_on, days)
    assert len(books.lines) == lines
    assert 0 not in {line.amount for line in books.lines}
    sums = Counter[int]()
    for line in books.lines:
        sums[line.transaction] += line.amount
    assert set(sums.values()) == {0}
    happened = [line.day for line in books.lines]
    assert happened == sorted(happened)
    assert happened[0] == 0
    assert happened[-1] < days


@MANY
@given(lines=LINES, seed=SEEDS, first_on=FIRST, days=SPANS)
@example(lines=102, seed=1_257_106_942, first_on=date(2025, 5, 1), days=26_510)
@example(lines=20_000, seed=1, first_on=date(2025, 1, 1), days=3_652)
def test_nothing_is_spent_or_sold_before_it_is_there(lines: int, seed: int, first_on: date, days: int) -> None:
    books = Books(lines, seed, first_on, days)
    for account in ("1000", "1010", "1100", "1200"):
        assert books.lowest[account] >= 0, account


@MANY
@given(lines=st.one_of(st.integers(12, 200), st.integers(200, 3_000)), seed=SEEDS, first_on=FIRST, days=SPANS)
@example(lines=100_000, seed=42, first_on=date(2025, 1, 1), days=365)
def test_margins_are_those_of_a_company(lines: int, seed: int, first_on: date, days: int) -> None:
    books = Books(lines, seed, first_on, days)
    assert 0.30 <= books.gross_margin <= 0.45
    if lines >= 40:
        assert 0.03 <= books.net_margin <= 0.20


@MANY
@given(lines=st.one_of(st.integers(50, 200), st.integers(200, 3_000)), seed=SEEDS, first_on=FIRST, days=SPANS)
def test_customers_owe_about_a_month(lines: int, seed: int, first_on: date, days: int) -> None:
    books = Books(lines, seed, first_on, days)
    owed = books.days_of_sales_outstanding
    assert 20 <= owed <= 60 if days >= 90 else owed <= 60


@MANY
@given(lines=st.integers(1_600, 3_000), seed=SEEDS, months=st.integers(2, 24))
@example(lines=100_000, seed=42, months=12)
def test_vat_is_settled_every_month(lines: int, seed: int, months: int) -> None:
    first_on = date(2024, 1, 1)
    ends = [date(2024 + month // 12, month % 12 + 1, 1) - timedelta(days=1) for month in range(1, months + 1)]
    books = Books(lines, seed, first_on, (ends[-1] - first_on).days + 1)
    for end in ends:
        closing = books.closings[(end - first_on).days]
        assert closing["2100"] == closing["1300"] == 0
        assert closing["2150"] != 0
    paid = Counter[int]()
    returned = Counter[int]()
    for line in books.lines:
        day = first_on + timedelta(days=line.day)
        month = day.year * 12 + day.month
        if line.account == "2150":
            if line.key == "vat_paid":
                paid[month - 1] += line.amount
            else:
                returned[month] += line.amount
    assert len(returned) == months
    last = max(returned)
    assert paid == {month: -amount for month, amount in returned.items() if month < last}


@pytest.mark.parametrize("lines", SIZES)
@pytest.mark.parametrize("seed", [0, 42, 2**31 - 1])
def test_each_invoice_is_paid_in_the_next_month(lines: int, seed: int) -> None:
    invoiced, paid = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for line in Books(lines, seed).lines:
        month = (date(2025, 1, 1) + timedelta(days=line.day)).month
        if line.account == "1100":
            if line.amount > 0:
                invoiced[month, line.amount] += 1
            else:
                paid[month - 1, -line.amount] += 1
    assert paid == Counter({(month, amount): n for (month, amount), n in invoiced.items() if month < 12})


@pytest.mark.parametrize("lines", [2_000, 20_000])
@pytest.mark.parametrize("seed", [0, 42, 2**31 - 1])
def test_sales_grow_and_have_seasons(lines: int, seed: int) -> None:
    sales = Counter[tuple[int, int]]()
    for line in Books(lines, seed, days=731).lines:
        day = date(2025, 1, 1) + timedelta(days=line.day)
        sales[day.year, day.month] -= line.amount if line.account in {"4000", "4100"} else 0
    assert all(sales[2026, month] > sales[2025, month] for month in range(1, 13))
    assert all(sales[year, 12] > 1.2 * sales[year, 1] for year in (2025, 2026))


@pytest.mark.parametrize("lines", [2_000, 100_000])
def test_figures_that_mean_different_things_differ(lines: int) -> None:
    figures = Counter[str]()
    for line in Books(lines).lines:
        figures[line.account] += abs(line.amount)
        figures[line.key] += abs(line.amount) if line.account == "4000" else 0
    services, vat, cash = figures["4100"], figures["2100"] // 2, figures["cash_sale"]
    for one, other in ((services, vat), (vat, cash), (services, cash), (figures["6400"], figures["6900"])):
        assert abs(one - other) > 0.05 * max(one, other)


@pytest.mark.parametrize("lines", [*SIZES, 100_000])
def test_the_loan_is_paid_back_and_the_equipment_written_off(lines: int) -> None:
    books = Books(lines)
    loan = -next(line.amount for line in books.lines if line.account == "2500")
    repaid = [line.amount for line in books.lines if line.key == "loan_repaid" and line.account == "2500"]
    assert len(repaid) == 12
    assert -books.balances["2500"] == loan - sum(repaid)
    assert sum(repaid) == pytest.approx(loan / 5, rel=0.001)
    interest = [line.amount for line in books.lines if line.account == "6500"]
    assert interest == sorted(interest, reverse=True)
    assert sum(interest) == pytest.approx(0.05 * loan * (1 - 5.5 / 60), rel=0.001)
    assert 0 < -books.balances["1590"] < books.balances["1500"]
    assert books.balances["3000"] < 0


async def test_the_database_writes_these_books(connection: Connection) -> None:
    codes = [code for code, *_ in CHART]
    for lines, seed, days in ((40, 42, 365), (63, 1, 1), (500, 2**31 - 1, 700), (3_001, 7, 365), (2_000, 9, 36_500)):
        async with undone(connection):
            made = await ledgers.generate(connection, "made", lines=lines, seed=seed, days=days)
            written = [(row[0], row[1], codes[row[2] - 1], *row[4:]) for row in await entries(connection, made)]
        assert written == [
            (
                line.transaction,
                line.number,
                line.account,
                made.first_on + timedelta(days=line.day),
                line.amount,
                TEMPLATES[line.key].name,
            )
            for line in expand(lay_out(lines, seed, made.first_on, days), seed)
        ]
