"""The page that explains a kind of problem."""

from aiohttp import web

from reportsim.core.problems import KINDS, Kind, Problem
from reportsim.web.templating import html_page, render


@html_page
async def show_problem(request: web.Request) -> web.StreamResponse:
    """Explains a kind of problem and what to do about it."""
    kind: Kind | None = KINDS.get(request.match_info["slug"])
    if kind is None:
        raise Problem("not-found", "There is no problem type of this name.")
    return render(request, "problem.html", kind=kind)
