"""The schema of a bulk redelivery."""

from typing import Final

from marshmallow import fields, validate

from reportsim.core.model import CallbackStatus, Mode, Status
from reportsim.reports.fields import Moment, Whole
from reportsim.schemas.strict import Strict

MAX_REDELIVERIES: Final = 200
DEFAULT_REDELIVERIES: Final = 100
ORIGIN: Final = validate.Regexp(
    r"[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s\x00]+\Z", error="Not an origin like https://receiver.example.org."
)


class Redelivery(Strict):
    """Selects the requests to call back again; those with a running series never match."""

    callback_status = fields.String(
        load_default=CallbackStatus.FAILED, validate=validate.OneOf([CallbackStatus.FAILED, CallbackStatus.SUCCESS])
    )
    mode = fields.String(validate=validate.OneOf(list(Mode)))
    status = fields.String(validate=validate.OneOf([Status.COMPLETED, Status.FAILED]))
    origin = fields.String(validate=[validate.Length(1, 300), ORIGIN])
    since = Moment()
    until = Moment()
    limit = Whole(load_default=DEFAULT_REDELIVERIES, validate=validate.Range(1, MAX_REDELIVERIES))
