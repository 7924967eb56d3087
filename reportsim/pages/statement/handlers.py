"""The button of each figure of a statement: requests the entries that it consists of."""

from typing import Any, Final

from aiohttp import web

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.pages.forms import read_form
from reportsim.pages.request import render_request, submit_and_wait
from reportsim.pages.statement.entries import entries_body, no_entries, parse_source
from reportsim.reports.accounts import find_codes
from reportsim.schemas.submission_parser import parse_body
from reportsim.schemas.submissions import Submission
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
    codes: list[str] = []
    if "account" in figure:
        async with request.app[ENGINE].pool.acquire() as connection:
            codes = await find_codes(connection, row, figure["account"])
    if not (codes or ("earnings" in figure and "as_of" in row.input_payload)):
        raise no_entries()
    return await submit_and_wait(request, parse_body(Submission, entries_body(row.input_payload, figure, codes)))
