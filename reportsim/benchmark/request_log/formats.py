"""The formats of logs, a request per line: access logs, JSON lines, CSV, and plain columns of durations."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from reportsim.benchmark.request_log.errors import LineError, excerpt
from reportsim.benchmark.request_log.timestamps import LOCAL, parse_local, parse_timestamp
from reportsim.benchmark.request_log.units import DURATION, Unit, normalize, parse_duration, split_unit, to_seconds

DURATION_NAMES: Final = frozenset(
    {
        *("duration", "request_duration", "request_time", "response_time", "service_time", "process_time"),
        *("processing_time", "elapsed", "elapsed_time", "latency", "time_taken", "took", "rt"),
    }
)
TIME_NAMES: Final = (
    *("timestamp", "time_stamp", "@timestamp", "time", "ts", "time_local", "time_iso8601", "datetime", "date", "at"),
    *("started_at", "start_time", "created_at"),
)
DELIMITERS: Final = (",", ";", "\t")
TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
NAMED: Final = re.compile(r'(?:([A-Za-z_]\w*)[=:])?"?([0-9.]+[A-Za-zµμ]*)"?')
ACCESS_LOG: Final = re.compile(rf"[^\[]*\[{LOCAL.pattern}\] (.*)", re.ASCII)
ACCESS_LINE: Final = (
    "an access-log line with nginx's $request_time, Apache's %D, or a field such as rt=0.12 behind the status and size"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a log."""

    duration_s: float
    at: float | None
    """When it was logged, in seconds since 1970; None where the log does not say."""


class LogFormat(Protocol):
    """Reads the lines of one format."""

    @property
    def name(self) -> str:
        """How the format is called."""

    def parse(self, line: str) -> Entry:
        """The request of a line.

        Raises:
            LineError: The line is not in this format.
        """


@dataclass(frozen=True, slots=True)
class PlainColumn:
    """A duration per line."""

    unit: Unit | None
    name: str = "a column of durations"

    def parse(self, line: str) -> Entry:
        """The request of a line."""
        return Entry(parse_duration(line, self.unit), None)


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Lines of nginx and Apache in the common or combined format, with the duration somewhere behind it.

    A number with a point is seconds ($request_time), a whole one microseconds (%D), unless a unit was asked for (%T).
    """

    unit: Unit | None
    field: str | None
    name: str = "an access log"

    def parse(self, line: str) -> Entry:
        """The request of a line."""
        match = ACCESS_LOG.fullmatch(line)
        if match is None:
            raise LineError(f"expected {ACCESS_LINE}, found {excerpt(line)}")
        request, status, _, *others = [*TOKEN.findall(match[10]), "", "", ""]
        if not (request.startswith('"') and re.fullmatch(r"[0-9]{3}", status)):
            raise LineError(
                f"expected the request in quotes, its status and size behind the time, found {excerpt(match[10])}"
            )
        for name, number in (found.groups() for token in others if (found := NAMED.fullmatch(token))):
            if DURATION.fullmatch(number) and (self.field is None or self.field == name):
                unit = self.unit or split_unit(normalize(name or ""))[1] or (Unit.S if "." in number else Unit.US)
                return Entry(parse_duration(number, unit), parse_local(match))
        raise LineError(f"expected {f'a field {self.field}=…' if self.field else ACCESS_LINE}")


@dataclass(frozen=True, slots=True)
class Fields:
    """Which column or key has the duration, in which unit, and which has the time."""

    duration: str
    unit: Unit | None
    time: str | None


def choose_fields(names: Sequence[str], unit: Unit | None, field: str | None) -> Fields:
    """Chooses the columns or keys by their names.

    Raises:
        LineError: It is not clear which has the duration.
    """
    found = [name for name in names if (is_duration(name) if field is None else name == field)]
    listed = ", ".join(names[:20])
    if not found and field is not None:
        raise LineError(f"there is no {excerpt(field)} among {listed}")
    if not found:
        raise LineError(f"expected a column or key such as duration_ms or request_time, found {excerpt(listed)}")
    if len(found) > 1:
        raise LineError(f"which one is the duration: {', '.join(found[:20])}? Say which field (--field)")
    time = next(
        (name for wanted in TIME_NAMES for name in names if normalize(name) == wanted and name != found[0]), None
    )
    named = split_unit(normalize(found[0]))[1]
    # nginx's variable is in seconds.
    usual = Unit.S if normalize(found[0]) == "request_time" else None
    return Fields(found[0], unit or named or usual, time)


def is_duration(name: str) -> bool:
    """Whether a column or key is a duration by its name."""
    stem, unit = split_unit(normalize(name))
    return stem in DURATION_NAMES or (unit is not None and stem in {"", "time"})


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A JSON object per line."""

    fields: Fields
    name: str = "JSON lines"

    def parse(self, line: str) -> Entry:
        """The request of a line."""
        values = parse_object(line)
        value = values.get(self.fields.duration)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise LineError(f"expected a number as “{self.fields.duration}”")
        time = None if self.fields.time is None else values.get(self.fields.time)
        at = None if time is None else parse_timestamp(str(time))
        if isinstance(value, str):
            return Entry(parse_duration(value, self.fields.unit), at)
        return Entry(to_seconds(float(value), self.fields.unit), at)


def parse_object(line: str) -> Mapping[str, Any]:
    """The JSON object of a line.

    Raises:
        LineError: It is none.
    """
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise LineError(f"expected a JSON object, found {excerpt(line)}")
    return found


@dataclass(frozen=True, slots=True)
class CsvFile:
    """Rows below a header."""

    delimiter: str
    names: Sequence[str]
    fields: Fields
    name: str = "CSV"

    def parse(self, line: str) -> Entry:
        """The request of a row."""
        cells = split_row(line, self.delimiter)
        if len(cells) != len(self.names):
            raise LineError(f"expected {len(self.names)} columns as in the header, found {len(cells)}")
        duration = cells[self.names.index(self.fields.duration)]
        at = None if self.fields.time is None else parse_timestamp(cells[self.names.index(self.fields.time)])
        return Entry(parse_duration(duration, self.fields.unit), at)


def split_row(line: str, delimiter: str) -> list[str]:
    """The cells of a row.

    Raises:
        LineError: A quoted cell does not end.
    """
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        raise LineError("expected every quoted cell to end within its line") from None


def read_header(line: str, unit: Unit | None, field: str | None) -> CsvFile:
    """The format of a CSV file with this header.

    Raises:
        LineError: It is no header with a duration.
    """
    delimiter = max(DELIMITERS, key=line.count)
    names = [name.strip() for name in split_row(line, delimiter)]
    return CsvFile(delimiter, names, choose_fields(names, unit, field))


def detect_format(line: str, unit: Unit | None, field: str | None) -> tuple[LogFormat, bool]:
    """The format of a log by its first line, and whether this line is a request.

    Raises:
        LineError: It is none of the formats.
    """
    if line.startswith("{"):
        return JsonLines(choose_fields(list(parse_object(line)), unit, field)), True
    if LOCAL.search(line):
        return AccessLog(unit, field), True
    if DURATION.fullmatch(line):
        return PlainColumn(unit), True
    return read_header(line, unit, field), False
