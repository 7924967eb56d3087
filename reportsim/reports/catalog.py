"""The reports of this service: a sixth is one more entry."""

from typing import Final

from reportsim.reports.balance_sheet import BALANCE_SHEET
from reportsim.reports.cash_flow import CASH_FLOW
from reportsim.reports.general_ledger import GENERAL_LEDGER
from reportsim.reports.income_statement import INCOME_STATEMENT
from reportsim.reports.report_type import Parameters, ReportType
from reportsim.reports.trial_balance import TRIAL_BALANCE

CATALOG: Final[dict[str, ReportType]] = {
    report.name: report for report in (TRIAL_BALANCE, INCOME_STATEMENT, BALANCE_SHEET, CASH_FLOW, GENERAL_LEDGER)
}


def select_report(parameters: Parameters) -> ReportType:
    """The report that parameters ask for, in the variant of their options."""
    report = CATALOG[parameters["report_type"]]
    return next((variant for name, variant in report.variants.items() if parameters.get(name)), report)
