"""Loads a page of a request's statement."""

import os

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.pages.statement.csv_page import page_count, read_page
from reportsim.pages.statement.general_ledger import lay_out_general_ledger
from reportsim.pages.statement.model import Source, Statement, Table
from reportsim.pages.statement.periods import describe_comparison
from reportsim.pages.statement.sections import lay_out_sections
from reportsim.pages.statement.trial_balance import lay_out_trial_balance
from reportsim.reports.files.folder import ReportFiles


async def load_statement(files: ReportFiles, row: Request, number: int) -> Statement | None:
    """A page of the statement of a completed request; None if its file is not on this replica's disk.

    Raises:
        Problem: 404 beyond the last page.
    """
    result = row.result_payload
    assert result is not None
    pages = page_count(result["rows"])
    if number > pages:
        raise Problem("not-found", f"There is no page {number}: the statement has {pages}.")
    file = files.open(row.id)
    if file is None:
        return None
    with file:
        # A crash of the machine may have truncated it.
        if file.seek(0, os.SEEK_END) != result["bytes"]:
            return None
        file.seek(0)
        page = await read_page(file, number, result["rows"])
    parameters = row.input_payload
    source = Source(parameters=parameters, result=result, page=page)
    return Statement(
        period=describe_comparison(parameters, result),
        table=lay_out(parameters["report_type"], source),
        page=number,
        pages=pages,
        cut=page.cut,
    )


def lay_out(report_type: str, source: Source) -> Table:
    """The table of a page."""
    match report_type:
        case "trial_balance":
            return lay_out_trial_balance(source)
        case "general_ledger":
            return lay_out_general_ledger(source)
        case _:
            return lay_out_sections(report_type, source)
