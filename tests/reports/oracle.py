"""The five reports once more, in plain Python over lists of entries, written from their description alone.

Nothing here looks at the service's SQL. Amounts are whole minor units, debit positive; CSV is put together by hand.
Where RFC 4180 leaves a choice, cells are quoted as PostgreSQL's COPY quotes them: those with a comma, a quote or a line
break, and empty texts (a cell that has no value at all is empty and bare).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

# None stands for no value, bytes for a finished cell.
Cell = str | bytes | None

SIGNS = "=+-@＝＋－＠﹦﹢﹣﹫"
STARTS = ";,|:\t\n\v\f\r\u0085\u2028\u2029，；"
PASSED_OVER = ' \t\n\v\f\r"\u00a0\u200b\u200c\u200d\u2060\u3000\ufeff'
PRIOR = "Earnings of prior years"
CURRENT = "Earnings of the current year"


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account of the chart."""

    code: str
    name: str
    type: str
    is_cash: bool = False
    cf_section: str = "operating"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of a transaction."""

    transaction_id: int
    line_no: int
    code: str
    day: date
    amount: int
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Book:
    """A ledger: its chart and its entries, in any order."""

    accounts: Sequence[Account]
    entries: Sequence[Entry]
    exponent: int = 2
    guard: bool = True

    chart: dict[str, Account] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chart", {account.code: account for account in self.accounts})

    def in_order(self) -> list[Account]:
        """The accounts by the bytes of their codes."""
        return sorted(self.accounts, key=lambda account: account.code.encode())

    def money(self, minor: int) -> bytes:
        """Major units with the currency's decimals."""
        whole, rest = divmod(abs(minor), 10**self.exponent)
        decimals = f".{rest:0{self.exponent}d}" if self.exponent else ""
        return f"{'-' if minor < 0 else ''}{whole}{decimals}".encode()

    def label(self, account: Account) -> list[Cell]:
        """Code and name of an account, safe for spreadsheets."""
        return [self.safe(account.code), self.safe(account.name)]

    def safe(self, text: str) -> str:
        """A text that no spreadsheet takes for a formula."""
        if not self.guard:
            return text
        written = "'" if text.startswith(("\t", "\r")) else ""
        may_start = True
        for character in text:
            if may_start and character in SIGNS:
                written += "'"
            may_start = character in STARTS or (may_start and character in PASSED_OVER)
            written += character
        return written

    def sums(self, when: Callable[[date], bool]) -> dict[str, int]:
        """The signed sum of each account's entries of some days."""
        found: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            if when(entry.day):
                found[entry.code] += entry.amount
        return found


def csv(header: str, rows: Iterable[Sequence[Cell]]) -> bytes:
    """The bytes of a file."""
    lines = [header.encode(), *(b",".join(cell(value) for value in row) for row in rows)]
    return b"".join(line + b"\n" for line in lines)


def cell(value: Cell) -> bytes:
    """The bytes of a cell."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if value == "" or any(character in value for character in ',"\n\r'):
        value = '"' + value.replace('"', '""') + '"'
    return value.encode()


def compared(first: date, after: date, compare: str) -> tuple[date, date]:
    """The interval that another one is compared with."""
    if compare == "previous_year":
        # 29 February is no day of the year before: its month begins there and ends as if it were the last day.
        start = date(first.year - 1, 2, 28) if (first.month, first.day) == (2, 29) else a_year_back(first)
        return start, a_year_back(after) if (after.month, after.day) != (2, 29) else date(after.year - 1, 3, 1)
    if first.day == after.day == 1:
        start, month = first, first
        while month < after:
            month = (month + timedelta(days=31)).replace(day=1)
            start = (start - timedelta(days=1)).replace(day=1)
        return start, first
    return first - (after - first), first


def a_year_back(day: date) -> date:
    """The same day of the year before."""
    return date(day.year - 1, day.month, day.day)


def sections_compared(
    book: Book, order: Sequence[str], of: Callable[[Account], str | None], now: dict[str, int], before: dict[str, int]
) -> list[list[Cell]]:
    """A row for each account with an amount now or before: both, and their difference."""
    rows: list[list[Cell]] = []
    for section in order:
        for account in book.in_order():
            code = account.code
            if of(account) == section and (now.get(code) or before.get(code)):
                rows.append([section, *book.label(account), *three(book, now.get(code, 0), before.get(code, 0))])
    return rows


def three(book: Book, now: int, before: int) -> list[Cell]:
    """An amount, the one it is compared with, and the difference."""
    return [book.money(now), book.money(before), book.money(now - before)]


def trial_balance(
    book: Book, first: date, after: date, *, include_zero: bool = False, compare: str | None = None
) -> bytes:
    """Openings and closings net on one side, movements gross."""
    other = book.sums(lambda day: compare is not None and day < compared(first, after, compare)[1])
    opening = book.sums(lambda day: day < first)
    moved = {entry.code for entry in book.entries if first <= entry.day < after}
    debit: dict[str, int] = defaultdict(int)
    credit: dict[str, int] = defaultdict(int)
    for entry in book.entries:
        if first <= entry.day < after:
            side = debit if entry.amount > 0 else credit
            side[entry.code] += abs(entry.amount)
    rows: list[list[Cell]] = []
    for account in book.in_order():
        code = account.code
        closing = opening[code] + debit[code] - credit[code]
        if not (include_zero or code in moved or opening[code] or closing or other[code]):
            continue
        figures: tuple[int, ...] = (
            max(opening[code], 0),
            max(-opening[code], 0),
            debit[code],
            credit[code],
            max(closing, 0),
            max(-closing, 0),
        )
        if compare:
            figures = (*figures, max(other[code], 0), max(-other[code], 0), closing - other[code])
        rows.append([*book.label(account), account.type, *(book.money(figure) for figure in figures)])
    return csv(
        "account_code,account_name,account_type,opening_debit,opening_credit,period_debit,period_credit,"
        "closing_debit,closing_credit"
        + (",compare_closing_debit,compare_closing_credit,difference" if compare else ""),
        rows,
    )


COMPARED = "section,account_code,account_name,amount,compare_amount,difference"


def income_statement(
    book: Book, first: date, after: date, *, group_by: str = "none", compare: str | None = None
) -> bytes:
    """Revenue and then expense, whole or by period; what is zero is left out."""
    if compare:
        start, end = compared(first, after, compare)
        now, before = gains(book, lambda day: first <= day < after), gains(book, lambda day: start <= day < end)
        return csv(COMPARED, sections_compared(book, ("revenue", "expense"), lambda a: a.type, now, before))
    sums: dict[tuple[str, date], int] = defaultdict(int)
    for entry in book.entries:
        if first <= entry.day < after:
            sums[entry.code, period_start(entry.day, first, group_by)] += entry.amount
    rows: list[list[Cell]] = []
    for section, sign in (("revenue", -1), ("expense", 1)):
        for account in book.in_order():
            if account.type != section:
                continue
            for start in sorted(start for code, start in sums if code == account.code):
                if amount := sign * sums[account.code, start]:
                    period: list[Cell] = [] if group_by == "none" else [start.isoformat()]
                    rows.append([section, *book.label(account), *period, book.money(amount)])
    period_column = "" if group_by == "none" else "period_start,"
    return csv(f"section,account_code,account_name,{period_column}amount", rows)


def gains(book: Book, when: Callable[[date], bool]) -> dict[str, int]:
    """What each account of some days adds to its own side."""
    return {code: -amount if book.chart[code].type == "revenue" else amount for code, amount in book.sums(when).items()}


def period_start(day: date, first: date, group_by: str) -> date:
    """The first day of a day's period, not before the interval's first."""
    match group_by:
        case "month":
            return max(day.replace(day=1), first)
        case "quarter":
            return max(date(day.year, (day.month - 1) // 3 * 3 + 1, 1), first)
        case _:
            return first


def balance_sheet(book: Book, as_of: date, *, compare: str | None = None) -> bytes:
    """What stands at the end of a day, with the earnings of prior years and of the current one as two rows."""
    if compare:
        return balance_sheet_compared(book, as_of, compared(as_of, as_of + timedelta(days=1), compare)[1])
    sums = book.sums(lambda day: day <= as_of)
    rows: list[list[Cell]] = []
    for section, sign in (("asset", 1), ("liability", -1), ("equity", -1)):
        for account in book.in_order():
            if account.type == section and (amount := sign * sums[account.code]):
                rows.append([section, *book.label(account), book.money(amount)])
    rows.append(["equity", None, PRIOR, book.money(earned(book, lambda day: day.year < as_of.year))])
    rows.append(
        ["equity", None, CURRENT, book.money(earned(book, lambda day: day.year == as_of.year and day <= as_of))]
    )
    return csv("section,account_code,account_name,amount", rows)


def balance_sheet_compared(book: Book, as_of: date, other_after: date) -> bytes:
    """The same beside what stood before another day."""
    other = other_after - timedelta(days=1)
    now, before = (
        {code: amount if book.chart[code].type == "asset" else -amount for code, amount in sums.items()}
        for sums in (book.sums(lambda day: day <= as_of), book.sums(lambda day: day <= other))
    )
    rows = sections_compared(book, ("asset", "liability", "equity"), lambda a: a.type, now, before)
    for name, year in ((PRIOR, prior_years), (CURRENT, current_year)):
        amounts = [earned(book, year(day)) for day in (as_of, other)]
        rows.append(["equity", None, name, *three(book, *amounts)])
    return csv(COMPARED, rows)


def prior_years(as_of: date) -> Callable[[date], bool]:
    """The days before a day's year."""
    return lambda day: day.year < as_of.year


def current_year(as_of: date) -> Callable[[date], bool]:
    """The days of a day's year until its end."""
    return lambda day: day.year == as_of.year and day <= as_of


def earned(book: Book, when: Callable[[date], bool]) -> int:
    """Revenue less expense of some days."""
    sums = book.sums(when)
    return -sum(amount for code, amount in sums.items() if book.chart[code].type in {"revenue", "expense"})


def cash_flow(book: Book, first: date, after: date, *, compare: str | None = None) -> bytes:
    """Minus the lines beside the cash lines of every transaction that has one, by account."""
    sums = cash_sums(book, first, after)
    if compare:
        before = cash_sums(book, *compared(first, after, compare))
        return csv(COMPARED, sections_compared(book, ACTIVITIES, activity, sums, before))
    rows: list[list[Cell]] = []
    for section in ACTIVITIES:
        for account in book.in_order():
            if activity(account) == section and (amount := sums[account.code]):
                rows.append([section, *book.label(account), book.money(amount)])
    return csv("section,account_code,account_name,amount", rows)


ACTIVITIES = ("financing", "investing", "operating")


def activity(account: Account) -> str:
    """The section of an account; all but two are operating."""
    return account.cf_section if account.cf_section in {"financing", "investing"} else "operating"


def cash_sums(book: Book, first: date, after: date) -> dict[str, int]:
    """The cash that came from or went to each account."""
    within = [entry for entry in book.entries if first <= entry.day < after]
    with_cash = {entry.transaction_id for entry in within if book.chart[entry.code].is_cash}
    sums: dict[str, int] = defaultdict(int)
    for entry in within:
        if entry.transaction_id in with_cash and not book.chart[entry.code].is_cash:
            sums[entry.code] -= entry.amount
    return sums


def general_ledger(
    book: Book,
    first: date,
    after: date,
    *,
    account_codes: Sequence[str] | None = None,
    cash_only: bool = False,
) -> bytes:
    """Every entry under its account, with a running balance that starts from the opening."""
    if cash_only:
        with_cash = {entry.transaction_id for entry in book.entries if book.chart[entry.code].is_cash}
        book = replace(book, entries=[entry for entry in book.entries if entry.transaction_id in with_cash])
    balance = book.sums(lambda day: day < first)
    rows: list[list[Cell]] = []
    for account in book.in_order():
        if account_codes is not None and account.code not in account_codes:
            continue
        own = [entry for entry in book.entries if entry.code == account.code and first <= entry.day < after]
        for entry in sorted(own, key=lambda entry: (entry.day, entry.transaction_id, entry.line_no)):
            balance[account.code] += entry.amount
            rows.append(
                [
                    *book.label(account),
                    entry.day.isoformat(),
                    str(entry.transaction_id),
                    book.money(max(entry.amount, 0)),
                    book.money(max(-entry.amount, 0)),
                    book.money(balance[account.code]),
                    book.safe(entry.description),
                ]
            )
    return csv("account_code,account_name,date,transaction_id,debit,credit,running_balance,description", rows)
