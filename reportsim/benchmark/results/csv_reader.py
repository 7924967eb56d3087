"""Reads the samples of a run from CSV: the service's own export, an older one, or a file made by hand."""

import csv
import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Final

from reportsim.benchmark.design import Design, SideDesign
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import CLIENT, COLUMNS, SERVER, Outcome, Samples, ServerRecords

PLAN_LINE: Final = "# plan:"
NAMES: Final = {f"{name}_s": name for name in COLUMNS} | {
    "intended_s": "due",
    "earliest_s": "earliest",
    "server_timing_s": "reported",
}
NEEDED: Final = ("mode", "index", "block", "due_s", "result_s", "outcome")
FOREIGN: Final = ("earliest", "reported")
OUTCOMES: Final = {outcome.label: outcome for outcome in Outcome}
SIDES: Final = (("sync", "async"), ("a", "b"))
FIELD_LIMIT: Final = 1_000
MOST_ROWS: Final = 1_000_000
MOST_BLOCKS: Final = 10_000
WHOLE_PLAN: Final = frozenset({"rate", "duration_s", "blocks", "arrivals", "seed", "service_time"})
LONGEST_PLAN: Final = 100_000
LARGEST: Final = 1e9
RESULTS: Final = frozenset({Outcome.OK, Outcome.OK_LATE})


class CsvError(ValueError):
    """The file is not what was expected; the message names the line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


@dataclass(frozen=True, slots=True)
class Row:
    """One request."""

    line: int
    side: str
    index: int
    block: int
    outcome: Outcome
    moments: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a file holds: the samples by side, and what is known of how they were made."""

    design: Design
    samples: dict[str, Samples]


def read_samples(lines: Iterable[str]) -> RecordedRun:
    """The run in a file.

    Raises:
        CsvError: A line is malformed.
    """
    numbered = NumberedLines(lines)
    plan, header = read_head(numbered)
    columns = read_header(header, numbered.line)
    rows: list[Row] = []
    for cells in parse(numbered):
        if cells:
            if len(rows) >= MOST_ROWS:
                raise CsvError(numbered.line, f"more than {MOST_ROWS:,} rows")
            rows.append(read_row(dict(zip(columns, cells, strict=False)), len(cells), len(columns), numbered.line))
    if not rows:
        raise CsvError(numbered.line, "no requests")
    return assemble(plan, rows)


class NumberedLines:
    """Lines, and the number of the one read last."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Reads from the start."""
        self._lines = iter(lines)
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = next(self._lines)
        self.line += 1
        if "\x00" in text:
            raise CsvError(self.line, "a NUL byte")
        return text


def parse(lines: NumberedLines) -> Iterator[list[str]]:
    """The cells of each line."""
    before = csv.field_size_limit(FIELD_LIMIT)
    try:
        yield from csv.reader(lines, strict=True)
    except csv.Error as error:
        raise CsvError(lines.line, str(error)) from None
    finally:
        csv.field_size_limit(before)


def read_head(lines: NumberedLines) -> tuple[dict[str, Any], list[str]]:
    """The plan, if the file has one, and the header."""
    plan: dict[str, Any] = {}
    for text in lines:
        if lines.line == 1:
            text = text.removeprefix("\ufeff")
        if text.startswith(PLAN_LINE):
            plan = read_plan(text.removeprefix(PLAN_LINE), lines.line)
        elif not text.startswith("#") and text.strip():
            return plan, text.strip().split(",")
    raise CsvError(max(lines.line, 1), "no header")


def read_plan(text: str, line: int) -> dict[str, Any]:
    """The plan as a JSON object."""
    if len(text) > LONGEST_PLAN:
        raise CsvError(line, "the plan is too long")
    try:
        plan = json.loads(text)
    except (ValueError, RecursionError):
        raise CsvError(line, "the plan is not JSON") from None
    if not isinstance(plan, dict):
        raise CsvError(line, "the plan is not a JSON object")
    return plan


def read_header(names: list[str], line: int) -> list[str]:
    """The columns by the names that they have today."""
    columns = [name.strip().strip('"') for name in names]
    known = ["due_s" if name == "intended_s" else name for name in columns]
    if missing := [name for name in NEEDED if name not in known]:
        raise CsvError(line, f"no column {missing[0]}")
    if repeated := [name for name in known if known.count(name) > 1]:
        raise CsvError(line, f"column {repeated[0]} twice")
    return known


def read_row(cells: Mapping[str, str], found: int, expected: int, line: int) -> Row:
    """One request; an empty cell is a moment that is not known, or did not happen."""
    if found != expected:
        raise CsvError(line, f"{found} cells instead of {expected}")
    outcome = OUTCOMES.get(cells["outcome"])
    if outcome is None:
        raise CsvError(line, f"outcome {cells['outcome']!r} is none of {', '.join(OUTCOMES)}")
    if not any(cells["mode"] in names for names in SIDES):
        raise CsvError(line, f"mode {cells['mode']!r} is none of sync, async, a, b")
    moments = {NAMES[name]: read_number(text, name, line) for name, text in cells.items() if name in NAMES}
    if math.isnan(moments["due"]):
        raise CsvError(line, "due_s is empty")
    if outcome in RESULTS and math.isnan(moments["result"]):
        raise CsvError(line, f"result_s is empty, but the outcome is {outcome.label}")
    if moments["due"] < 0 or (outcome in RESULTS and moments["result"] < moments["due"]):
        raise CsvError(line, "times must ascend from 0: due_s, result_s")
    block = read_whole(cells["block"], "block", line)
    if not 1 <= block <= MOST_BLOCKS:
        raise CsvError(line, f"block must be from 1 to {MOST_BLOCKS:,}")
    return Row(line, cells["mode"], read_whole(cells["index"], "index", line), block, outcome, moments)


def read_number(text: str, name: str, line: int) -> float:
    """A number of seconds; NaN for an empty cell."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not abs(value) <= LARGEST or "_" in text:
        raise CsvError(line, f"{name} is not a number of seconds: {text[:40]!r}")
    return value


def read_whole(text: str, name: str, line: int) -> int:
    """A whole number from 0 on."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise CsvError(line, f"{name} is not a whole number: {text[:40]!r}")
    return int(text)


def assemble(plan: Mapping[str, Any], rows: list[Row]) -> RecordedRun:
    """Rows in any order as the samples of their sides."""
    named = {row.side for row in rows}
    names = next((pair for pair in SIDES if named <= set(pair)), None)
    if names is None:
        raise CsvError(rows[0].line, f"sides that do not go together: {', '.join(sorted(named))}")
    design = read_design(plan, [name for name in names if name in named], rows)
    samples = {side.name: assemble_side(side.name, design.blocks, rows) for side in design.sides}
    return RecordedRun(design, samples)


def read_design(plan: Mapping[str, Any], names: list[str], rows: list[Row]) -> Design:
    """The design of an exported run, or the settings that a file made by hand has."""
    last = max(row.block for row in rows)
    try:
        design = Plan.from_json(plan).design if plan.keys() >= WHOLE_PLAN else None
    except (ValueError, TypeError, LookupError, ArithmeticError):  # whatever a damaged plan has in place of a value
        design = None
    if design is None:
        design = read_partial_design(plan, names, last, max(row.moments["due"] for row in rows))
    if last > design.blocks:
        raise CsvError(1, f"the plan has {design.blocks} blocks, the rows have {last}")
    return replace(design, sides=tuple(side for side in design.sides if side.name in names))


def read_partial_design(plan: Mapping[str, Any], names: list[str], last: int, latest_due_s: float) -> Design:
    """The design that some settings of a plan stand for; without any, blocks and times as they are in the rows."""
    blocks = read_setting(plan, "blocks", float(last))
    if not blocks <= MOST_BLOCKS or blocks != int(blocks):
        raise CsvError(1, "blocks of the plan is not a whole number of blocks")
    timeouts = {
        "sync": read_setting(plan, "client_timeout_s", math.inf),
        "async": read_setting(plan, "result_deadline_s", math.inf),
    }
    pattern = plan.get("both")
    duration = read_setting(plan, "duration_s", math.nan)
    return Design(
        sides=tuple(
            SideDesign(
                name=name,
                timeout_s=timeouts.get(pattern if isinstance(pattern, str) else name, math.inf),
                # A plan with a deadline for async results has a time-out for answers, on both sides.
                answer_timeout_s=timeouts["sync"] if timeouts["async"] < math.inf else None,
            )
            for name in names
        ),
        blocks=int(blocks),
        block_s=latest_due_s if math.isnan(duration) else duration / blocks,
        slo_s=read_setting(plan, "slo_s", math.inf),
    )


def read_setting(plan: Mapping[str, Any], name: str, default: float) -> float:
    """A number of the plan that is above 0."""
    value = plan.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
        raise CsvError(1, f"{name} of the plan is not a number above 0")
    return float(value)


def assemble_side(name: str, blocks: int, rows: list[Row]) -> Samples:
    """The samples of one side."""
    own = sorted((row for row in rows if row.side == name), key=lambda row: (row.block, row.index))
    for earlier, later in pairwise(own):
        if (earlier.block, earlier.index) == (later.block, later.index):
            raise CsvError(later.line, f"{name} request {later.index} of block {later.block} twice")
    counts = Counter(row.block for row in own)
    bounds = accumulate((counts[number] for number in range(1, blocks + 1)), initial=0)
    columns: dict[str, Any] = {
        column: array("d", (row.moments.get(column, math.nan) for row in own)) for column in (*COLUMNS, *FOREIGN)
    }
    known = {name for name, column in columns.items() if not all(map(math.isnan, column))}
    return Samples(
        side=name,
        bounds=tuple(bounds),
        outcomes=array("b", (row.outcome for row in own)),
        numbers=[row.index for row in own],
        server=ServerRecords(**{name: columns[name] for name in SERVER}) if known & {*SERVER} else None,
        **{name: columns[name] for name in CLIENT},
        **{name: columns[name] for name in known & {*FOREIGN}},
    )
