"""Identifiers: UUIDv7 for rows, a boot id for a process."""

import os
import secrets
import time
from collections.abc import Callable
from uuid import UUID


def as_uuid(made: bytes) -> UUID:
    """Makes an id of the standard library's type."""
    return UUID(bytes=made)


class UUID7Generator:
    """Makes UUIDs of version 7 that strictly increase within one generator (RFC 9562 section 5.7).

    The 12 bits after the milliseconds hold the fraction of the millisecond (section 6.2, method 3), in steps
    of about 244 ns; the last 62 bits are random. When the clock stands still or goes back, the next step is
    taken instead, so that order outlives both. Not safe across threads: a generator belongs to one event
    loop.

    `clock` returns Unix time in nanoseconds, `entropy` as many random bytes as asked, and `type` makes an id
    of 16 bytes. A clock before 1970 counts as 1970, one beyond the year 10889 raises ValueError.
    """

    __slots__ = ("_clock", "_entropy", "_last", "_type")

    def __init__(
        self,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] | None = None,
        type: Callable[[bytes], UUID] = as_uuid,
    ) -> None:
        self._clock = clock
        self._entropy = entropy or Entropy()
        self._type = type
        self._last = -1

    def __call__(self) -> UUID:
        """Makes the next UUID, larger than every one before it."""
        step = max((self._clock() << 12) // 1_000_000, self._last + 1)
        made = uuid7(step, self._entropy(8), self._type)
        self._last = step
        return made


class Entropy:
    """Random bytes of the operating system, asked for in larger pieces: a system call for each id would cost more."""

    __slots__ = ("_at", "_pool")

    SIZE = 4096

    def __init__(self) -> None:
        self._pool = b""
        self._at = self.SIZE

    def __call__(self, count: int) -> bytes:
        """Takes `count` bytes, at most `SIZE`; none is given twice."""
        if self._at + count > self.SIZE:
            self._pool, self._at = os.urandom(self.SIZE), 0
        self._at += count
        return self._pool[self._at - count : self._at]


def uuid7(step: int, random: bytes, type: Callable[[bytes], UUID] = as_uuid) -> UUID:
    """Composes a UUIDv7 from a 60-bit count of 1/4096 milliseconds since 1970 and 8 random bytes.

    The lower 62 of the random bits are used. Raises ValueError when `step` does not fit in 60 bits.
    """
    if not 0 <= step < 1 << 60:
        raise ValueError("the time is outside what a UUIDv7 can hold")
    milliseconds, fraction = step >> 12, step & 0xFFF
    tail = int.from_bytes(random, "big") & ((1 << 62) - 1)
    return type((milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | tail).to_bytes(16, "big"))


def boot_id() -> str:
    """Makes an id for one run of this process: 16 lower-case hexadecimal digits, new on every call."""
    return secrets.token_hex(8)
