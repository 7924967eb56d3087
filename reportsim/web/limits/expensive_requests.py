"""GETs that cost more than a few milliseconds: not for pages of other sites, and their helpers not during a run."""

from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from reportsim.core.problems import Problem, unavailable
from reportsim.web.keys import RUNNER
from reportsim.web.middleware.origin import is_cross_site, is_own_origin

# What browsers say of a link that a user has followed, in a page of its own.
LINK_NAVIGATION: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}
RETRY_AFTER_S: Final = 5


def refuse_other_sites(request: web.Request) -> None:
    """Refuses what a page of another site asks for, unless a user has followed a link.

    Raises:
        Problem: 403.
    """
    if is_cross_site_request(request) and not all(
        request.headers.get(name) == LINK_NAVIGATION[name] for name in LINK_NAVIGATION
    ):
        raise Problem("forbidden-origin", "This takes computing, so a page of another site may not ask for it.")


def is_cross_site_request(request: web.Request) -> bool:
    """Whether a browser says that a page of another site made this request; old ones only say it in Referer."""
    if "Sec-Fetch-Site" in request.headers or hdrs.ORIGIN in request.headers:
        return is_cross_site(request)
    referer = request.headers.get(hdrs.REFERER)
    return referer is not None and not is_own_origin(request, referer)


def refuse_during_run(request: web.Request, id: UUID | None = None) -> None:
    """Refuses to start a helper while a run is measured, unless it is about that run.

    Raises:
        Problem: 503.
    """
    run = request.app[RUNNER].current
    if run is not None and run.id != id:
        raise unavailable("A race or benchmark is running, and this would disturb what it measures.", RETRY_AFTER_S)
