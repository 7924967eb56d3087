"""Protects GET requests that take more than a few milliseconds: from other sites, and during benchmark runs."""

from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from reportsim.core.problems import Problem, unavailable
from reportsim.web.keys import RUNNER
from reportsim.web.middleware.origin import is_cross_site, is_own_origin

# The headers of a link that a user followed to a page of its own.
LINK_NAVIGATION: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}
RETRY_AFTER_S: Final = 5


def refuse_other_sites(request: web.Request) -> None:
    """Refuses requests from pages of other sites, unless a user followed a link.

    Raises:
        Problem: 403.
    """
    if is_cross_site_request(request) and not all(
        request.headers.get(name) == LINK_NAVIGATION[name] for name in LINK_NAVIGATION
    ):
        raise Problem("forbidden-origin", "This is expensive to compute, so pages of other sites must not request it.")


def is_cross_site_request(request: web.Request) -> bool:
    """Whether a browser reports that a page of another site made this request; old browsers only send Referer."""
    if "Sec-Fetch-Site" in request.headers or hdrs.ORIGIN in request.headers:
        return is_cross_site(request)
    referer = request.headers.get(hdrs.REFERER)
    return referer is not None and not is_own_origin(request, referer)


def refuse_during_run(request: web.Request, id: UUID | None = None) -> None:
    """Refuses to start a helper process while a benchmark runs, unless it is for that run.

    Raises:
        Problem: 503.
    """
    run = request.app[RUNNER].current
    if run is not None and run.id != id:
        raise unavailable("A race or benchmark is running, and this would disturb its measurements.", RETRY_AFTER_S)
