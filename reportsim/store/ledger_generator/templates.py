"""The chart of accounts, and what happens in the company: kinds of transactions, each with its lines."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

# code, name, type, is cash, section of the cash flow statement
CHART: Final = (
    ("1000", "Bank", "asset", True, "cash"),
    ("1010", "Cash on hand", "asset", True, "cash"),
    ("1100", "Trade receivables", "asset", False, "operating"),
    ("1200", "Inventory", "asset", False, "operating"),
    ("1300", "Input VAT", "asset", False, "operating"),
    ("1500", "Equipment", "asset", False, "investing"),
    ("1590", "Accumulated depreciation", "asset", False, "noncash"),
    ("2000", "Trade payables", "liability", False, "operating"),
    ("2100", "Output VAT", "liability", False, "operating"),
    ("2150", "VAT payable", "liability", False, "operating"),
    ("2200", "Payroll taxes payable", "liability", False, "operating"),
    ("2500", "Bank loan", "liability", False, "financing"),
    ("3000", "Share capital", "equity", False, "financing"),
    ("3100", "Dividends", "equity", False, "financing"),
    ("4000", "Product sales", "revenue", False, "operating"),
    ("4100", "Service revenue", "revenue", False, "operating"),
    ("4900", "Interest income", "revenue", False, "operating"),
    ("5000", "Cost of goods sold", "expense", False, "operating"),
    ("6000", "Wages and salaries", "expense", False, "operating"),
    ("6050", "Social security", "expense", False, "operating"),
    ("6100", "Rent", "expense", False, "operating"),
    ("6200", "Utilities", "expense", False, "operating"),
    ("6300", "Marketing", "expense", False, "operating"),
    ("6400", "Depreciation", "expense", False, "noncash"),
    ("6500", "Interest expense", "expense", False, "operating"),
    ("6600", "Bank charges", "expense", False, "operating"),
    ("6900", "Income tax", "expense", False, "operating"),
)


class Place(IntEnum):
    """Where in a period a transaction has its place; trade goes on from the opening to the closing."""

    OPENING = 0
    TRADE = 1
    MIDDLE = 2
    CLOSING = 3


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of transaction: its amount times each line's factor is what the line says, and the factors sum to zero.

    With VAT of 20 % the amount is the tax, which comes in whole cents: five times as much is net, six times gross.
    """

    name: str
    place: Place
    lines: tuple[tuple[str, int], ...]


# In the order in which they are posted within a place.
TEMPLATES: Final = {
    "capital": Template("Share capital paid in", Place.OPENING, (("1000", 1), ("3000", -1))),
    "loan": Template("Loan paid out", Place.OPENING, (("1000", 1), ("2500", -1))),
    "dividend": Template("Dividend of last year", Place.OPENING, (("3100", 1), ("1000", -1))),
    "equipment": Template("Equipment bought", Place.OPENING, (("1500", 5), ("1300", 1), ("1000", -6))),
    "rent": Template("Rent", Place.OPENING, (("6100", 5), ("1300", 1), ("1000", -6))),
    "goods_bought": Template("Goods bought", Place.TRADE, (("1200", 5), ("1300", 1), ("2000", -6))),
    "goods_invoiced": Template("Invoice for goods", Place.TRADE, (("1100", 6), ("4000", -5), ("2100", -1))),
    "goods_cost": Template("Goods sold, at cost", Place.TRADE, (("5000", 1), ("1200", -1))),
    "services_invoiced": Template("Invoice for services", Place.TRADE, (("1100", 6), ("4100", -5), ("2100", -1))),
    "cash_sale": Template("Cash sale", Place.TRADE, (("1010", 6), ("4000", -5), ("2100", -1))),
    "goods_paid": Template("Customer pays for goods", Place.TRADE, (("1000", 6), ("1100", -6))),
    "services_paid": Template("Customer pays for services", Place.TRADE, (("1000", 6), ("1100", -6))),
    "cash_banked": Template("Cash taken to the bank", Place.TRADE, (("1000", 6), ("1010", -6))),
    "supplier_paid": Template("Supplier paid", Place.TRADE, (("2000", 6), ("1000", -6))),
    "payroll_taxes": Template("Payroll taxes paid", Place.MIDDLE, (("2200", 53), ("1000", -53))),
    "vat_paid": Template("VAT settled with the tax office", Place.MIDDLE, (("2150", 1), ("1000", -1))),
    "electricity": Template("Electricity and water", Place.MIDDLE, (("6200", 5), ("1300", 1), ("1000", -6))),
    "advertising": Template("Advertising", Place.MIDDLE, (("6300", 5), ("1300", 1), ("1000", -6))),
    "loan_repaid": Template("Loan instalment", Place.MIDDLE, (("2500", 1), ("1000", -1))),
    "charges": Template("Bank charges", Place.CLOSING, (("6600", 1), ("1000", -1))),
    "deposit": Template("Interest on a deposit, less charges", Place.CLOSING, (("1000", 1), ("6600", 1), ("4900", -2))),
    "wages": Template("Wages", Place.CLOSING, (("6000", 100), ("6050", 21), ("2200", -53), ("1000", -68))),
    "depreciation": Template("Depreciation", Place.CLOSING, (("6400", 1), ("1590", -1))),
    "loan_interest": Template("Interest on the loan", Place.CLOSING, (("6500", 1), ("1000", -1))),
    "income_tax": Template("Income tax in advance", Place.CLOSING, (("6900", 1), ("1000", -1))),
    "interest": Template("Interest credited", Place.CLOSING, (("1000", 1), ("4900", -1))),
    "output_vat": Template("VAT return: on sales", Place.CLOSING, (("2100", 1), ("2150", -1))),
    "input_vat": Template("VAT return: on purchases", Place.CLOSING, (("2150", 1), ("1300", -1))),
}

# Lines that are left over become these, which have two lines and three.
PAIR: Final = "charges"
TRIPLE: Final = "deposit"

# What a ledger of few lines has first; what is sold there is also paid.
PRIORITY: Final = (
    *("capital", "goods_bought", "goods_invoiced", "goods_cost", "goods_paid", "supplier_paid", "wages"),
    *("output_vat", "input_vat", "loan", "rent", "equipment", "depreciation", "loan_repaid", "loan_interest"),
    *("income_tax", "interest", "services_paid", "services_invoiced", "cash_banked", "cash_sale", "electricity"),
    *("advertising", "payroll_taxes", "vat_paid", "dividend"),
)

# These are split into amounts like another kind: a payment is what was invoiced, and goods cost in proportion to sales.
SPLIT_LIKE: Final = {
    "goods_bought": "goods_invoiced",
    "goods_cost": "goods_invoiced",
    "goods_paid": "goods_invoiced",
    "supplier_paid": "goods_invoiced",
    "services_paid": "services_invoiced",
    "cash_banked": "cash_sale",
}


def lines_of(key: str) -> int:
    """How many lines a kind of transaction has."""
    return len(TEMPLATES[key].lines)


# The lines of a period in which everything happens, and of one left-over pair.
PERIOD_LINES: Final = sum(lines_of(key) for key in PRIORITY) + lines_of(PAIR)
