"""The columns that import files have: what a right cell looks like, and in words what is wrong with another."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from reportsim.store.ledger_import.csv_reader import Column

TYPES: Final = ("asset", "liability", "equity", "revenue", "expense")
SECTIONS: Final = ("operating", "investing", "financing", "noncash", "cash")
LARGEST: Final = 2**63 - 1
DIGITS: Final = 19
CODE_LENGTH: Final = 100
NAME_LENGTH: Final = 200
TEXT_LENGTH: Final = 4_000

CONTROL: Final = r"\x00-\x1f\x7f"
DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
OLD_DATE: Final = "[0-9]{4}/[0-9]{2}/[0-9]{2}"
TRUE: Final = frozenset({"1", "true"})


def either(content: str) -> str:
    """A cell whose content needs no quotes, with or without them."""
    return f'(?:{content}|"{content}")'


def quote(cell: str) -> str:
    """The beginning of a cell as a message shows it."""
    return f'"{cell}"' if len(cell) <= 40 else f'"{cell[:40]}…"'


def text(name: str, *, least: int = 0, most: int, control: bool = False, refused: str = "") -> Column:
    """A column of free text; `refused` are characters that must not be the first."""
    barred = r"\0" if control else CONTROL
    ahead = f"(?![{re.escape(refused)}])" if refused else ""
    size = f"{{{least},{most}}}+"
    pattern = rf'(?:{ahead}[^",\r\n{barred}]{size}|"{ahead}(?:[^"{barred}]|""){size}")'

    def fault(cell: str) -> str | None:
        if len(cell) < least:
            return "empty"
        if len(cell) > most:
            return f"longer than {most:,} characters: {quote(cell)}"
        if not control and (found := re.search(f"[{CONTROL}]", cell)):
            return f"a control character, {found[0]!r}"
        if refused and cell.startswith(tuple(refused)):
            return f"a virtual posting, {quote(cell)}: --skip-virtual leaves them out"
        return None

    return Column(name, pattern, fault)


def virtual(name: str) -> Column:
    """A column of the accounts of virtual postings, which are in brackets."""
    content = r"(?:\([^\",\r\n\0]*\)|\[[^\",\r\n\0]*\])"
    quoted = r'(?:\((?:[^"\0]|"")*\)|\[(?:[^"\0]|"")*\])'

    def fault(cell: str) -> str | None:
        return None if is_virtual(cell) else "not a virtual posting"

    return Column(name, f'(?:{content}|"{quoted}")', fault)


def is_virtual(account: str) -> bool:
    """Whether hledger takes the postings of an account for virtual."""
    return (account[:1], account[-1:]) in {("(", ")"), ("[", "]")}


def ignored(name: str) -> Column:
    """A column that is not used."""
    return text(name, most=16_000, control=True)


def choice(name: str, values: tuple[str, ...], *, empty: bool = True, ignore_case: bool = False) -> Column:
    """A column with one of some words, or nothing."""
    words = f"(?{'i' if ignore_case else ''}:{'|'.join(values)})"

    def fault(cell: str) -> str | None:
        if re.fullmatch(words, cell) or (empty and not cell):
            return None
        return f"{quote(cell)} is none of {', '.join(values)}"

    return Column(name, either(f"(?:{words}|)" if empty else words), fault)


def number(name: str, largest: int) -> Column:
    """A column of whole numbers from 0 up."""
    digits = len(str(largest))

    def fault(cell: str) -> str | None:
        if not re.fullmatch("[0-9]+", cell):
            return f"{quote(cell)} is not a whole number"
        if len(cell) > digits or int(cell) > largest:
            return f"{quote(cell)} is too large"
        return None

    return Column(name, either(f"[0-9]{{1,{digits}}}+"), fault)


def day(name: str, *, old: bool = False) -> Column:
    """A column of dates; `old` allows the slashes of old versions of hledger."""
    pattern = f"(?:{DATE}|{OLD_DATE})" if old else DATE

    def fault(cell: str) -> str | None:
        if not re.fullmatch(pattern, cell):
            return f"{quote(cell)} is not a date like 2025-01-31"
        try:
            date.fromisoformat(cell.replace("/", "-"))
        except ValueError:
            return f"there is no day {quote(cell)}"
        return None

    return Column(name, either(pattern), fault)


def decimals_fault(cell: str, plain: str, currency: str, exponent: int) -> str | None:
    """What is wrong with an amount, which as a plain decimal number is `plain`."""
    whole, _, fraction = plain.partition(".")
    if len(fraction) > exponent:
        return f"{quote(cell)} has more decimals than {currency} has: {exponent} (--decimals gives a new ledger others)"
    if len(whole.removeprefix("-")) > DIGITS or abs(Decimal(plain).scaleb(exponent)) > LARGEST:
        return f"{quote(cell)} is too large"
    return None


def sides(currency: str, exponent: int) -> tuple[Column, Column]:
    """Debit and credit: one of them is an amount, the other empty or zero."""
    fraction = rf"(?>(?:\.[0-9]{{1,{exponent}}}+)?)" if exponent else ""
    zeros = rf"(?>(?:\.0{{1,{exponent}}}+)?)" if exponent else ""
    amount = either(f"[0-9]{{1,{DIGITS}}}+{fraction}")
    nothing = f'(?:{either(f"0{{1,{DIGITS}}}+{zeros}")}|""|)'

    def fault(cell: str) -> str | None:
        if not cell:
            return None
        if re.fullmatch(r"-[0-9]+(\.[0-9]+)?", cell):
            return f"{quote(cell)} is negative: it belongs on the other side"
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", cell):
            return f"{quote(cell)} is not an amount like 1234.50"
        return decimals_fault(cell, cell, currency, exponent)

    return (
        Column("debit", f"(?:{amount}(?=,{nothing},)|{nothing})", fault),
        Column("credit", f"(?:{amount}|{nothing})", fault),
    )


def sides_fault(row: Mapping[str, str]) -> str | None:
    """What is wrong with a debit and a credit that are right by themselves."""
    debit, credit = (Decimal(row[name] or 0) for name in ("debit", "credit"))
    if debit and credit:
        return "both a debit and a credit"
    return None if debit or credit else "neither a debit nor a credit"


def signed(name: str, currency: str, exponent: int, *, grouped: bool = False) -> Column:
    """An amount as hledger prints it: signed, with a point or comma; zeros beyond the currency's decimals are allowed.

    Only after a point: in versions that group digits, 1,000 is a thousand. `grouped`: it may be one in this file.
    """
    thousands = "[0-9]{1,3},[0-9]{3}"
    barred = rf"(?!-?{thousands}(?![0-9]))" if grouped else ""
    comma = f"|,[0-9]{{1,{exponent}}}+" if exponent else ""
    pattern = rf"{barred}-?[0-9]{{1,{DIGITS}}}+(?>(?:\.[0-9]{{0,{exponent}}}+0*+{comma})?)"

    def fault(cell: str) -> str | None:
        if not cell:
            return "empty: hledger print -x writes every amount"
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]*|,[0-9]+)?", cell):
            return f"{quote(cell)} is not an amount like -1234.50"
        if grouped and re.fullmatch(f"-?{thousands}", cell):
            return f"{quote(cell)} may be a thousand, or have decimals: hledger print -c writes amounts with a point"
        whole, point, fraction = cell.replace(",", ".").partition(".")
        if "," not in cell:
            fraction = fraction[:exponent] + fraction[exponent:].rstrip("0")
        return decimals_fault(cell, whole + point + fraction, currency, exponent)

    return Column(name, either(pattern), fault)


def commodity(name: str, currency: str) -> Column:
    """The commodity of an amount: the ledger's currency; nothing, for a bare zero."""

    def fault(cell: str) -> str | None:
        if cell in {"", currency}:
            return None
        return f"{quote(cell)} beside amounts in {currency or 'no commodity'}: a ledger has one currency"

    escaped = re.escape(currency.replace('"', '""'))
    return Column(name, either(f"(?:{escaped}|)"), fault)


def commodity_fault(row: Mapping[str, str]) -> str | None:
    """What is wrong with an amount without a commodity beside amounts that have one."""
    if row["commodity"] or not Decimal(row["amount"].replace(",", ".")):
        return None
    return "an amount without a commodity beside others that have one: a ledger has one currency"


def cash_fault(row: Mapping[str, str]) -> str | None:
    """What is wrong with an account whose two cells about cash are right by themselves."""
    cash, section = row["is_cash"].lower(), row["cf_section"]
    if not cash or not section or (cash in TRUE) == (section == "cash"):
        return None
    return f"cf_section is {section}, but is_cash is {cash}: cash, and nothing else, has the section cash"
