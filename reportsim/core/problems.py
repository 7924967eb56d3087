"""Problem details (RFC 9457): every kind of error the service can answer, in one catalog."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A problem type: its title never changes, its page says what to do."""

    slug: str
    status: int
    title: str
    about: str
    uri: str = ""

    @property
    def type(self) -> str:
        """The `type` member: a path that resolves to a page for people."""
        return self.uri or f"/problems/{self.slug}"


# What a refusal may list: an answer stays small, whatever was sent.
MOST_ERRORS: Final = 100
LONGEST_TEXT: Final = 300
QUOTA_URI: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"

KINDS: Final[Mapping[str, Kind]] = {
    kind.slug: kind
    for kind in (
        Kind(
            "malformed-request",
            400,
            "The request is malformed",
            "The body, a header or a parameter cannot be read. Nothing was done.",
        ),
        Kind(
            "invalid-idempotency-key",
            400,
            "The idempotency key is invalid",
            "A key has 1 to 255 printable ASCII characters and is sent once.",
        ),
        Kind(
            "invalid-cursor",
            400,
            "The cursor is not valid here",
            "A cursor belongs to the list and the filters that made it. Start again without one.",
        ),
        Kind(
            "forbidden-origin",
            403,
            "Requests from other sites are refused",
            "A browser sent this from a page of another site. Send it from this service's own pages.",
        ),
        Kind(
            "own-callback",
            403,
            "A callback of this service came back to it",
            "Its URL leads back here by a relay or a proxy; only /webhook-test/ takes callbacks.",
        ),
        Kind(
            "not-found",
            404,
            "Nothing is here",
            "The path, the id or the file name is unknown, or has been removed after the retention time.",
        ),
        Kind(
            "method-not-allowed",
            405,
            "The method is not allowed",
            "The Allow header lists the methods of this resource.",
        ),
        Kind(
            "request-timeout",
            408,
            "The request took too long to arrive",
            "Send the whole body within ten seconds.",
        ),
        Kind("conflict", 409, "The state does not allow this", "Read the resource again: it has moved on."),
        Kind("cancelled", 409, "The request was cancelled", "Somebody cancelled this request before it ended."),
        Kind(
            "idempotency-in-progress",
            409,
            "The first request with this key is still running",
            "Follow the status link, or retry after the time in Retry-After.",
        ),
        Kind(
            "report-expired",
            410,
            "The report cannot be made again",
            "Its file is gone, and so is the ledger or the version that made it. Ask for a new report.",
        ),
        Kind(
            "precondition-failed",
            412,
            "A precondition failed",
            "The file is not the one that If-Match names.",
        ),
        Kind(
            "too-large", 413, "The body is too large", "A body has at most 64 KiB, one for the demo receiver 256 KiB."
        ),
        Kind(
            "uri-too-long",
            414,
            "The request line is too long",
            "A request line has at most 8,190 bytes. Send what is long in a body.",
        ),
        Kind(
            "unsupported-media-type",
            415,
            "The media type is not supported",
            "Send application/json in UTF-8; a page's form is application/x-www-form-urlencoded.",
        ),
        Kind(
            "range-not-satisfiable",
            416,
            "The range cannot be satisfied",
            "Content-Range says how long the file is.",
        ),
        Kind(
            "expectation-failed",
            417,
            "The expectation cannot be met",
            "The Expect header may be left out, or say 100-continue.",
        ),
        Kind(
            "misdirected",
            421,
            "This host is not served here",
            "Served are addresses, localhost and the host of REPORTSIM_PUBLIC_URL, or else the names that"
            " REPORTSIM_ALLOWED_HOSTS lists.",
        ),
        Kind(
            "invalid-parameters",
            422,
            "Some values are not valid",
            "Each entry of errors points at one value and says what is wrong with it. Nothing was done.",
        ),
        Kind(
            "idempotency-mismatch",
            422,
            "The key was used for another request",
            "A key names one request for as long as its row is kept. Use a new key for a new request.",
        ),
        Kind(
            "header-too-large",
            431,
            "A header is too large",
            "A header has at most 8,190 bytes, cookies 64 KiB, all headers 128 KiB. Browsers send the cookies of every"
            " port of a host, like localhost, to each of them: clear those.",
        ),
        Kind("quota-exceeded", 429, "Too many requests", "Wait for the seconds in Retry-After.", QUOTA_URI),
        Kind(
            "internal-error",
            500,
            "Something went wrong here",
            "The service failed unexpectedly. Its log has the details under the request id.",
        ),
        Kind(
            "report-failed",
            500,
            "The report failed",
            "The report could not be made, or a check on it failed; a wrong report is never delivered.",
        ),
        Kind(
            "report-differs",
            500,
            "The report came out differently",
            "Its file was made again from the same entries by the same statement, and the bytes are not the same.",
        ),
        Kind(
            "benchmark-failed",
            500,
            "The benchmark did not come to its end",
            "The service or the generator of its load was stopped while it ran. Start it again.",
        ),
        Kind(
            "gave-up",
            500,
            "The request was given up",
            "The workers of this request stopped unexpectedly, five times.",
        ),
        Kind(
            "no-capacity",
            503,
            "No worker slot came free in time",
            "All slots are busy. Retry after the time in Retry-After, or use the asynchronous endpoint.",
        ),
        Kind(
            "unavailable",
            503,
            "The service cannot do this at the moment",
            "The database is away, the service is stopping, or it is full. Retry after the time in Retry-After.",
        ),
    )
}


@dataclass(slots=True)
class Problem(Exception):
    """An error with a problem document; raised anywhere, answered by one middleware."""

    slug: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0

    def __post_init__(self) -> None:
        """Takes the status of the kind where none was given."""
        self.status = self.status or KINDS[self.slug].status

    def __str__(self) -> str:
        """The kind and the detail."""
        return f"{self.slug}: {self.detail}"

    def as_json(self) -> dict[str, Any]:
        """The problem document."""
        kind = KINDS[self.slug]
        return {
            "type": kind.type,
            "title": kind.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


def plain(status: int) -> dict[str, Any]:
    """The document for a status without a kind of its own (`about:blank`)."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}


def invalid(errors: Sequence[Mapping[str, str]], detail: str = "") -> Problem:
    """The problem that lists invalid values at once, each with a JSON Pointer (RFC 6901); of very many, the first."""
    count = len(errors)
    said = detail or (errors[0]["detail"] if count == 1 else f"{count:,} values are not valid.")
    if count > MOST_ERRORS:
        said += f" The first {MOST_ERRORS} are listed, and {count - MOST_ERRORS:,} more are not."
    listed = [{name: shorten(text) for name, text in error.items()} for error in errors[:MOST_ERRORS]]
    return Problem("invalid-parameters", shorten(said), {"errors": listed})


def shorten(text: str) -> str:
    """A text as an error repeats it: a client that sends a very long one gets the beginning back."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def unavailable(detail: str, retry_after: int = 1) -> Problem:
    """The 503 that asks to come back."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_after)})


def quota_exceeded(policy: str, detail: str, retry_after: int) -> Problem:
    """The 429 that names the policy and says when to come back."""
    headers = {"Retry-After": str(retry_after)}
    return Problem("quota-exceeded", detail, {"violated-policies": (policy,)}, headers)


def pointer(*steps: str | int) -> str:
    """A JSON Pointer in its URI fragment form."""
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def flatten(messages: Any, *steps: str | int) -> list[dict[str, str]]:
    """Turns the nested messages of a validator into one flat list of errors."""
    if isinstance(messages, Mapping):
        return [
            error
            for key, value in messages.items()
            for error in (flatten(value, *steps) if key == "_schema" else flatten(value, *steps, key))
        ]
    if isinstance(messages, list):
        return [error for message in messages for error in flatten(message, *steps)]
    return [{"detail": str(messages), "pointer": pointer(*steps)}]
