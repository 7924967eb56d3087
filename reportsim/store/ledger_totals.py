"""Kept totals: what every account's entries come to, so that no report has to add them up.

A row of `balances` holds the sums of all entries of an account up to a day and a version. It holds from that day until
the account's next row, so a version that has entries on a day writes the account's later days again. Account 0 stands
for all accounts together.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import asyncpg

from reportsim.core.model import Ledger
from reportsim.store.pool import Connection

TIMEOUT_S: Final = 3600.0
MAX_FAULTS: Final = 20

# Fewer entries are added up sooner without statistics than these are taken of a sample of the table.
MANY: Final = 10_000
# New pages are in no summary before the next vacuum, and until then every later import would read them.
SUMMARIZE: Final = "SELECT brin_summarize_new_values('postings_version'), brin_summarize_new_values('balances_version')"

# What the entries of versions $2 to $3 come to by account, version and day; all accounts of a day are account 0.
# Materialized, since a plan that expects few rows would add them up once for each account.
MOVED: Final = """
by_account AS MATERIALIZED (
    SELECT account_id, version, posted_on AS day, sum(amount) AS amount, sum(greatest(amount, 0)) AS debit,
        count(*) AS entries, NULL::numeric AS cash
    FROM postings WHERE ledger_id = $1 AND version BETWEEN $2 AND $3 GROUP BY 1, 2, 3),
moved AS MATERIALIZED (
    SELECT account_id, version, day, amount, debit, debit - amount AS credit, entries, cash FROM by_account
    UNION ALL
    SELECT 0, version, day, sum(amount), sum(debit), sum(debit - amount), sum(entries)::bigint, sum(cash)
    FROM by_account GROUP BY version, day)"""

# The same with the entries whose transactions have a line on a cash account, which takes twice as long. The join is
# full, although every transaction is on its left, because that is never a nested loop: without statistics of the
# version, the planner would look for the transaction of each entry anew. With an array of the accounts, the pages of
# their entries are read once; with a join, once for each.
MOVED_WITH_CASH: Final = MOVED.replace(
    "NULL::numeric", "coalesce(sum(amount) FILTER (WHERE cash.transaction_id IS NOT NULL), 0)"
).replace(
    "FROM postings WHERE ledger_id = $1 AND version BETWEEN $2 AND $3",
    """
    FROM (SELECT * FROM postings WHERE ledger_id = $1 AND version BETWEEN $2 AND $3) AS entry FULL JOIN (
        SELECT DISTINCT transaction_id FROM postings
        WHERE ledger_id = $1 AND version BETWEEN $2 AND $3
            AND account_id = ANY (ARRAY(SELECT account_id FROM accounts WHERE ledger_id = $1 AND is_cash))) AS cash
        USING (transaction_id)""",
)

# The totals of the account in older versions, at the end of the same day. The first version has none: it would search
# all its own earlier days for them.
OLDER: Final = """
LEFT JOIN LATERAL (
    SELECT balance, debit, credit, entries, cash FROM balances AS b
    WHERE new.version > 1
        AND b.ledger_id = $1 AND b.account_id = new.account_id AND b.day <= new.day AND b.version < new.version
    ORDER BY b.day DESC, b.version DESC LIMIT 1) AS older ON true"""

# The days that older versions have after an account's first day in this one, looked up one after the other: rows of all
# versions are read otherwise.
LATER: Final = """
CROSS JOIN LATERAL (
    WITH RECURSIVE next (day) AS (
        SELECT first.day
        UNION ALL
        SELECT (
            SELECT min(b.day) FROM balances AS b WHERE b.ledger_id = $1 AND b.account_id = first.account_id
                AND b.day > next.day AND b.version < first.version)
        FROM next WHERE day IS NOT NULL)
    SELECT day FROM next WHERE day > first.day) AS later"""
FIRST: Final = "(SELECT account_id, version, min(day) AS day FROM moved GROUP BY account_id, version) AS first"

# days: those of the version's entries, and those that older versions have after an account's first of them.
# new: what the version's entries come to until the end of each of those days.
# total: the same with the entries of older versions.
# written: what the table has then, which a trigger may have changed.
WRITE: Final = f"""
WITH {MOVED_WITH_CASH},
days AS (
    SELECT * FROM moved
    UNION ALL
    SELECT first.account_id, first.version, later.day, 0, 0, 0, 0, 0
    FROM {FIRST} {LATER}
    WHERE (first.account_id, later.day) NOT IN (SELECT account_id, day FROM moved)),
new AS (
    SELECT account_id, version, day, sum(amount) OVER running AS amount, sum(debit) OVER running AS debit,
        sum(credit) OVER running AS credit, sum(entries) OVER running AS entries, sum(cash) OVER running AS cash
    FROM days WINDOW running AS (PARTITION BY account_id ORDER BY day)),
total AS MATERIALIZED (
    SELECT $1::integer AS ledger_id, account_id, day, version, amount, amount + coalesce(older.balance, 0) AS balance,
        new.debit + coalesce(older.debit, 0) AS debit, new.credit + coalesce(older.credit, 0) AS credit,
        (new.entries + coalesce(older.entries, 0))::bigint AS entries, new.cash + coalesce(older.cash, 0) AS cash
    FROM new {OLDER}),
written AS (
    INSERT INTO balances (ledger_id, account_id, day, version, amount, balance, debit, credit, entries, cash)
    SELECT * FROM total
    RETURNING ledger_id, account_id, day, version, amount, balance, debit, credit, entries, cash)
SELECT count(*) FROM total FULL JOIN written USING (ledger_id, account_id, day, version)
WHERE (total.amount, total.balance, total.debit, total.credit, total.entries, total.cash)
    IS DISTINCT FROM (written.amount, written.balance, written.debit, written.credit, written.entries, written.cash)
"""

# new: every row of the versions, and every day with entries, with what the version's entries come to until then.
# wrong: the rows that differ from that and the totals of older versions; missing: the days that have no row, although
# an older version has one, and the account had an entry in this version before.
FAULTS: Final = f"""
new AS (
    SELECT account_id, version, day, kept.amount AS kept, kept.balance, kept.debit, kept.credit, kept.entries,
        kept.cash, coalesce(sum(moved.amount) OVER running, 0) AS moved,
        coalesce(sum(moved.debit) OVER running, 0) AS moved_debit,
        coalesce(sum(moved.credit) OVER running, 0) AS moved_credit,
        coalesce(sum(moved.entries) OVER running, 0) AS moved_entries, sum(moved.cash) OVER running AS moved_cash
    FROM moved
    FULL JOIN (SELECT * FROM balances WHERE ledger_id = $1 AND version BETWEEN $2 AND $3) AS kept
        USING (account_id, version, day)
    WINDOW running AS (PARTITION BY account_id, version ORDER BY day)),
wrong AS (
    SELECT account_id, version, day FROM new {OLDER}
    WHERE kept IS NULL OR kept <> moved
        OR new.balance <> moved + coalesce(older.balance, 0)
        OR new.debit <> moved_debit + coalesce(older.debit, 0)
        OR new.credit <> moved_credit + coalesce(older.credit, 0)
        OR new.entries <> moved_entries + coalesce(older.entries, 0)
        OR new.cash <> moved_cash + coalesce(older.cash, 0)),
missing AS (
    SELECT first.account_id, first.version, later.day
    FROM {FIRST} {LATER}
    WHERE NOT EXISTS (
        SELECT FROM balances AS kept WHERE kept.ledger_id = $1 AND kept.account_id = first.account_id
            AND kept.day = later.day AND kept.version = first.version))
SELECT CASE found.account_id WHEN 0 THEN 'all accounts' ELSE coalesce('account ' || code, 'an unknown account') END
    AS account, found.version, day
FROM (SELECT * FROM wrong UNION SELECT * FROM missing) AS found
LEFT JOIN accounts AS a ON a.ledger_id = $1 AND a.account_id = found.account_id
ORDER BY found.version, day, found.account_id LIMIT {MAX_FAULTS}
"""
SELECT_FAULTS: Final = f"WITH {MOVED_WITH_CASH}, {FAULTS}"
SELECT_FAULTS_BUT_CASH: Final = f"WITH {MOVED}, {FAULTS}"

# Transactions that cannot have been written by an import, and entries that no report shows.
SELECT_UNSOUND: Final = f"""
SELECT transaction_id, CASE
    WHEN sum(amount) <> 0 THEN 'does not balance'
    WHEN min(posted_on) <> max(posted_on) THEN 'has several dates'
    WHEN min(p.version) <> max(p.version) THEN 'has several versions'
    WHEN min(p.version) < 1 OR max(p.version) > $2 THEN 'has a version that the ledger does not have'
    ELSE 'is on an account that the ledger does not have' END AS what
FROM postings AS p LEFT JOIN accounts AS a USING (ledger_id, account_id)
WHERE ledger_id = $1 GROUP BY transaction_id
HAVING sum(amount) <> 0 OR min(posted_on) <> max(posted_on) OR min(p.version) <> max(p.version)
    OR min(p.version) < 1 OR max(p.version) > $2 OR bool_or(a.account_id IS NULL)
ORDER BY transaction_id LIMIT {MAX_FAULTS}
"""
SELECT_STRAY: Final = f"""
SELECT DISTINCT version FROM balances WHERE ledger_id = $1 AND version NOT BETWEEN 1 AND $2
ORDER BY version LIMIT {MAX_FAULTS}
"""
COUNT_LINES: Final = "SELECT count(*) FROM postings WHERE ledger_id = $1"


class TotalsDiffer(Exception):
    """The totals that were written are not those of the entries; the message names the first that differs."""


@dataclass(frozen=True, slots=True)
class TotalsFault:
    """A kept total that is not what the entries come to."""

    account: str
    version: int
    day: date

    def __str__(self) -> str:
        return f"the totals of {self.account} on {self.day} in version {self.version} are not those of its entries"


async def write(connection: Connection, ledger_id: int, version: int, lines: int) -> None:
    """Adds up the entries of one version; part of the transaction that wrote them.

    Statistics are taken of a ledger that is new, and of many entries at once; autovacuum does so as ledgers grow.

    Raises:
        TotalsDiffer: the table does not have what the entries come to.
    """
    if is_analyzed := version == 1 or lines > MANY:
        await connection.execute("ANALYZE postings, accounts", timeout=TIMEOUT_S)
    differ = await connection.fetchval(WRITE, ledger_id, version, version, timeout=TIMEOUT_S)
    # Every row is as it was computed; that this was right is proved by another way through the entries.
    faults = await select_faults(connection, SELECT_FAULTS_BUT_CASH, ledger_id, version, version)
    if faults or differ:
        what = str(faults[0]) if faults else f"{differ} rows of totals were changed while they were written"
        raise TotalsDiffer(f"the ledger was not written: {what}")
    if is_analyzed:
        await connection.execute("ANALYZE balances", timeout=TIMEOUT_S)
    await connection.execute(SUMMARIZE, timeout=TIMEOUT_S)


async def verify(connection: Connection, ledger: Ledger) -> list[str]:
    """Compares the entries of a ledger with each other and with the kept totals; returns what is wrong, or nothing.

    At most `MAX_FAULTS` of each kind are found. It must run in a transaction that sees one snapshot.
    """
    snapshot = (ledger.ledger_id, ledger.version)
    found = []
    if (lines := await connection.fetchval(COUNT_LINES, ledger.ledger_id, timeout=TIMEOUT_S)) != ledger.lines:
        found.append(f"the ledger has {lines} lines, and should have {ledger.lines}")
    for row in await connection.fetch(SELECT_UNSOUND, *snapshot, timeout=TIMEOUT_S):
        found.append(f"transaction {row['transaction_id']} {row['what']}")
    for row in await connection.fetch(SELECT_STRAY, *snapshot, timeout=TIMEOUT_S):
        found.append(f"there are totals of version {row['version']}, which the ledger does not have")
    faults = await select_faults(connection, SELECT_FAULTS, ledger.ledger_id, 1, ledger.version)
    return found + [str(fault) for fault in faults]


async def select_faults(
    connection: Connection, statement: str, ledger_id: int, first: int, last: int
) -> list[TotalsFault]:
    """The first totals of some versions that are not those of the entries."""
    rows: list[asyncpg.Record] = await connection.fetch(statement, ledger_id, first, last, timeout=TIMEOUT_S)
    return [TotalsFault(**row) for row in rows]
