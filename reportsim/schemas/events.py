"""The query parameters of the event stream, and the URL of a stream that resumes."""

from typing import Any, Final
from uuid import UUID

from marshmallow import ValidationError, fields, pre_load
from yarl import URL

from reportsim.reports.fields import Identifier
from reportsim.schemas.strict import Strict

# The query parameters in which EventSource polyfills send the id when they reconnect.
POLYFILL_NAMES: Final = ("lastEventId", "Last-Event-ID")


class EventsQuery(Strict):
    """Which events a stream contains, and where it resumes."""

    request_id = Identifier(metadata={"description": "Only events of this request."})
    run = Identifier(metadata={"description": "Only events of this benchmark run."})
    last_event_id = fields.String(
        metadata={
            "description": "Where to resume; the header takes precedence. Also `lastEventId` and `Last-Event-ID`."
        }
    )

    @pre_load
    def take_other_names(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Prefers the id of a polyfill, which is newer than the one that the URL had before."""
        given = {name: data[name] for name in POLYFILL_NAMES if data.get(name)}
        if len(set(given.values())) > 1:
            raise ValidationError(f"Contradicts {POLYFILL_NAMES[0]}.", POLYFILL_NAMES[1])
        others = {name: value for name, value in data.items() if name not in POLYFILL_NAMES}
        return {**others, "last_event_id": next(iter(given.values()))} if given else others


def stream_url(last_event_id: str, **parameters: UUID | None) -> str:
    """The URL of the event stream that continues where a page was read."""
    given = {name: str(value) for name, value in parameters.items() if value}
    return str(URL("/api/events").with_query({**given, "last_event_id": last_event_id}))
