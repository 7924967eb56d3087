"""Loads a page of a request's statement."""

import contextlib
import os
from typing import Any, BinaryIO

from aiohttp import web

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.pages.statement.csv_page import MOST_BYTES, page_count, read_page
from reportsim.pages.statement.general_ledger import describe_selection, lay_out_general_ledger
from reportsim.pages.statement.matrix import has_matrix, paginate, read_matrix
from reportsim.pages.statement.model import Source, Statement, Table
from reportsim.pages.statement.periods import describe_comparison, describe_period
from reportsim.pages.statement.sections import lay_out_sections
from reportsim.pages.statement.trial_balance import lay_out_trial_balance
from reportsim.web.keys import ENGINE
from reportsim.web.limits.client_address import client_key
from reportsim.web.limits.concurrency_limit import LATE_PAGE_LIMIT

Json = dict[str, Any]


async def load_statement(request: web.Request, row: Request, number: int) -> Statement | None:
    """A page of the statement of a completed request; None if its file is not on this replica's disk.

    Raises:
        Problem: 404 beyond the last page; 429 or 503 while too many late pages of long files are read.
    """
    parameters, result = row.input_payload, row.result_payload
    assert result is not None
    is_matrix = has_matrix(parameters, result)
    if not is_matrix:
        check_page(number, page_count(result["rows"]))
    file = request.app[ENGINE].files.open(row.id)
    if file is None:
        return None
    is_late = number > 1 and result["bytes"] > MOST_BYTES
    limit = request.app[LATE_PAGE_LIMIT].permit(client_key(request)) if is_late else contextlib.nullcontext()
    with file, limit:
        # A crash of the machine may have truncated it.
        if file.seek(0, os.SEEK_END) != result["bytes"]:
            return None
        file.seek(0)
        read = load_matrix if is_matrix else load_rows
        return await read(file, number, parameters, result)


def check_page(number: int, pages: int) -> None:
    """Refuses a page beyond the last one."""
    if number > pages:
        raise Problem("not-found", f"There is no page {number}: the statement has {pages}.")


async def load_matrix(file: BinaryIO, number: int, parameters: Json, result: Json) -> Statement:
    """A page of a statement by period, from all of its file."""
    pages = paginate(await read_matrix(file), parameters, result)
    check_page(number, pages.count)
    table = pages.lay_out(parameters["report_type"], number)
    return Statement(period=describe_period(parameters), table=table, page=number, pages=pages.count, cut=False)


async def load_rows(file: BinaryIO, number: int, parameters: Json, result: Json) -> Statement:
    """A page of a statement whose rows are those of its file."""
    page = await read_page(file, number, result["rows"])
    source = Source(parameters=parameters, result=result, page=page)
    return Statement(
        selection=describe_selection(parameters),
        period=describe_comparison(parameters, result),
        table=lay_out(parameters["report_type"], source),
        page=number,
        pages=page_count(result["rows"]),
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
