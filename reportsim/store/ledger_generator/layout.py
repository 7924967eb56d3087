"""Which transactions a ledger has, in their order, so that they have exactly the lines that were asked for."""

from dataclasses import dataclass, fields
from datetime import date
from random import Random
from typing import Final

from reportsim.store.ledger_generator.budget import CREDIT, Amounts, make_budget
from reportsim.store.ledger_generator.periods import Period, are_months, make_periods
from reportsim.store.ledger_generator.templates import PAIR, PRIORITY, TEMPLATES, TRIPLE, Place, lines_of

NUMBERS: Final = {key: number for number, key in enumerate(TEMPLATES)}


@dataclass(frozen=True, slots=True)
class Item:
    """A transaction that repeats: its template, the amount of all rounds together, and which chances divide it."""

    template: int
    amount: int
    origin: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Transactions of some days, posted in turn, in the rounds from `low` to `high` of the `rounds` of these days.

    `before` is the number of the transaction before them; `item_low` and `item_high` say which items they are.
    """

    before: int
    low: int
    high: int
    rounds: int
    day: int
    days: int
    item_low: int
    item_high: int

    @property
    def last(self) -> int:
        """The number of the last transaction."""
        return self.before + (self.high - self.low + 1) * (self.item_high - self.item_low + 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """All stretches of a ledger, and their items."""

    stretches: list[Stretch]
    items: list[Item]

    def add(self, items: list[Item], days: range, *, low: int = 0, high: int = 0, rounds: int = 1) -> None:
        """Appends a stretch, unless nothing happens in it."""
        if items and low <= high:
            before = self.stretches[-1].last if self.stretches else 0
            first = len(self.items) + 1
            stretch = Stretch(before, low, high, rounds, days.start, len(days), first, len(self.items) + len(items))
            self.stretches.append(stretch)
            self.items.extend(items)

    def columns(self) -> list[list[int]]:
        """The columns of the stretches, and then those of the items."""
        return [
            *([getattr(stretch, field.name) for stretch in self.stretches] for field in fields(Stretch)),
            *([getattr(item, field.name) for item in self.items] for field in fields(Item)),
        ]


def lay_out(lines: int, seed: int, first_on: date, days: int) -> Layout:
    """The transactions of a ledger of `lines` lines, at least 4."""
    source = Random(seed)
    periods = make_periods(lines, source, first_on, days)
    budget = make_budget(periods, affordable(lines), source)
    traded = sum(lines_of(key) for amounts in budget for key in amounts if TEMPLATES[key].place is Place.TRADE)
    others = sum(lines_of(key) for amounts in budget for key in amounts) - traded
    # At least a pair of lines is left over in each period: one line would be none of a transaction.
    rounds = max(1, (lines - others - lines_of(PAIR) * len(periods)) // max(1, traded))
    left_over = lines - others - rounds * traded
    layout = Layout([], [])
    lag = 1 if are_months(periods) else 0
    for number, (period, amounts) in enumerate(zip(periods, budget, strict=True)):
        lay_out_trade(layout, period, amounts, rounds, number=number, lag=lag)
        share = left_over * (number + 1) // len(periods) - left_over * number // len(periods)
        lay_out_closing(layout, period, amounts, share)
    return layout


def affordable(lines: int) -> frozenset[str]:
    """The kinds of transactions that a ledger of so many lines can have in a period; one line is never left over."""
    kept: list[str] = []
    had = best = 0
    for number, key in enumerate(PRIORITY, start=1):
        had += lines_of(key)
        kept.append(key)
        if had == lines or had <= lines - lines_of(PAIR):
            best = number
    return frozenset(kept[:best])


def at(place: Place, amounts: Amounts, origin: int = 0, earlier: int = 0) -> list[Item]:
    """What happens at a place of a period; what is paid on credit was divided earlier."""
    return [
        Item(NUMBERS[key], amounts[key], earlier if key in CREDIT else origin)
        for key, template in TEMPLATES.items()
        if template.place is place and key in amounts
    ]


def lay_out_trade(layout: Layout, period: Period, amounts: Amounts, rounds: int, *, number: int, lag: int) -> None:
    """The opening, and trade with a break in the middle of the month."""
    days = range(period.first, period.first + period.days)
    items = at(Place.TRADE, amounts, number * rounds, (number - lag) * rounds)
    half = (rounds + 1) // 2
    layout.add(at(Place.OPENING, amounts), days[:1])
    layout.add(items, days, high=half - 1, rounds=rounds)
    layout.add(at(Place.MIDDLE, amounts), days[: half * period.days // rounds + 1][-1:])
    layout.add(items, days, low=half, high=rounds - 1, rounds=rounds)


def lay_out_closing(layout: Layout, period: Period, amounts: Amounts, lines: int) -> None:
    """The end of the month, with bank charges for the lines that are left over."""
    days = range(period.first, period.first + period.days)[-1:]
    charge = max(period.level // 10_000, 500)
    layout.add([Item(NUMBERS[TRIPLE], charge, 0)] if lines % 2 else [], days)
    pairs = (lines - lines_of(TRIPLE) * (lines % 2)) // lines_of(PAIR)
    layout.add([Item(NUMBERS[PAIR], charge * pairs, period.first)], days, high=pairs - 1, rounds=pairs)
    layout.add(at(Place.CLOSING, amounts), days)
