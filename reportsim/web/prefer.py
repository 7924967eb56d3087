"""The Prefer header (RFC 7240): `respond-async` and `wait`; other preferences are ignored."""

import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

MAX_WAIT_S: Final = 20
TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
QUOTED: Final = r'"(?>(?:[^"\\]|\\.)*)"'
# One preference with its parameters. Every repetition is possessive or atomic, so that matching takes linear time.
# Groups are atomic instead of possessive: possessive groups have a bug before Python 3.11.5.
ITEM: Final = re.compile(
    rf"\s*+(?P<name>{TOKEN})\s*+(?>(?:=\s*+(?P<value>{TOKEN}|{QUOTED}))?)"
    rf"(?>(?:\s*+;\s*+(?>(?:{TOKEN}(?>(?:\s*+=\s*+(?:{TOKEN}|{QUOTED}))?))?))*)\s*+(?:,|$)"
)
MAX_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Preferences:
    """Whether a client prefers an asynchronous response, and how many seconds it would wait."""

    respond_async: bool = False
    wait: int | None = None

    def without_respond_async(self) -> "Preferences":
        """The preferences for an endpoint that always responds at once."""
        return Preferences(wait=self.wait) if self.respond_async else self

    def applied_header(self, *, respond_async: bool = False, wait: bool = False) -> dict[str, str]:
        """The Preference-Applied header."""
        items = ["respond-async"] if respond_async else []
        items += [f"wait={self.wait}"] if wait and self.wait is not None else []
        return {"Preference-Applied": ", ".join(items)} if items else {}


NO_PREFERENCES: Final = Preferences()


def parse_prefer(text: str) -> Preferences:
    """Parses the joined header; the first of duplicates counts, and malformed preferences are ignored."""
    found: dict[str, str | None] = {}
    position = 0
    while position < len(text) <= MAX_CHARACTERS:
        match = ITEM.match(text, position)
        if match is None:
            comma = text.find(",", position)
            position = comma + 1 if comma >= 0 else len(text)
            continue
        found.setdefault(match["name"].lower(), match["value"])
        position = match.end()
    wait = (found.get("wait") or "").strip('"')
    seconds = int(wait) if re.fullmatch(r"[0-9]+", wait) else None
    return Preferences("respond-async" in found, None if seconds is None else min(seconds, MAX_WAIT_S))


def read_preferences(request: web.Request) -> Preferences:
    """The preferences of a request."""
    values = request.headers.getall("Prefer", None)
    return NO_PREFERENCES if values is None else parse_prefer(", ".join(values))
