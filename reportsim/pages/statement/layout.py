"""How statements are laid out: the sections of each report, in the order of the statement, and the lines beneath."""

from dataclasses import dataclass
from typing import Final

from reportsim.pages.statement.model import Kind


@dataclass(frozen=True, slots=True)
class Sum:
    """A line of a statement whose figure is the sum of totals of the report's result.

    Attributes:
        accounts: the types or the sections of the cash flow statement of the accounts whose entries it is the sum of.
    """

    title: str
    totals: tuple[str, ...]
    kind: Kind = Kind.TOTAL
    accounts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What names it among those of its statement."""
        return " ".join(self.totals)


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

    def find(self, name: str) -> Sum | None:
        """The line with a name."""
        lines = (*(section.subtotal for section in self.sections), *self.sums)
        return next((line for line in lines if line.name == name), None)


RESULT: Final = ("revenue", "expense")
OPERATING: Final = ("operating", "noncash")
FLOWS: Final = (*OPERATING, "investing", "financing")

LAYOUTS: Final = {
    "income_statement": Layout(
        sections=(
            Section("revenue", "Revenue", Sum("Total revenue", ("revenue",), Kind.SUBTOTAL, ("revenue",))),
            Section("expense", "Expenses", Sum("Total expenses", ("expense",), Kind.SUBTOTAL, ("expense",))),
        ),
        sums=(Sum("Net income", ("net_income",), accounts=RESULT),),
    ),
    "balance_sheet": Layout(
        sections=(
            Section("asset", "Assets", Sum("Total assets", ("assets",), Kind.SUBTOTAL, ("asset",))),
            Section(
                "liability", "Liabilities", Sum("Total liabilities", ("liabilities",), Kind.SUBTOTAL, ("liability",))
            ),
            Section(
                "equity",
                "Equity",
                Sum("Total equity", ("equity", "earnings"), Kind.SUBTOTAL, ("equity", *RESULT)),
            ),
        ),
        sums=(
            Sum(
                "Total liabilities and equity",
                ("liabilities", "equity", "earnings"),
                accounts=("liability", "equity", *RESULT),
            ),
        ),
    ),
    "cash_flow": Layout(
        sections=(
            Section(
                "operating",
                "Operating activities",
                Sum("Cash from operating activities", ("operating",), Kind.SUBTOTAL, OPERATING),
            ),
            Section(
                "investing",
                "Investing activities",
                Sum("Cash from investing activities", ("investing",), Kind.SUBTOTAL, ("investing",)),
            ),
            Section(
                "financing",
                "Financing activities",
                Sum("Cash from financing activities", ("financing",), Kind.SUBTOTAL, ("financing",)),
            ),
        ),
        sums=(
            Sum("Net change in cash", ("net_change",), accounts=FLOWS),
            Sum("Opening cash", ("opening_cash",), Kind.BALANCE),
            Sum("Closing cash", ("closing_cash",)),
        ),
    ),
}
