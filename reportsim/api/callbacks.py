"""POST /api/requests/redeliver: new series of callbacks for many requests at once."""

from typing import Final

from aiohttp import web
from marshmallow import ValidationError, fields, validate

from reportsim.api.requests import json_response
from reportsim.core.callback_policy.urls import Refusal
from reportsim.core.model import CallbackStatus, Mode, Status
from reportsim.core.problems import flatten, invalid
from reportsim.reports.fields import Moment, Whole
from reportsim.schemas.requests import Strict
from reportsim.store.callbacks import Matching
from reportsim.web.body import parse_json, read_json
from reportsim.web.client_address import charging, limited
from reportsim.web.keys import ENGINE

MOST: Final = 200
DEFAULT: Final = 100
ORIGIN: Final = validate.Regexp(
    r"[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s\x00]+\Z", error="Not like https://receiver.example.org."
)


class Redelivery(Strict):
    """Which requests to call back again; those whose series is running never match."""

    callback_status = fields.String(
        load_default=CallbackStatus.FAILED, validate=validate.OneOf([CallbackStatus.FAILED, CallbackStatus.SUCCESS])
    )
    mode = fields.String(validate=validate.OneOf(list(Mode)))
    status = fields.String(validate=validate.OneOf([Status.COMPLETED, Status.FAILED]))
    origin = fields.String(validate=[validate.Length(1, 300), ORIGIN])
    since = Moment()
    until = Moment()
    limit = Whole(load_default=DEFAULT, validate=validate.Range(1, MOST))


@limited("async")
async def redeliver_many(request: web.Request) -> web.Response:
    """Starts a new series for the oldest that match, and says which; each costs the async quota as a request does.

    `more` says that the limit, or what was left of the quota, was reached.
    """
    raw = await read_json(request)
    body = parse_json(raw) if raw else {}
    if not isinstance(body, dict):
        raise invalid([{"detail": "The body must be a JSON object.", "pointer": "#"}])
    try:
        data = Redelivery().load(body)
    except ValidationError as error:
        raise invalid(flatten(error.messages)) from None
    limit = data.pop("limit")
    engine = request.app[ENGINE]
    if "origin" in data:
        target = engine.guard.check_url(data["origin"])
        if isinstance(target, Refusal):
            raise invalid([{"detail": target.detail, "pointer": "#/origin", "reason": target.reason}])
        data["origin"] = target.origin
    matching = Matching(callback_status=CallbackStatus(data.pop("callback_status")), **data)
    with charging(request, "async", limit) as charge:
        started = await engine.changes.redeliver_matching(matching, charge.granted)
        charge.used = len(started)
    ids = [str(item.id) for item in started]
    more = len(ids) == charge.granted
    return json_response({"started": len(ids), "count": len(ids), "ids": ids, "more": more}, status=202)
