"""Validates query parameters."""

from collections import Counter
from typing import Any

from aiohttp import web
from marshmallow import ValidationError

from reportsim.core.problems import invalid
from reportsim.schemas.strict import Strict


def load_query(schema: Strict, request: web.Request) -> dict[str, Any]:
    """Validates the query parameters of a request.

    Raises:
        Problem: 422 with all invalid parameters.
    """
    errors = [
        {"detail": "Given more than once.", "parameter": name}
        for name, times in Counter(name for name, _ in request.query.items()).items()
        if times > 1
    ]
    data: dict[str, Any] = {}
    try:
        data = schema.load(dict(request.query))
    except ValidationError as error:
        assert isinstance(error.messages, dict)
        errors += [{"detail": text, "parameter": str(name)} for name, texts in error.messages.items() for text in texts]
    if errors:
        raise invalid(errors, "Some query parameters are not valid.")
    return data
