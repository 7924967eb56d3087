"""The button of each figure of a statement: requests the entries that it consists of."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.pages.forms import read_form
from reportsim.pages.request import render_request, submit_and_wait
from reportsim.pages.statement.entries import entries_body, no_entries, parse_source
from reportsim.pages.statement.layout import LAYOUTS
from reportsim.reports.accounts import find_codes, find_codes_of
from reportsim.reports.general_ledger import MAX_CODES
from reportsim.schemas.submission_parser import parse_body
from reportsim.schemas.submissions import Submission
from reportsim.store.pool import Connection
from reportsim.web.keys import ENGINE
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited
from reportsim.web.request_lookup import get_request_or_404, path_id
from reportsim.web.templating import html_page

FIGURE: Final = web.RequestKey("FIGURE", dict[str, Any])
STATEMENT: Final = web.RequestKey("STATEMENT", Request)


@html_page
async def request_entries(request: web.Request) -> web.StreamResponse:
    """Submits a sync request for the entries of a figure, waits for its end and redirects to it."""
    request[FIGURE] = parse_source((await read_form(request)).get("figure", ""))
    request[STATEMENT] = await get_request_or_404(request.app[ENGINE], path_id(request))
    try:
        return await submit_entries(request)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await render_request(request, problem)


@rate_limited("sync", raise_refusal)
async def submit_entries(request: web.Request) -> web.StreamResponse:
    """Submits the request, under the sync limits."""
    row, figure = request[STATEMENT], request[FIGURE]
    async with request.app[ENGINE].pool.acquire() as connection:
        codes = await find_accounts(connection, row, figure)
    if not (codes or ("earnings" in figure and "as_of" in row.input_payload)):
        raise no_entries()
    return await submit_and_wait(request, parse_body(Submission, entries_body(row.input_payload, figure, codes)))


async def find_accounts(connection: Connection, row: Request, figure: Mapping[str, Any]) -> list[str]:
    """The codes of the account of a figure, or of those that a sum is of, which may be one too many."""
    if "account" in figure:
        return await find_codes(connection, row, figure["account"])
    layout = LAYOUTS.get(row.input_payload["report_type"])
    line = layout.find(figure["sum"]) if layout and "sum" in figure else None
    return await find_codes_of(connection, row, line.accounts, MAX_CODES + 1) if line else []
