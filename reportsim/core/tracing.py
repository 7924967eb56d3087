"""Trace context: the ``traceparent`` header (W3C Trace Context, section 3.2)."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

NO_TRACE: Final = "0" * 32
NO_PARENT: Final = "0" * 16
_PARENT: Final = slice(36, 52)
_TRACEPARENT = re.compile(
    "(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<later>-.*)?"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One position in a distributed trace.

    `trace_id` has 32 and `parent_id` 16 lower-case hexadecimal digits, neither all zero. `sampled` says that
    the caller may have recorded the trace; other flags are not passed on, as version 00 asks.
    """

    trace_id: str
    parent_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header's value, in version 00."""
        return f"00-{self.trace_id}-{self.parent_id}-{'01' if self.sampled else '00'}"


def parse_traceparent(values: Sequence[str]) -> TraceContext | None:
    """Reads every ``traceparent`` value of a message; None when a new trace is to start.

    None for no value or several, upper case, ids of zeros, version ff, and a version 00 that goes on after
    its flags. A higher version is read as version 00, whatever follows behind a further dash.
    """
    if len(values) != 1:
        return None
    match = _TRACEPARENT.fullmatch(values[0])
    if match is None:
        return None
    version, trace, parent, flags, later = match.groups()
    if version == "ff" or (version == "00" and later is not None) or trace == NO_TRACE or parent == NO_PARENT:
        return None
    return TraceContext(trace, parent, bool(int(flags, 16) & 1))


def child(traceparent: str, entropy: Callable[[int], bytes] = os.urandom) -> str:
    """Goes one step down from a header's value in version 00: the same trace and sampled flag, a new parent id."""
    return f"{traceparent[: _PARENT.start]}{_identifier(entropy(8))}{traceparent[_PARENT.stop :]}"


def new_traceparent(entropy: Callable[[int], bytes] = os.urandom) -> str:
    """Starts a sampled trace of our own: the header's value."""
    return f"00-{_identifier(entropy(16))}-{_identifier(entropy(8))}-01"


def _identifier(drawn: bytes) -> str:
    # An id of zeros is invalid, however unlikely it is to be drawn.
    return drawn.hex() if any(drawn) else f"{1:0{len(drawn) * 2}x}"
