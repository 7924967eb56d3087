"""How statements are laid out: the sections of each report, in the order of the statement, and the lines beneath."""

from dataclasses import dataclass
from typing import Final

from reportsim.pages.statement.model import Kind


@dataclass(frozen=True, slots=True)
class Sum:
    """A line of a statement whose figure is the sum of totals of the report's result."""

    title: str
    totals: tuple[str, ...]
    kind: Kind = Kind.TOTAL


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of a file that have one value in the column `section`, and the line beneath them."""

    key: str
    title: str
    subtotal: Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The sections of a statement, and its last lines."""

    sections: tuple[Section, ...]
    sums: tuple[Sum, ...]


LAYOUTS: Final = {
    "income_statement": Layout(
        sections=(
            Section("revenue", "Revenue", Sum("Total revenue", ("revenue",), Kind.SUBTOTAL)),
            Section("expense", "Expenses", Sum("Total expenses", ("expense",), Kind.SUBTOTAL)),
        ),
        sums=(Sum("Net income", ("net_income",)),),
    ),
    "balance_sheet": Layout(
        sections=(
            Section("asset", "Assets", Sum("Total assets", ("assets",), Kind.SUBTOTAL)),
            Section("liability", "Liabilities", Sum("Total liabilities", ("liabilities",), Kind.SUBTOTAL)),
            Section("equity", "Equity", Sum("Total equity", ("equity", "earnings"), Kind.SUBTOTAL)),
        ),
        sums=(Sum("Total liabilities and equity", ("liabilities", "equity", "earnings")),),
    ),
    "cash_flow": Layout(
        sections=(
            Section(
                "operating",
                "Operating activities",
                Sum("Cash from operating activities", ("operating",), Kind.SUBTOTAL),
            ),
            Section(
                "investing",
                "Investing activities",
                Sum("Cash from investing activities", ("investing",), Kind.SUBTOTAL),
            ),
            Section(
                "financing",
                "Financing activities",
                Sum("Cash from financing activities", ("financing",), Kind.SUBTOTAL),
            ),
        ),
        sums=(
            Sum("Net change in cash", ("net_change",)),
            Sum("Opening cash", ("opening_cash",), Kind.BALANCE),
            Sum("Closing cash", ("closing_cash",)),
        ),
    ),
}
