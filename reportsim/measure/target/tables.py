"""Reads tables of a TOML file key by key, so that every error names its key."""

import math
from collections.abc import Mapping
from typing import Any, Final

from reportsim.measure.target.templates import TargetError

REQUIRED: Final = object()


class Table:
    """A table of the file, of which every key must be known."""

    def __init__(self, key: str, value: object, known: tuple[str, ...]) -> None:
        """Takes what stands at a key.

        Raises:
            TargetError: It is no table, or one with unknown keys.
        """
        if not isinstance(value, dict):
            raise TargetError(key, "must be a table")
        self.key = key
        self._values: Mapping[str, Any] = value
        for name in value:
            if name not in known:
                raise TargetError(self.key_of(name), f"is not known here; known are {', '.join(known)}")

    def key_of(self, name: str) -> str:
        """The whole key of a value."""
        return f"{self.key}.{name}" if self.key else name

    def has(self, name: str) -> bool:
        """Whether the file has a value."""
        return name in self._values

    def value(self, name: str, default: Any = REQUIRED) -> Any:
        """A value of any type."""
        if name in self._values:
            return self._values[name]
        if default is REQUIRED:
            raise TargetError(self.key_of(name), "is missing")
        return default

    def table(self, name: str, known: tuple[str, ...]) -> "Table":
        """A table within this one."""
        return Table(self.key_of(name), self.value(name), known)

    def text(self, name: str, default: Any = REQUIRED) -> str:
        """A string."""
        found = self.value(name, default)
        if not isinstance(found, str):
            raise TargetError(self.key_of(name), "must be a string")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        found = self.value(name, default)
        if not isinstance(found, bool):
            raise TargetError(self.key_of(name), "must be true or false")
        return found

    def seconds(self, name: str, low: float, high: float, default: Any = REQUIRED) -> float:
        """A number of seconds within bounds."""
        found = self.value(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or math.isnan(found):
            raise TargetError(self.key_of(name), "must be a number of seconds")
        if not low <= found <= high:
            raise TargetError(self.key_of(name), f"must be from {low:g} to {high:g}")
        return float(found)

    def items(self, name: str, default: Any = REQUIRED) -> list[Any]:
        """An array; an empty one only where that is the default."""
        found = self.value(name, default)
        if not isinstance(found, list) or not (found or default == []):
            raise TargetError(self.key_of(name), "must be an array that is not empty")
        return found

    def statuses(self, name: str, default: Any = REQUIRED) -> frozenset[int]:
        """An array of final HTTP statuses."""
        found = self.items(name, default)
        if not all(isinstance(each, int) and not isinstance(each, bool) and 200 <= each <= 599 for each in found):
            raise TargetError(self.key_of(name), "must be an array of HTTP statuses, such as [200]")
        return frozenset(found)
