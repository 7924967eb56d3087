"""Balance sheet: what is owned, owed and left over at the end of a day.

Nothing is closed at year end: earnings of prior years and of the current one are computed, the fiscal year being the
calendar year.
"""

from datetime import date
from typing import Any, Final

from marshmallow import Schema

from reportsim.core.model import Ledger
from reportsim.reports.comparison import PREVIOUS_YEAR, compare_field, compared_days
from reportsim.reports.csv_guard import cell
from reportsim.reports.fields import IsoDate
from reportsim.reports.report_type import (
    ROWS_ARE_LINES,
    Check,
    Parameters,
    ReportType,
    with_comparison,
)
from reportsim.reports.sql import COMPARED_FROM, LEDGER, money, totals
from reportsim.store.ledgers import finite

PRIOR: Final = "Earnings of prior years"
CURRENT: Final = "Earnings of the current year"
COLUMNS: Final = ("section", "account_code", "account_name", "amount")


class BalanceSheetParameters(Schema):
    """The day at whose end the sheet is drawn up."""

    as_of = IsoDate(metadata={"description": "Last day that counts; by default the ledger's last."})
    compare = compare_field(
        PREVIOUS_YEAR, error=f"A balance sheet is of one day, before which is no period: use {PREVIOUS_YEAR}."
    )


AFTER: Final = f"{finite('$5')} + 1"
COMPARED_AFTER: Final = f"{finite('$7')} + 1"

# $4 is the first day of the year, $5 the last day that counts.
# account: the balance of each account with entries, and what it was before the year. earned: the same of all revenue
# and expense. line: the amounts by section and account in minor units, and the two computed rows.
STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT type, code, name, closing.balance AS amount, opening.balance AS before
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", "$4")} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", AFTER)} AS closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
earned AS (
    SELECT coalesce(-sum(before), 0) AS prior, coalesce(sum(before) - sum(amount), 0) AS current
    FROM account WHERE type IN ('revenue', 'expense')),
line AS MATERIALIZED (
    SELECT type AS section, code, name, CASE type WHEN 'asset' THEN amount ELSE -amount END AS amount, 0 AS computed
    FROM account WHERE type IN ('asset', 'liability', 'equity') AND amount <> 0
    UNION ALL SELECT 'equity', NULL, '{PRIOR}', prior, 1 FROM earned
    UNION ALL SELECT 'equity', NULL, '{CURRENT}', current, 2 FROM earned)
SELECT currency, exponent, (
        SELECT string_agg(concat_ws(',', section, {cell("code")}, {cell("name")}, {money("amount")}) || E'\\n', ''
            ORDER BY array_position(ARRAY['asset', 'liability', 'equity'], section), computed, code)
        FROM line) AS text, figure.*, all_accounts.balance AS entries_sum
FROM ledger CROSS JOIN (
    SELECT count(*) AS lines, sum(amount) FILTER (WHERE section = 'asset') AS assets,
        sum(amount) FILTER (WHERE section = 'liability') AS liabilities,
        sum(amount) FILTER (WHERE section = 'equity' AND computed = 0) AS equity,
        sum(amount) FILTER (WHERE computed > 0) AS earnings
    FROM line) AS figure
CROSS JOIN {totals("0", AFTER)} AS all_accounts
"""


# $6 is the first day of the year that is compared, $7 the last day of it that counts.
COMPARED_STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT type, code, name, closing.balance AS amount, opening.balance AS before,
        compare_closing.balance AS compare_amount, compare_opening.balance AS compare_before
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", "$4")} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", AFTER)} AS closing
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_FROM)} AS compare_opening
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_AFTER)} AS compare_closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
earned AS (
    SELECT coalesce(-sum(before), 0) AS prior, coalesce(sum(before) - sum(amount), 0) AS current,
        coalesce(-sum(compare_before), 0) AS compare_prior,
        coalesce(sum(compare_before) - sum(compare_amount), 0) AS compare_current
    FROM account WHERE type IN ('revenue', 'expense')),
line AS MATERIALIZED (
    SELECT type AS section, code, name, CASE type WHEN 'asset' THEN amount ELSE -amount END AS amount,
        CASE type WHEN 'asset' THEN compare_amount ELSE -compare_amount END AS compare_amount, 0 AS computed
    FROM account WHERE type IN ('asset', 'liability', 'equity') AND (amount <> 0 OR compare_amount <> 0)
    UNION ALL SELECT 'equity', NULL, '{PRIOR}', prior, compare_prior, 1 FROM earned
    UNION ALL SELECT 'equity', NULL, '{CURRENT}', current, compare_current, 2 FROM earned)
SELECT currency, exponent, (
        SELECT string_agg(concat_ws(',', section, {cell("code")}, {cell("name")}, {money("amount")},
            {money("compare_amount")}, {money("(amount - compare_amount)")}) || E'\\n', ''
            ORDER BY array_position(ARRAY['asset', 'liability', 'equity'], section), computed, code)
        FROM line) AS text, figure.*, all_accounts.balance AS entries_sum,
    compare_accounts.balance AS compare_entries_sum
FROM ledger CROSS JOIN (
    SELECT count(*) AS lines, sum(amount) FILTER (WHERE section = 'asset') AS assets,
        sum(amount) FILTER (WHERE section = 'liability') AS liabilities,
        sum(amount) FILTER (WHERE section = 'equity' AND computed = 0) AS equity,
        sum(amount) FILTER (WHERE computed > 0) AS earnings,
        sum(compare_amount) FILTER (WHERE section = 'asset') AS compare_assets,
        sum(compare_amount) FILTER (WHERE section = 'liability') AS compare_liabilities,
        sum(compare_amount) FILTER (WHERE section = 'equity' AND computed = 0) AS compare_equity,
        sum(compare_amount) FILTER (WHERE computed > 0) AS compare_earnings
    FROM line) AS figure
CROSS JOIN {totals("0", AFTER)} AS all_accounts
CROSS JOIN {totals("0", COMPARED_AFTER)} AS compare_accounts
"""


def complete(parameters: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Takes the ledger's last day where none is given."""
    completed = {"as_of": ledger.last_on.isoformat(), **parameters}
    if "compare" in completed:
        compared_days(completed)
    return completed


def arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The first day of the year, and the day."""
    day = date.fromisoformat(parameters["as_of"])
    return date(day.year, 1, 1), day


def compared_arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The same, and the same of the day that it is compared with."""
    return *arguments(parameters), *arguments(compared_days(parameters))


TOTALS: Final = ("assets", "liabilities", "equity", "earnings")
CHECKS: Final = (
    Check(
        "assets_equal_liabilities_and_equity",
        lambda f: f["assets"] == f["liabilities"] + f["equity"] + f["earnings"],
    ),
    Check("entries_sum_to_zero", lambda f: f["entries_sum"] == 0),
)

PLAIN: Final = ReportType(
    name="balance_sheet",
    title="Balance sheet",
    parameters=BalanceSheetParameters,
    complete=complete,
    columns=lambda parameters: COLUMNS,
    statement=STATEMENT,
    arguments=arguments,
    totals=TOTALS,
    checks=(*CHECKS, ROWS_ARE_LINES),
)

BALANCE_SHEET: Final = with_comparison(PLAIN, COMPARED_STATEMENT, compared_arguments, CHECKS)
