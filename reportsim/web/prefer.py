"""The Prefer header (RFC 7240): `respond-async` and `wait`; whatever else it says is ignored."""

import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

MAX_WAIT_S: Final = 20
TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
QUOTED: Final = r'"(?>(?:[^"\\]|\\.)*)"'
# One preference with its parameters. Every repetition is possessive or atomic: a header that fits nowhere is read once,
# not in every way its blanks could be shared out. Groups are atomic, since possessive ones do not give back what they
# tried before Python 3.11.5.
ITEM: Final = re.compile(
    rf"\s*+(?P<name>{TOKEN})\s*+(?>(?:=\s*+(?P<value>{TOKEN}|{QUOTED}))?)"
    rf"(?>(?:\s*+;\s*+(?>(?:{TOKEN}(?>(?:\s*+=\s*+(?:{TOKEN}|{QUOTED}))?))?))*)\s*+(?:,|$)"
)
MAX_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client would like: to be answered early, and how long it would wait, in seconds."""

    respond_async: bool = False
    wait: int | None = None

    def applied(self, *, respond_async: bool = False, wait: bool = False) -> dict[str, str]:
        """The header that says which of them were followed."""
        words = ["respond-async"] if respond_async else []
        words += [f"wait={self.wait}"] if wait and self.wait is not None else []
        return {"Preference-Applied": ", ".join(words)} if words else {}


def parse_prefer(text: str) -> Preferences:
    """Reads the joined header; the first of two equal preferences counts, and what is malformed is ignored."""
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
    """What the client of a request prefers."""
    return parse_prefer(", ".join(request.headers.getall("Prefer", [])))
