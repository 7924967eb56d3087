"""The shapes of what the service answers. They describe, and load nothing; tests hold them against the answers."""

import functools
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from reportsim.core.model import CallbackStatus, Mode, Status
from reportsim.reports.catalog import CATALOG


def always(kind: type[fields.Field[Any]], about: str = "", **options: Any) -> Any:
    """A member that is always there."""
    metadata = {"description": about} if about else {}
    return kind(required=True, metadata=metadata | options.pop("metadata", {}), **options)


text = functools.partial(always, fields.String)
whole = functools.partial(always, fields.Integer, validate=validate.Range(0))
number = functools.partial(always, fields.Float, validate=validate.Range(0))
moment = functools.partial(always, fields.AwareDateTime)
identifier = functools.partial(always, fields.UUID)
yes_no = functools.partial(always, fields.Boolean)
path = functools.partial(text, metadata={"format": "uri-reference"})


class Shape(Schema):
    """A shape that may gain members."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE


class InvalidValue(Shape):
    """One value that is not valid: a JSON Pointer (RFC 6901) into the body, or the name of a query parameter."""

    detail = text("What is wrong with it.")
    pointer = fields.String()
    parameter = fields.String()
    reason = fields.String(metadata={"description": "A code for programs, where a callback URL is refused."})


class Problem(Shape):
    """A problem document (RFC 9457)."""

    type = path("The kind of problem, which is also a page for people.")
    title = text("The kind in words; the same for all problems of a kind.")
    status = always(fields.Integer, "The HTTP status.", validate=validate.Range(400, 599))
    detail = fields.String(metadata={"description": "What happened this time."})
    instance = fields.String(metadata={"description": "The request that it is about.", "format": "uri-reference"})
    request_id = fields.String(metadata={"description": "The id to look for in the log."})
    trace_id = fields.String(metadata={"description": "The trace that the request is part of."})
    errors = fields.List(fields.Nested(InvalidValue))
    violated_policies = fields.List(fields.String(), data_key="violated-policies")


class Check(Shape):
    """An invariant of a report; one that does not hold makes the request fail."""

    name = text()
    ok = yes_no()


class Timings(Shape):
    """Where the time went, in milliseconds."""

    queue = number(
        "From acceptance until a worker slot is taken; `started_at`, when the work begins, is later by the claim."
    )
    service = number("In the slot.")
    total = number("From acceptance to the end.")


class Result(Shape):
    """A finished report. Amounts are integers in minor units: with exponent 2, 1234 are 12.34 of the currency."""

    report_type = text(validate=validate.OneOf(list(CATALOG)))
    file = text("The name of the CSV file.")
    rows = whole("Lines of the CSV file without its header.")
    bytes = whole()
    sha256 = text(validate=validate.Regexp("[0-9a-f]{64}"))
    currency = text(validate=validate.Regexp("[A-Z]{3}"))
    exponent = whole("Decimals of the currency.")
    from_ = fields.Date(data_key="from")
    to = fields.Date()
    as_of = fields.Date()
    totals = always(fields.Dict, keys=fields.String(), values=fields.Integer())
    checks = always(fields.List, cls_or_instance=fields.Nested(Check))
    timings_ms = always(fields.Nested, nested=Timings)


class Links(Shape):
    """Where to go on."""

    self = path()
    report = path("The CSV file; null until there is one.", allow_none=True)
    callback_logs = path()


class Request(Shape):
    """A request and its state, as every endpoint shows it."""

    id = identifier()
    mode = text(validate=validate.OneOf(list(Mode)))
    status = text("COMPLETED and FAILED are final.", validate=validate.OneOf(list(Status)))
    input_payload = always(fields.Dict, "What was asked for, completed.")
    result_payload = always(fields.Nested, "Null until the report is done.", nested=Result, allow_none=True)
    callback_url = text(allow_none=True)
    callback_status = text(
        "Where the latest series of attempts stands.",
        validate=validate.OneOf(list(CallbackStatus)),
        allow_none=True,
    )
    callback_attempts = whole("Attempts of the latest series.")
    idempotency_key = text(allow_none=True)
    created_at = moment()
    started_at = moment(allow_none=True)
    completed_at = moment(allow_none=True)
    error = always(fields.Nested, "Why it failed.", nested=Problem, allow_none=True)
    links = always(fields.Nested, nested=Links)


class RequestPage(Shape):
    """One page of requests, newest first."""

    items = always(fields.List, cls_or_instance=fields.Nested(Request))
    next = path("The next page; null on the last one.", allow_none=True)


class Redelivered(Shape):
    """The requests that are called back anew, oldest first."""

    started = whole("How many series have begun.")
    count = whole("The same number.")
    ids = always(fields.List, cls_or_instance=fields.UUID())
    more = yes_no("Whether the limit or the quota was reached, and the same call may find more.")


class CallbackLog(Shape):
    """A callback attempt whose end the service saw."""

    id = identifier()
    request_id = identifier()
    series = always(fields.Integer, "1, and one more for each redelivery.", validate=validate.Range(1))
    attempt_number = always(fields.Integer, validate=validate.Range(1))
    status_code = always(fields.Integer, "The receiver's answer, if there was one.", allow_none=True)
    success = yes_no()
    reason = text("Why it failed, as a code.", allow_none=True)
    error_message = text(allow_none=True)
    response_time_ms = number()
    attempted_at = moment()
    remote_ip = text("The address that was dialed.", allow_none=True)
    response_excerpt = text(allow_none=True)
    next_attempt_at = moment(allow_none=True)


class CallbackLogs(Shape):
    """The callback attempts of a request, oldest first, a page at a time."""

    items = always(fields.List, cls_or_instance=fields.Nested(CallbackLog))
    next = text("Where the next page is.", allow_none=True)


class Ledger(Shape):
    """A ledger, its window `[from, to)` and its size."""

    name = text()
    currency = text(validate=validate.Regexp("[A-Z]{3}"))
    exponent = whole()
    from_ = always(fields.Date, data_key="from")
    to = always(fields.Date)
    lines = whole()


class Ledgers(Shape):
    """All ledgers."""

    items = always(fields.List, cls_or_instance=fields.Nested(Ledger))


class Arrival(Shape):
    """A callback as it came in at the demo receiver."""

    received_at = moment()
    since_accepted_ms = always(
        fields.Float, "Since its request was accepted, as the signed body says; else null.", allow_none=True
    )
    headers = always(fields.Dict, keys=fields.String(), values=fields.String())
    body = text()
    verified = yes_no("Whether the signature holds.")
    duplicate = yes_no("Whether a message of this id was accepted before.")
    answer = text("The step of the script that was played.")


class Inbox(Shape):
    """What arrived in an inbox on this replica, oldest first."""

    inbox = text()
    items = always(fields.List, cls_or_instance=fields.Nested(Arrival))


class Received(Shape):
    """The demo receiver's answer."""

    received = yes_no()


class Health(Shape):
    """The event loop turns."""

    status = text(validate=validate.Equal("ok"))


class Readiness(Shape):
    """Whether work can be taken, and what keeps it from that."""

    status = text(validate=validate.OneOf(["ready", "not ready"]))
    checks = always(fields.Dict, keys=fields.String(), values=fields.Boolean())
    failing = always(fields.List, cls_or_instance=fields.String())


class Event(Shape):
    """A Server-Sent Event; its data are JSON in one line.

    `requests`: `{"items": […]}` with the newest states of requests that changed. `callback`: a row of the callback log.
    `benchmark`: how far a run is, with its status and each side's connections, queue and workers. `reset`: what you
    asked to resume from is no longer known; read again.
    """

    id = fields.String(metadata={"description": "To resume from, by Last-Event-ID."})
    event = fields.String()
    data = fields.String()
    retry = fields.Integer()


class CallbackEvent(Shape):
    """The body of a callback: the same bytes on every attempt."""

    type = text(validate=validate.OneOf(["report.completed", "report.failed"]))
    timestamp = moment("When the request ended.")
    data = always(fields.Nested, "The request, its links absolute.", nested=Request)
