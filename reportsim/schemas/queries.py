"""The query parameters of lists and comparisons."""

from typing import Final

from marshmallow import fields, validate

from reportsim.core.model import CallbackStatus, Mode, Status
from reportsim.reports.fields import Digits, Identifier
from reportsim.schemas.strict import Strict
from reportsim.store import benchmarks as store

MAX_PAGE: Final = 200
DEFAULT_PAGE: Final = 50


class ListQuery(Strict):
    """The parameters of the list."""

    limit = Digits(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(
        metadata={"description": "Where the previous page ended, from `next`.", "pattern": r"[A-Za-z0-9_-]+"}
    )
    status = fields.String(validate=validate.OneOf(list(Status)))
    mode = fields.String(validate=validate.OneOf(list(Mode)))
    callback_status = fields.String(validate=validate.OneOf(list(CallbackStatus)))
    run = Identifier(
        metadata={"description": "Only requests of this benchmark run; requests of runs are omitted otherwise."}
    )


class LogsQuery(Strict):
    """The parameters of the callback attempts; the default page is the largest one."""

    limit = Digits(load_default=MAX_PAGE, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(
        metadata={"description": "Where the previous page ended, from `next`.", "pattern": r"[A-Za-z0-9_-]+"}
    )


DEFAULT_LIST: Final = 50


class BenchmarksQuery(Strict):
    """The parameters of the list."""

    limit = Digits(load_default=DEFAULT_LIST, validate=validate.Range(1, store.KEPT))


class ComparisonQuery(Strict):
    """The parameters of a comparison."""

    with_ = Identifier(required=True, data_key="with", metadata={"description": "The id of the run to compare with."})


class PercentilesQuery(Strict):
    """The parameters of a percentile distribution."""

    side = fields.String(
        load_default=None,
        validate=validate.OneOf(["sync", "async", "a", "b"]),
        metadata={"description": "The side of the run, the first one if left out; those of an A/A run are a and b."},
    )
