"""The reports of this service: a sixth is one more entry."""

from typing import Final

from reportsim.reports.report_type import ReportType
from reportsim.reports.trial_balance import TRIAL_BALANCE

CATALOG: Final[dict[str, ReportType]] = {report.name: report for report in (TRIAL_BALANCE,)}
