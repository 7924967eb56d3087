"""What `reportsim benchmark` prints: a run's result, the list of runs, two runs beside each other."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console, OverflowMethod
from rich.table import Table

from reportsim.benchmark.report.charts.summary import WORDS
from reportsim.benchmark.report.number_format import duration, percent, three
from reportsim.benchmark.report.tables import WAYS, measurement, too_few

Json = Mapping[str, Any]
SIDES: Final = ("sync", "async")
LEVELS: Final = ("p50", "p95", "p99", "max")
CLOCKS: Final = {"time_to_result_ms": "time to result", "accept_ms": "client free after"}


def show_result(console: Console, run: Json) -> None:
    """Prints a completed run: the numbers, the checks that are not well, the verdict."""
    result = run["result"]
    table = Table("", *SIDES, box=None)
    for name, *cells in (*outcome_rows(result), *time_rows(result), *server_rows(result)):
        table.add_row(name, *cells)
    console.print(table)
    if result["ways"]:
        show_ways(console, result["ways"])
    for check in result["checks"]:
        if check["verdict"] != "ok":
            console.print(f"{check['id']} {check['verdict']}: {check['detail']}", highlight=False, markup=False)
    for side in SIDES:
        for objective in result["slo"][side]["objectives"]:
            if not objective["pass"]:
                verb = "cannot be judged by" if too_few(result[side], objective) else "missed"
                wanted = f"{objective['metric']} {objective['op']} {three(objective['value'])}"
                said = f"{side} {verb} {wanted}: {measurement(result[side], objective)}"
                console.print(said, highlight=False, markup=False)
    console.print(result["verdict"], highlight=False, markup=False)


def show_ways(console: Console, ways: Json) -> None:
    """Prints what each way to learn a result costs."""
    table = Table("the result by", "results", "p50", "p95", "requests each", "connections, mean · most", box=None)
    for way, words in WAYS.items():
        found = ways[way]
        each, held = found["requests_per_result"], found["connections"]
        table.add_row(
            words,
            f"{found['results']:,}",
            percentile(found["time_to_result_ms"]["p50"]),
            percentile(found["time_to_result_ms"]["p95"]),
            number(each),
            f"{three(held['mean'])} · {held['max']:,}",
        )
    console.print(table)


def outcome_rows(result: Json) -> Iterator[list[str]]:
    """How the requests ended."""
    yield ["offered", *(f"{result[side]['offered']:,}" for side in SIDES)]
    for name, words in WORDS.items():
        amounts = [(result[side]["outcomes"][name], result[side]["offered"]) for side in SIDES]
        if any(amount for amount, _ in amounts):
            yield [words, *(f"{amount:,} · {percent(amount / offered)}" for amount, offered in amounts)]


def time_rows(result: Json) -> Iterator[list[str]]:
    """The percentiles that there are enough requests for."""
    for clock, name in CLOCKS.items():
        for level in LEVELS:
            found = [result[side][clock][level] for side in SIDES]
            if any(each["value"] is not None for each in found):
                yield [f"{name}, {level}", *map(percentile, found)]


def percentile(found: Json) -> str:
    """A percentile as it may be said."""
    if found["value"] is None:
        return "n too small"
    return f"{'≥ ' if found['censored'] else ''}{duration(found['value'] / 1000)}"


def server_rows(result: Json) -> Iterator[list[str]]:
    """What the server saw."""
    yield ["good results per second", *(three(result[side]["goodput"]) for side in SIDES)]
    for name, words in (("open_connections", "open connections"), ("queue", "queue")):
        found = [result[side][name] for side in SIDES]
        yield [f"{words}, mean · most", *(f"{three(each['mean'])} · {each['max']:,}" for each in found)]
    yield ["busy workers, mean", *(three(result[side]["busy_workers_mean"]) for side in SIDES)]
    yield ["worker time for clients that left", *(percent(result[side]["wasted_share"]) for side in SIDES)]


def show_list(console: Console, runs: list[Json]) -> None:
    """Prints the newest runs, each in a line that is cut where the terminal ends; ids are whole, to be copied."""
    for run in runs:
        believed = {True: "trusted", False: "not trusted", None: ""}[run["trusted"]]
        cells = (
            run["id"],
            run["created_at"][:16].replace("T", " "),
            f"{run['status']:<9}",
            f"{run['plan']['rate']:g}/s",
            believed,
            run["verdict"] or "",
        )
        cut = console.is_terminal
        line = "  ".join(filter(None, cells))
        overflow: OverflowMethod = "ellipsis" if cut else "ignore"
        console.print(line, no_wrap=True, overflow=overflow, crop=cut, highlight=False, markup=False)


def show_comparison(console: Console, compared: Json) -> None:
    """Prints two runs beside each other."""
    for changed in compared["plan"]:
        said = f"{changed['name']}: {changed['first']} → {changed['second']}"
        console.print(said, highlight=False, markup=False)
    console.print("The same load." if compared["same_load"] else "Not the same load.")
    for side in SIDES:
        table = Table(side, "first", "second", "difference", "ratio", "", box=None)
        for row in compared[side]:
            if row["first"] or row["second"]:
                apart = {True: "apart", False: "", None: ""}[row["apart"]]
                cells = (
                    f"{'≥ ' if row.get(f'{name}_censored') else ''}{number(row[name])}"
                    for name in ("first", "second", "difference", "ratio")
                )
                table.add_row(row["metric"], *cells, apart)
        console.print(table)


def number(value: float | None) -> str:
    """A number, or that there is none."""
    return "–" if value is None else three(value)
