"""The months of a ledger, and what the company turns over in each."""

from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Final

from reportsim.store.ledger_generator.templates import PERIOD_LINES

# The turnover of a period in cents: as much as its lines need for invoices of about a thousand, or this.
LEAST_TURNOVER: Final = 6_000_000
TURNOVER_PER_LINE: Final = 11_000

# Hundredths of an average month, January first.
SEASON: Final = (90, 92, 98, 100, 102, 100, 94, 92, 102, 105, 108, 117)
HALF_MONTH: Final = 15
PARTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Period:
    """A month, or several where the lines are too few for each; days count from the ledger's first one."""

    first: int
    days: int
    months: int
    # In cents: what costs are planned for, the same all year; and the net sales, which grow and have seasons.
    level: int
    sales: int


def month_starts(first_on: date, days: int) -> list[int]:
    """The days on which months begin; less than half a month at either end belongs to its neighbour."""
    starts = [0]
    for month in range(first_on.year * 12 + first_on.month, 12 * (date.max.year + 1)):
        day = date(month // 12, month % 12 + 1, 1).toordinal() - first_on.toordinal()
        if day > days - HALF_MONTH:
            break
        if day >= HALF_MONTH:
            starts.append(day)
    return starts


def make_periods(lines: int, source: Random, first_on: date, days: int) -> list[Period]:
    """The periods of a ledger, all of them together with the turnover that its number of lines stands for."""
    starts = month_starts(first_on, days)
    lengths = [after - start for start, after in zip(starts, [*starts[1:], days], strict=True)]
    weights = [PARTS if 28 <= length <= 31 else max(1, PARTS * length // 30) for length in lengths]
    count = max(1, min(len(starts), lines // PERIOD_LINES))
    total = count * max(LEAST_TURNOVER, lines // count * TURNOVER_PER_LINE)
    monthly = total * PARTS // sum(weights)
    grouped: list[list[Period]] = [[] for _ in range(count)]
    for month, (start, length, weight) in enumerate(zip(starts, lengths, weights, strict=True)):
        season = SEASON[date.fromordinal(first_on.toordinal() + start + length // 2).month - 1]
        chance = 970 + int(61 * source.random())
        level = monthly * weight * (100 + month // 12 * 12) // (100 * PARTS)
        sales = monthly * weight * (100 + month) * season * chance // (100 * 100 * 1_000 * PARTS)
        grouped[month * count // len(starts)].append(Period(start, length, 1, level, sales))
    return [combine(months) for months in grouped]


def are_months(periods: list[Period]) -> bool:
    """Whether each period is a month, and what it leaves unpaid can be paid in the next."""
    return len(periods) > 1 and all(period.months == 1 for period in periods)


def combine(months: list[Period]) -> Period:
    """Several months as one period."""
    return Period(
        first=months[0].first,
        days=sum(month.days for month in months),
        months=len(months),
        level=sum(month.level for month in months),
        sales=sum(month.sales for month in months),
    )
