"""What must hold between the rows of an import, checked over whole sets.

A problem is a place and words; `at`, the place, orders rows as the file does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

from reportsim.core.model import Ledger
from reportsim.store.ledger_import.csv_reader import CsvFile, Fault, FaultCollector, Faulty
from reportsim.store.ledger_import.formats import Format
from reportsim.store.ledger_import.refusal import LONG_S, refuse
from reportsim.store.pool import Connection

# What is known of accounts before the entries: those of the ledger, and those of the accounts file.
CREATE_KNOWN: Final = """
CREATE TEMPORARY TABLE import_known ON COMMIT DROP AS
SELECT code, name, type, is_cash, cf_section, full_name, true AS in_ledger, false AS in_chart
FROM accounts WHERE ledger_id = $1
"""

ACCOUNTS: Final = """(SELECT code, name, type, is_cash, cf_section, in_ledger, in_chart FROM import_known
    UNION ALL SELECT code, name, type, is_cash, cf_section, false, false FROM import_new)"""


@dataclass(frozen=True, slots=True)
class Summary:
    """The entries of a file, all of them right."""

    first_on: date
    last_on: date
    lines: int


async def check(
    connection: Connection, kind: Format, file: CsvFile, chart: CsvFile | None, ledger: Ledger | None
) -> Summary:
    """Holds the rows that were read against each other, the accounts file and the ledger.

    Raises:
        Faulty: something does not fit.
    """
    await connection.execute(CREATE_KNOWN, ledger.ledger_id if ledger else 0)
    collector = FaultCollector()
    if chart is not None:
        with collector.collecting():
            await refuse(connection, chart, "import_chart", [repeated_accounts(), changed_accounts()])
    row = await connection.fetchrow(summary(kind), timeout=LONG_S)
    if row is None or not row["lines"]:
        raise Faulty([*collector.faults, Fault(file.path, 0, "no entries")], more=collector.more)
    problems, contradicted = transaction_problems(kind) if row["suspect"] else [], list[str]()
    # What is wrong with accounts can be said only where the accounts file is right.
    if not collector.faults:
        if chart is not None:
            await connection.execute(add_chart())
        await connection.execute(create_stated(kind), timeout=LONG_S)
        await connection.execute(create_new(kind, cash_by_name=chart is None), timeout=LONG_S)
        problems += account_problems(kind, ledger, charted=chart is not None)
        contradicted = [state(charted=chart is not None) for state in (renamed_accounts, retyped_accounts)]
    if problems:
        with collector.collecting():
            await refuse(connection, file, kind.table, problems, contradicted, chart)
    collector.refuse()
    return Summary(row["first_on"], row["last_on"], row["lines"])


def transaction_problems(kind: Format) -> list[str]:
    """What may be wrong with suspect transactions, whatever their accounts are."""
    problems = [unbalanced_transactions(kind), dated_transactions(kind)]
    return problems if kind.hledger else [*problems, repeated_lines(kind)]


def account_problems(kind: Format, ledger: Ledger | None, *, charted: bool) -> list[str]:
    """What may be wrong with accounts, and with entries that the ledger has."""
    problems: list[Callable[[Format], str]] = [merged_accounts, other_accounts] if kind.hledger else []
    problems.append(unknown_accounts if charted and not kind.hledger else untyped_accounts)
    found = [problem(kind) for problem in problems]
    if ledger is not None:
        found.append(known_entries(kind, ledger) if kind.hledger else known_transactions(kind, ledger))
    return found


def add_chart() -> str:
    """Makes the accounts of the accounts file known; of its two cells about cash, one is enough."""
    return f"""
UPDATE import_known SET in_chart = true WHERE code IN (SELECT code FROM import_chart);
INSERT INTO import_known (code, name, type, is_cash, cf_section, in_ledger, in_chart)
SELECT code, name, type, coalesce(is_cash, cf_section = 'cash', false),
    coalesce(cf_section, {SECTION}), false, true
FROM import_chart WHERE code NOT IN (SELECT code FROM import_known)"""


def create_stated(kind: Format) -> str:
    """How the entries call their accounts: each way once, with the row that does so first."""
    last = r"regexp_replace(account, '^.*:', '')"
    known = "IN (SELECT code FROM import_known)"
    code = f"""coalesce((SELECT k.code FROM import_known AS k WHERE k.full_name = account),
    CASE WHEN account NOT {known} AND {last} {known} THEN {last} ELSE account END)"""
    return f"""
CREATE TEMPORARY TABLE import_stated ON COMMIT DROP AS
SELECT account, {code if kind.hledger else "account"} AS code, name, type, at FROM (
    SELECT account, name, type, min(at) AS at FROM {kind.entries} AS entries GROUP BY account, name, type) AS stated"""


# The section of the cash flow statement of an account for which none is given.
SECTION: Final = """CASE WHEN is_cash THEN 'cash' WHEN type = 'equity' THEN 'financing'
        WHEN type = 'liability' AND name ~* '\\m(loans?|mortgages?|bonds?|borrowings?)\\M' THEN 'financing'
        ELSE 'operating' END"""

# The type of an account by hledger's rules.
GUESS: Final = """CASE WHEN account ~* '^assets?(:|$)' THEN 'asset'
        WHEN account ~* '^(debts?|liabilit(y|ies))(:|$)' THEN 'liability'
        WHEN account ~* '^equity(:|$)' THEN 'equity'
        WHEN account ~* '^(income|revenue)s?(:|$)' THEN 'revenue'
        WHEN account ~* '^expenses?(:|$)' THEN 'expense' END"""


def create_new(kind: Format, *, cash_by_name: bool) -> str:
    """Accounts that were not known: they are what the first entries say, or, with hledger's rules, their names."""
    return f"""
CREATE TEMPORARY TABLE import_new ON COMMIT DROP AS
SELECT code, name, type, is_cash, {SECTION} AS cf_section FROM (
    SELECT code, name, type, {cash_by_name} AND type = 'asset' AND name ~* 'cash|bank|checking|savings' AS is_cash
    FROM (
        SELECT code, coalesce((array_agg(name ORDER BY at) FILTER (WHERE name <> ''))[1], code) AS name,
            (array_agg(told ORDER BY at) FILTER (WHERE told <> ''))[1] AS type
        FROM (SELECT *, {GUESS if kind.hledger else "type"} AS told FROM import_stated) AS stated
        WHERE code NOT IN (SELECT code FROM import_known) GROUP BY code) AS first) AS described"""


def summary(kind: Format) -> str:
    """The window of dates, and whether any transaction is suspect, in one pass over all of them.

    Sorted, since most files are in the order of their transactions: a sum is then over before the next one begins.
    Of lines numbered 0 to 63 the bits count the numbers exactly; higher ones can only raise a false alarm, which the
    precise statements then clear.
    """
    line_no = "" if kind.hledger else ", line_no"
    numbers = line_no and ", bit_count(bit_or(1::bigint << (line_no & 63))::bit(64)) AS numbers"
    return f"""
SELECT min(first) AS first_on, max(last) AS last_on, coalesce(sum(lines), 0)::bigint AS lines,
    bool_or(off <> 0 OR first <> last {"OR numbers <> lines" if numbers else ""}) AS suspect
FROM (
    SELECT min(date) AS first, max(date) AS last, count(*) AS lines, sum(amount) AS off {numbers}
    FROM (
        SELECT transaction_id, date, amount {line_no} FROM {kind.entries} AS entries ORDER BY transaction_id) AS sorted
    GROUP BY transaction_id) AS transaction"""


def repeated_accounts() -> str:
    """Codes that the accounts file has several times."""
    return """
SELECT at, format('account %s is there twice', code) AS what FROM (
    SELECT ctid AS at, code, row_number() OVER (PARTITION BY code ORDER BY ctid) AS copy FROM import_chart) AS chart
WHERE copy > 1"""


def changed_accounts() -> str:
    """Accounts of the ledger that the accounts file describes otherwise."""
    return """
SELECT chart.ctid AS at, format('account %s is "%s" in the ledger, %s, is_cash %s, cf_section %s, and stays so',
    code, a.name, a.type, a.is_cash::integer, a.cf_section) AS what
FROM import_chart AS chart JOIN import_known AS a USING (code)
WHERE chart.name <> a.name OR chart.type <> a.type OR chart.is_cash <> a.is_cash OR chart.cf_section <> a.cf_section"""


def unknown_accounts(kind: Format) -> str:
    """Accounts that neither the accounts file nor the ledger has."""
    return """
SELECT min(at) AS at, format('account %s is neither in the accounts file nor in the ledger', code) AS what
FROM import_stated WHERE code NOT IN (SELECT code FROM import_known) GROUP BY code"""


def untyped_accounts(kind: Format) -> str:
    """Accounts whose type nothing tells."""
    why = "cannot be told from its name: give it in an accounts file" if kind.hledger else "is not given"
    return f"""
SELECT min(at) AS at, format('the type of account %s {why}', code) AS what
FROM import_stated JOIN import_new USING (code) WHERE import_new.type IS NULL GROUP BY code"""


def renamed_accounts(*, charted: bool) -> str:
    """Accounts with two names."""
    what = """'account %s is called "%s" here and "%s"', code, s.name, a.name"""
    return contradictions("name", what, charted=charted)


def retyped_accounts(*, charted: bool) -> str:
    """Accounts with two types."""
    return contradictions("type", "'account %s is of type %s here and %s', code, s.type, a.type", charted=charted)


def contradictions(column: str, what: str, *, charted: bool) -> str:
    """Accounts of which two places say different things: the other one is the ledger, the accounts file or an entry."""
    chart = "CASE WHEN in_chart AND NOT in_ledger THEN (SELECT ctid FROM import_chart AS c WHERE c.code = s.code) END"
    return f"""
SELECT at, format({what}) || CASE WHEN in_ledger THEN ' in the ledger' ELSE '' END AS what,
    CASE WHEN NOT in_chart AND NOT in_ledger THEN (
        SELECT min(o.at) FROM import_stated AS o WHERE o.code = s.code AND o.{column} = a.{column}) END AS entry,
    {chart if charted else "NULL::tid"} AS chart
FROM import_stated AS s JOIN {ACCOUNTS} AS a USING (code)
WHERE s.{column} NOT IN ('', a.{column})"""


def merged_accounts(kind: Format) -> str:
    """Accounts of hledger that end alike, and would become one."""
    return """
SELECT min(at) AS at, format('accounts %s would all be account %s: give their full names in the accounts file',
    string_agg(account, ', ' ORDER BY at), code) AS what
FROM import_stated GROUP BY code HAVING count(*) > 1"""


def other_accounts(kind: Format) -> str:
    """Accounts of hledger that would become an account of the ledger which is another one.

    Where the ledger does not say which account its code stands for, the type tells, unless the accounts file names it.
    """
    return f"""
SELECT at, format('account %s would be account %s, which is %s in the ledger: give its full name in the accounts file',
    s.account, code, coalesce(k.full_name, 'of type ' || k.type)) AS what
FROM import_stated AS s JOIN import_known AS k USING (code)
WHERE in_ledger AND CASE WHEN k.full_name IS NOT NULL THEN k.full_name <> s.account
    ELSE s.account <> code AND NOT in_chart AND {GUESS.replace("account", "s.account")} <> k.type END"""


def unbalanced_transactions(kind: Format) -> str:
    """Transactions whose lines do not sum to zero."""
    return f"""
SELECT min(at) AS at, format('transaction %s does not balance: debits less credits are %s', transaction_id,
    round(sum(amount) / {10**kind.exponent}.0, {kind.exponent})) AS what
FROM {kind.entries} AS entries GROUP BY transaction_id HAVING sum(amount) <> 0"""


def dated_transactions(kind: Format) -> str:
    """Transactions with several dates."""
    return f"""
SELECT min(at) AS at, format('transaction %s has several dates: %s after %s', transaction_id,
    (array_agg(date ORDER BY at))[1], first_date) AS what
FROM (
    SELECT transaction_id, date, at, first_value(date) OVER (PARTITION BY transaction_id ORDER BY at) AS first_date
    FROM {kind.entries} AS entries) AS dated
WHERE date <> first_date GROUP BY transaction_id, first_date"""


def repeated_lines(kind: Format) -> str:
    """Lines whose number their transaction has had already."""
    return f"""
SELECT at, format('transaction %s has line_no %s twice', transaction_id, line_no) AS what
FROM (
    SELECT transaction_id, line_no, at, row_number() OVER (PARTITION BY transaction_id, line_no ORDER BY at) AS copy
    FROM {kind.entries} AS entries) AS copies
WHERE copy > 1"""


def known_transactions(kind: Format, ledger: Ledger) -> str:
    """Transactions that are in the ledger already."""
    return f"""
SELECT min(at) AS at, format('transaction %s is in the ledger already', transaction_id) AS what
FROM {kind.entries} AS entries
WHERE EXISTS (
    SELECT FROM postings AS p
    WHERE p.ledger_id = {ledger.ledger_id} AND p.transaction_id = entries.transaction_id)
GROUP BY transaction_id"""


def known_entries(kind: Format, ledger: Ledger) -> str:
    """Transactions of hledger, whose numbers say nothing, that are in the ledger already.

    A single one may be repeated on purpose. But where the ledger has all those of the file that are in its window of
    days, the file has been imported before, alone or as the beginning of this one. Most files are new, and then the
    ledger does not have the first entry, which an index tells: the others are not read.
    """
    content = "md5(string_agg(concat_ws(' ', code, amount, description), chr(10) ORDER BY line_no))"
    in_window = f"date BETWEEN DATE '{ledger.first_on}' AND DATE '{ledger.last_on}'"
    return f"""
SELECT min(at) AS at, format('the ledger has all %s transactions up to %s already: hledger print -b %s leaves them out',
    count(*), DATE '{ledger.last_on}', DATE '{ledger.last_on}' + 1) AS what
FROM (
    SELECT min(entries.at) AS at, min(date) AS day, {content} AS content
    FROM {kind.entries} AS entries JOIN import_stated USING (account)
    WHERE {in_window} GROUP BY transaction_id) AS new
LEFT JOIN (
    SELECT DISTINCT posted_on AS day, {content} AS content
    FROM postings JOIN accounts USING (ledger_id, account_id)
    WHERE ledger_id = {ledger.ledger_id} AND posted_on IN (SELECT date FROM import_entries) AND (
        SELECT EXISTS (
            SELECT FROM (
                SELECT date, code, amount, description FROM {kind.entries} AS entries JOIN import_stated USING (account)
                WHERE {in_window} ORDER BY entries.at LIMIT 1) AS first
            JOIN accounts AS a ON a.ledger_id = {ledger.ledger_id} AND a.code = first.code
            JOIN postings AS p ON p.ledger_id = a.ledger_id AND p.account_id = a.account_id
                AND p.posted_on = first.date AND p.amount = first.amount AND p.description = first.description))
    GROUP BY transaction_id, posted_on) AS old USING (day, content)
HAVING count(*) > 0 AND bool_and(old.day IS NOT NULL)"""
