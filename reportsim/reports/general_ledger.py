"""General ledger: every entry of every account, with a running balance."""

from dataclasses import replace
from typing import Any, Final

from marshmallow import Schema, validate

from reportsim.reports.csv_guard import cell, guarded
from reportsim.reports.fields import Several, Text, YesNo
from reportsim.reports.report_type import (
    INTERVAL,
    Check,
    Listing,
    Parameters,
    ReportType,
    complete_interval,
    interval,
)
from reportsim.reports.sql import FROM, LEDGER, TO, money, totals

MAX_CODES: Final = 1_000
# More entries than this are streamed by COPY: they would be too much for one row, and for the memory of both sides.
MAX_ENTRIES: Final = 20_000
# The same of descriptions, one and all together.
MAX_DESCRIPTION: Final = 1_000
MAX_BYTES: Final = 1 << 22

GeneralLedgerParameters = Schema.from_dict(
    {
        **INTERVAL,
        "account_codes": Several(
            Text(validate=validate.Length(1, 100)),
            validate=validate.Length(1, MAX_CODES),
            metadata={"description": "Only these accounts; by default all."},
        ),
        "cash_only": YesNo(
            load_default=False,
            metadata={"description": "Only entries of transactions that have a line on a cash account too."},
        ),
    },
    name="GeneralLedgerParameters",
)

COLUMNS: Final = (
    "account_code",
    "account_name",
    "date",
    "transaction_id",
    "debit",
    "credit",
    "running_balance",
    "description",
)

# $4 and $5 are the days from and to, $6 the codes of the accounts, or NULL for all.
# account: the accounts with entries in the interval, with how their names stand in the file; their order as a number
# halves the time of the sort.
ACCOUNT: Final = f"""
account AS MATERIALIZED (
    SELECT account_id, {{names}}, row_number() OVER (ORDER BY code) AS place,
        opening.balance AS opening, closing.balance AS closing, closing.entries - opening.entries AS entries,
        closing.debit - opening.debit AS debit, closing.credit - opening.credit AS credit
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    WHERE ledger_id = $1 AND version <= $2 AND ($6::text[] IS NULL OR code = ANY($6))
        AND closing.entries <> opening.entries)"""
# One sort serves both the running balance and the order.
ENTRIES: Final = """
    SELECT {names}, posted_on, transaction_id, amount, description, opening + sum(amount) OVER (
        PARTITION BY place ORDER BY posted_on, transaction_id, line_no ROWS UNBOUNDED PRECEDING) AS running
    FROM account JOIN postings AS p USING (account_id)
    WHERE p.ledger_id = {ledger} AND p.posted_on >= {first} AND p.posted_on < {after} AND p.version <= $2{condition}
    ORDER BY place, posted_on, transaction_id, line_no"""

# Whether the entries fit into one row, and their text, which is not even made of the longest ones.
IS_SMALL: Final = f"""coalesce(
            max(octet_length(description)) <= {MAX_DESCRIPTION} AND sum(octet_length(description)) <= {MAX_BYTES},
            true) AS is_small"""
TEXT: Final = f"""string_agg(
            concat_ws(',', cells, posted_on, transaction_id, {money("greatest(amount, 0)")},
                {money("greatest(-amount, 0)")}, {money("running")}, {cell("description")}) || E'\\n', ''
        ) FILTER (WHERE octet_length(description) <= {MAX_DESCRIPTION}) AS text"""


def few_entries(condition: str = "") -> str:
    """The entries, or none where there are too many of them.

    The subselects hide the ledger and the days from the planner, which else would plan for each interval anew.
    """
    return ENTRIES.format(
        names="cells",
        ledger="(SELECT $1::integer)",
        first=f"(SELECT {FROM})",
        after=f"(SELECT {TO}::date)",
        condition=f" AND (SELECT entries <= {MAX_ENTRIES} FROM kept){condition}",
    )


# kept: the totals of the accounts, and the closing balance of the last one.
# listed: what the entries themselves come to, and their text.
STATEMENT: Final = f"""
WITH {LEDGER}, {ACCOUNT.format(names=f"{cell('code')} || ',' || {cell('name')} AS cells")},
kept AS MATERIALIZED (
    SELECT coalesce(sum(entries), 0) AS entries, sum(debit) AS debit, sum(credit) AS credit,
        (array_agg(closing ORDER BY place DESC))[1] AS last_closing
    FROM account)
SELECT currency, exponent, CASE WHEN is_small AND entries <= {MAX_ENTRIES} THEN coalesce(text, '') END AS text, kept.*,
    listed_debit, listed_credit, ($6::text[] IS NULL)::integer AS whole
FROM ledger CROSS JOIN kept CROSS JOIN LATERAL (
    SELECT {TEXT}, {IS_SMALL},
        sum(greatest(amount, 0)) AS listed_debit, sum(greatest(-amount, 0)) AS listed_credit
    FROM ({few_entries()}) AS entry) AS listed
"""

NAMES: Final = f"{guarded('code')} AS code_cell, {guarded('name')} AS name_cell"
LISTING_FORM: Final = f"""
WITH {LEDGER}, {{account}}
SELECT code_cell AS account_code, name_cell AS account_name, posted_on AS date, transaction_id,
    {money("greatest(amount, 0)")} AS debit, {money("greatest(-amount, 0)")} AS credit,
    {money("running")} AS running_balance, {guarded("description")} AS description
FROM ({{entries}}) AS entry CROSS JOIN ledger
"""
LISTING: Final = LISTING_FORM.format(
    account=ACCOUNT.format(names=NAMES),
    entries=ENTRIES.format(names="code_cell, name_cell", ledger="$1", first=FROM, after=TO, condition=""),
)
LISTING_FIGURES: Final = f"""
WITH {ACCOUNT.format(names="$3::boolean AS csv_guard")}
SELECT sum(greatest(amount, 0)) AS listed_debit, sum(greatest(-amount, 0)) AS listed_credit
FROM account JOIN postings AS p USING (account_id)
WHERE p.ledger_id = $1 AND p.posted_on >= {FROM} AND p.posted_on < {TO} AND p.version <= $2
"""


# The same of transactions with cash. What they come to is kept, but not their number, which `entries` is at most.
CASH_ACCOUNT: Final = f"""
account AS MATERIALIZED (
    SELECT account_id, {{names}}, row_number() OVER (ORDER BY code) AS place,
        opening.cash AS opening, closing.cash AS closing, closing.entries - opening.entries AS entries
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    WHERE ledger_id = $1 AND version <= $2 AND ($6::text[] IS NULL OR code = ANY($6))
        AND closing.entries <> opening.entries)"""
WITH_CASH: Final = """ AND EXISTS (
        SELECT 1 FROM postings AS c JOIN accounts AS a USING (ledger_id, account_id)
        WHERE c.ledger_id = $1 AND c.transaction_id = p.transaction_id AND a.is_cash)"""
CASH_FIGURES: Final = """count(*) AS listed, sum(greatest(amount, 0)) AS debit,
        sum(greatest(-amount, 0)) AS credit"""
CASH_STATEMENT: Final = f"""
WITH {LEDGER}, {CASH_ACCOUNT.format(names=f"{cell('code')} || ',' || {cell('name')} AS cells")},
kept AS MATERIALIZED (
    SELECT coalesce(sum(entries), 0) AS entries, sum(closing) - sum(opening) AS net FROM account)
SELECT currency, exponent, CASE WHEN is_small AND entries <= {MAX_ENTRIES} THEN coalesce(text, '') END AS text, net,
    listed, debit, credit, ($6::text[] IS NULL)::integer AS whole
FROM ledger CROSS JOIN kept CROSS JOIN LATERAL (
    SELECT {TEXT}, {IS_SMALL}, {CASH_FIGURES}
    FROM ({few_entries(WITH_CASH)}) AS entry) AS listed
"""
CASH_LISTING: Final = LISTING_FORM.format(
    account=CASH_ACCOUNT.format(names=NAMES),
    entries=ENTRIES.format(names="code_cell, name_cell", ledger="$1", first=FROM, after=TO, condition=WITH_CASH),
)
CASH_LISTING_FIGURES: Final = f"""
WITH {CASH_ACCOUNT.format(names="$3::boolean AS csv_guard")}
SELECT {CASH_FIGURES}
FROM account JOIN postings AS p USING (account_id)
WHERE p.ledger_id = $1 AND p.posted_on >= {FROM} AND p.posted_on < {TO} AND p.version <= $2{WITH_CASH}
"""


def arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The interval, and the codes of the accounts."""
    return *interval(parameters), parameters.get("account_codes")


DEBITS_EQUAL_CREDITS: Final = Check(
    "debits_equal_credits", lambda f: f["debit"] == f["credit"], applies=lambda f: bool(f["whole"])
)

ALL_ENTRIES: Final = ReportType(
    name="general_ledger",
    title="General ledger",
    parameters=GeneralLedgerParameters,
    complete=complete_interval,
    columns=lambda parameters: COLUMNS,
    statement=STATEMENT,
    arguments=arguments,
    balance_column=COLUMNS.index("running_balance"),
    listing=Listing(statement=LISTING, figures=LISTING_FIGURES),
    totals=("debit", "credit"),
    checks=(
        Check("rows_are_entries", lambda f: f["rows"] == f["entries"]),
        DEBITS_EQUAL_CREDITS,
        Check(
            "entries_are_kept_totals", lambda f: (f["listed_debit"], f["listed_credit"]) == (f["debit"], f["credit"])
        ),
        Check("last_balance_is_closing", lambda f: not f["rows"] or f["last_balance"] == f["last_closing"]),
    ),
)

# The running balances of these are of their entries alone.
CASH_ENTRIES: Final = replace(
    ALL_ENTRIES,
    statement=CASH_STATEMENT,
    balance_column=None,
    listing=Listing(statement=CASH_LISTING, figures=CASH_LISTING_FIGURES),
    checks=(
        Check("rows_are_entries", lambda f: f["rows"] == f["listed"]),
        DEBITS_EQUAL_CREDITS,
        Check("entries_are_kept_totals", lambda f: f["debit"] - f["credit"] == f["net"]),
    ),
)

GENERAL_LEDGER = replace(ALL_ENTRIES, variants={"cash_only": CASH_ENTRIES})
