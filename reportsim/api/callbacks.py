"""POST /api/requests/redeliver: starts new series of callbacks for many requests at once."""

from aiohttp import web
from marshmallow import ValidationError

from reportsim.core.callback_policy.urls import Refusal
from reportsim.core.model import CallbackStatus
from reportsim.core.problems import flatten, invalid
from reportsim.schemas.redelivery import Redelivery
from reportsim.schemas.strict_json import parse_json
from reportsim.store.callbacks import Matching
from reportsim.web.body import read_json
from reportsim.web.keys import ENGINE
from reportsim.web.limits.rate_limit import charge_quota, rate_limited
from reportsim.web.responses import json_response


@rate_limited("async")
async def redeliver_many(request: web.Request) -> web.Response:
    """Starts a new series for the oldest matching requests; each counts as a request in the async quota.

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
    with charge_quota(request, "async", limit) as charge:
        started = await engine.changes.redeliver_matching(matching, charge.granted)
        charge.used = len(started)
    ids = [str(item.id) for item in started]
    more = len(ids) == charge.granted
    return json_response({"started": len(ids), "count": len(ids), "ids": ids, "more": more}, status=202)
