"""What is read out of answers and callbacks: values by JSON pointers (RFC 6901) and headers, and states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from reportsim.benchmark.results.samples import Outcome

LONGEST_ID = 1_024


def parse(body: bytes) -> Any:
    """A body as JSON; None where it is none."""
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def find(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer; None where there is none."""
    found = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def as_text(value: Any) -> str | None:
    """A scalar as text, to be compared; None for what is none."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Source:
    """Where an id is: at a pointer in the body, or in a header."""

    pointer: str | None = None
    header: str | None = None

    def read(self, headers: Mapping[str, str], document: Any) -> str | None:
        """The id; None where there is none, or one that is too long."""
        found = headers.get(self.header) if self.header else as_text(find(document, self.pointer or ""))
        return found if found and len(found) <= LONGEST_ID else None


@dataclass(frozen=True, slots=True)
class State:
    """How a body says that the work is done, or has failed."""

    pointer: str
    done: frozenset[str]
    failed: frozenset[str]

    def judge(self, document: Any) -> Outcome | None:
        """OK, JOB_FAILED, or None for anything else."""
        found = as_text(find(document, self.pointer))
        if found in self.done:
            return Outcome.OK
        return Outcome.JOB_FAILED if found in self.failed else None
