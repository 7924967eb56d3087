"""The generator once more, in Python: the entries that the database is to write, and what they come to."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from reportsim.store.ledger_generator.layout import NUMBERS, Item, Layout, lay_out
from reportsim.store.ledger_generator.templates import SPLIT_LIKE, TEMPLATES

PRIME = 2**31 - 1
KEYS = list(TEMPLATES)


@dataclass(frozen=True)
class Line:
    """One line of a transaction; days count from the ledger's first."""

    transaction: int
    number: int
    key: str
    account: str
    day: int
    amount: int


def mix(i: int, seed: int, salt: int) -> int:
    """The hash that chance is made of."""
    x = (i * 48271 + seed * 69621 + salt * 16807 + 12345) % PRIME
    return (x * x % PRIME * 39373 + (i * 40692 + seed + salt * 7919) % PRIME) % PRIME


def amount_of(item: Item, round: int, rounds: int, seed: int) -> int:
    """The part of an item's amount that a round has."""
    amount = item.amount * (round + 1) // rounds - item.amount * round // rounds
    if round | 1 < rounds:
        key = KEYS[item.template]
        chance = mix(item.origin + round // 2, seed, NUMBERS[SPLIT_LIKE.get(key, key)]) % 1501 - 750
        more = item.amount // rounds * chance
        part = more // 1000 if more >= 0 else -(-more // 1000)
        amount += part if round % 2 == 0 else -part
    return amount


def expand(layout: Layout, seed: int) -> Iterator[Line]:
    """All lines of a layout."""
    transaction = 0
    for stretch in layout.stretches:
        assert stretch.before == transaction
        items = layout.items[stretch.item_low - 1 : stretch.item_high]
        for round in range(stretch.low, stretch.high + 1):
            for position, item in enumerate(items):
                transaction += 1
                done = (round * len(items) + position) * stretch.days // (stretch.rounds * len(items))
                amount = amount_of(item, round, stretch.rounds, seed)
                key = KEYS[item.template]
                for number, (account, factor) in enumerate(TEMPLATES[key].lines, start=1):
                    yield Line(transaction, number, key, account, stretch.day + done, factor * amount)


class Books:
    """The entries of a ledger, and what accountants ask about them."""

    def __init__(self, lines: int, seed: int = 42, first_on: date = date(2025, 1, 1), days: int = 365) -> None:
        self.days = days
        self.lines = list(expand(lay_out(lines, seed, first_on, days), seed))
        self.balances = Counter[str]()
        self.lowest = Counter[str]()
        self.closings: dict[int, Counter[str]] = {}
        for position, line in enumerate(self.lines):
            self.balances[line.account] += line.amount
            last_of_day = position + 1 == len(self.lines) or self.lines[position + 1].day > line.day
            if last_of_day:
                self.closings[line.day] = Counter(self.balances)
                for account, balance in self.balances.items():
                    self.lowest[account] = min(self.lowest[account], balance)

    @property
    def sales(self) -> int:
        """Net sales of goods and services."""
        return -self.balances["4000"] - self.balances["4100"]

    @property
    def gross_margin(self) -> float:
        """What is left of the sales after the cost of goods."""
        return 1 - self.balances["5000"] / self.sales

    @property
    def net_income(self) -> int:
        """What is left of everything that was earned."""
        return -sum(balance for account, balance in self.balances.items() if account >= "4000")

    @property
    def net_margin(self) -> float:
        """What is left of the sales after everything."""
        return self.net_income / self.sales

    @property
    def days_of_sales_outstanding(self) -> float:
        """How many days' sales the customers owe."""
        return self.balances["1100"] / self.sales * self.days
