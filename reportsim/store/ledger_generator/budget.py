"""How much of everything a period has, so that the proportions of the books are those of a company.

Amounts have the names of their templates; those of trade are for the whole period.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from reportsim.store.ledger_generator.periods import Period, are_months
from reportsim.store.ledger_generator.templates import TEMPLATES

Amounts = dict[str, int]

# Hundredths of the sales; none is 20, which is the VAT on all of them.
SHARES: Final = {"goods_invoiced": 60, "services_invoiced": 22, "cash_sale": 18}
WITH_INPUT_VAT: Final = tuple(key for key, template in TEMPLATES.items() if ("1300", 1) in template.lines)
# What is paid later, and what is paid then.
CREDIT: Final = {
    "goods_paid": "goods_invoiced",
    "services_paid": "services_invoiced",
    "supplier_paid": "goods_bought",
}
CREDIT_DAYS: Final = 30
STOCK_DAYS: Final = 30
SHORTEST_MONTH: Final = 28
LOAN_MONTHS: Final = 60
THOUSAND_EUROS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Funding:
    """What the company has before its customers pay, the term of its loan, and how long its years are."""

    capital: int
    loan: int
    equipment: int
    loan_months: int
    periods_of_year: int
    months_of_year: int


def make_budget(periods: list[Period], kept: frozenset[str], source: Random) -> list[Amounts]:
    """The amounts of every period, of those kinds of transactions that are kept."""
    funding = fund(periods)
    costs = [period.sales * (605 + int(31 * source.random())) // 1_000 for period in periods]
    # About a month's goods are in stock at the end of a period.
    stocks = [cost * STOCK_DAYS // max(STOCK_DAYS, period.days) for period, cost in zip(periods, costs, strict=True)]
    budget: list[Amounts] = []
    paid_months = 0
    for number, period in enumerate(periods):
        amounts = {
            **trade(period, costs[number], stocks[number] - (stocks[number - 1] if number else 0), kept),
            **overheads(period, source),
            **financing(number, period, funding, paid_months),
            **yearly(number, period, funding),
        }
        amounts = {key: amount for key, amount in amounts.items() if amount and key in kept}
        amounts["output_vat"] = sum(amounts.get(key, 0) for key in SHARES)
        amounts["input_vat"] = sum(amounts.get(key, 0) for key in WITH_INPUT_VAT)
        budget.append(amounts)
        paid_months += period.months
    pay(periods, budget)
    return [{key: amount for key, amount in amounts.items() if amount and key in kept} for amounts in budget]


def fund(periods: list[Period]) -> Funding:
    """Enough for the equipment, the first stock, and what goes out before the first customers pay."""
    months = sum(period.months for period in periods)
    periods_of_year = max(1, 12 * len(periods) // months)
    first = periods[0].level
    month = max(period.level // period.months for period in periods[:2])
    return Funding(
        capital=in_thousands(month * 3 // 2 + first // 10),
        loan=in_thousands(month),
        equipment=in_thousands(month // 2 + first // 50) // 5,
        loan_months=max(LOAN_MONTHS, months),
        periods_of_year=periods_of_year,
        months_of_year=months * periods_of_year // len(periods),
    )


def in_thousands(amount: int) -> int:
    """The next full thousand euros."""
    return -(-amount // THOUSAND_EUROS) * THOUSAND_EUROS


def trade(period: Period, cost: int, stock_gained: int, kept: frozenset[str]) -> Amounts:
    """What is sold and bought; what is not sold at all, or not for an invoice, the other sales make up for."""
    shares = {key: share for key, share in SHARES.items() if key in kept}
    sold = {key: period.sales * share // (5 * sum(shares.values())) for key, share in shares.items()}
    return {**sold, "goods_cost": cost, "goods_bought": max(cost + stock_gained, cost // 4) // 5}


def overheads(period: Period, source: Random) -> Amounts:
    """What costs about the same in every month."""
    level = period.level
    return {
        "rent": level * 25 // 5_000,
        "electricity": level * (8 + int(5 * source.random())) // 5_000,
        "advertising": period.sales * 2 // 500,
        "wages": level * (196 + int(9 * source.random())) // (1_000 * 121),
        "depreciation": level * 15 // 1_000,
        "income_tax": level * 17 // 1_000,
        "interest": level // 4_000,
    }


def financing(number: int, period: Period, funding: Funding, paid_months: int) -> Amounts:
    """Capital and a loan at the start, and from then on equal instalments, and 5 % interest on what is left."""
    left = funding.loan - funding.loan * paid_months // funding.loan_months
    return {
        "capital": funding.capital if number == 0 else 0,
        "loan": funding.loan if number == 0 else 0,
        "loan_repaid": left - (funding.loan - funding.loan * (paid_months + period.months) // funding.loan_months),
        "loan_interest": left * 5 * period.months // 1_200,
    }


def yearly(number: int, period: Period, funding: Funding) -> Amounts:
    """Equipment, at the start and then to replace what is written off in a year, and most of a year's profit."""
    if number == 0:
        return {"equipment": funding.equipment}
    if number % funding.periods_of_year:
        return {}
    turnover = period.level // period.months * funding.months_of_year
    return {"equipment": turnover * 18 // 5_000, "dividend": turnover * 7 // 100}


def pay(periods: list[Period], budget: list[Amounts]) -> None:
    """Adds what is paid for earlier deliveries and earlier taxes, and what the till has taken."""
    monthly, whole = are_months(periods), sum(period.days for period in periods)
    previous, owed_before = Amounts(), Amounts()
    for period, amounts in zip(periods, budget, strict=True):
        # In months, the invoices of one are paid in the next, each as it is; else all but the last month's. In less
        # than a month, not all of those before are due.
        days = period.days if monthly else min(CREDIT_DAYS, period.days, whole // 2)
        early = max(0, SHORTEST_MONTH - period.days)
        owed = {
            payment: amounts.get(claim, 0) * days // period.days + owed_before.get(payment, 0) * early // SHORTEST_MONTH
            for payment, claim in CREDIT.items()
        }
        owed["cash_banked"] = amounts.get("cash_sale", 0) // 50
        for payment, claim in (*CREDIT.items(), ("cash_banked", "cash_sale")):
            amounts[payment] = amounts.get(claim, 0) - owed[payment] + owed_before.get(payment, 0)
        amounts["payroll_taxes"] = previous.get("wages", 0)
        amounts["vat_paid"] = previous.get("output_vat", 0) - previous.get("input_vat", 0)
        previous, owed_before = amounts, owed
