"""Refuses unknown query parameters, on every method and route of the API."""

from typing import Final

from aiohttp import web

from reportsim.api.openapi.operations import OPERATIONS
from reportsim.schemas.strict import Strict
from reportsim.web.query_parameters import load_query

API: Final = "/api/"
NO_PARAMETERS: Final = Strict()


def refuse_unknown_parameters(request: web.Request) -> None:
    """Refuses query parameters of operations and forms that have none.

    Operations with parameters validate them themselves. Pages ignore unknown ones, such as campaign parameters.

    Raises:
        Problem: 422.
    """
    if request.query_string and has_no_parameters(request):
        load_query(NO_PARAMETERS, request)


def has_no_parameters(request: web.Request) -> bool:
    """Whether the route of a request has no query parameters."""
    match = request.match_info
    if match.http_exception is not None:
        return False
    resource = match.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    operation = OPERATIONS.get((method, resource.canonical)) if resource else None
    if operation is None:
        return request.method == "POST" or request.path.startswith(API)
    return operation.query is None and request.path.startswith(API)
