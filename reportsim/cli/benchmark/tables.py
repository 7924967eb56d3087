"""What `reportsim benchmark` prints: a run's result, the list of runs, two runs beside each other."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console, OverflowMethod
from rich.table import Table

from reportsim.benchmark.report.charts.summary import WORDS
from reportsim.benchmark.report.tables import WAYS, describe_measurement, interval_of, is_unknown, side_names
from reportsim.benchmark.report.time_tables import is_resolved
from reportsim.benchmark.results.run_comparison import is_relevant
from reportsim.benchmark.results.verdict import IRRELEVANT_SHARE, describe_trust
from reportsim.core.number_format import duration, percent, three

Json = Mapping[str, Any]
LEVELS: Final = ("p50", "p95", "p99", "max", "mean")
CLOCKS: Final = {
    "time_to_result_ms": "time to result",
    "earliest_ms": "no result yet after",
    "accept_ms": "client free after",
}


def show_result(console: Console, run: Json) -> None:
    """Prints a completed run: whether to trust it, the numbers, the checks that are not well, the verdict."""
    result = run["result"]
    show_trust(console, result)
    show_figures(console, result)
    if result["ways"]:
        show_ways(console, result["ways"])
    show_checks(console, result)
    show_missed(console, result)
    console.print(result["verdict"], highlight=False, markup=False, soft_wrap=True)


def show_trust(console: Console, result: Json) -> None:
    """Prints whether a result can be trusted."""
    console.print(describe_trust(result), highlight=False, markup=False, soft_wrap=True)


def show_missed(console: Console, result: Json) -> None:
    """Prints the objectives that were not met."""
    for side in side_names(result):
        for objective in result["slo"][side]["objectives"]:
            if not objective["pass"]:
                verb = "cannot be judged by" if is_unknown(result[side], objective) else "missed"
                wanted = f"{objective['metric']} {objective['op']} {three(objective['value'])}"
                said = f"{side} {verb} {wanted}: {describe_measurement(result[side], objective)}"
                console.print(said, highlight=False, markup=False, soft_wrap=True)


def show_analysis(console: Console, name: str, result: Json) -> None:
    """Prints what was computed from the samples in a file."""
    console.print(name, highlight=False, markup=False)
    show_trust(console, result)
    show_figures(console, result)
    show_checks(console, result)
    console.print(result["verdict"], highlight=False, markup=False, soft_wrap=True)


def show_figures(console: Console, result: Json) -> None:
    """Prints the table of figures."""
    sides = side_names(result)
    table = Table("", *sides, box=None)
    for name, *cells in (*outcome_rows(result), *time_rows(result), *server_rows(result)):
        if any(cell != "–" for cell in cells):
            table.add_row(name, *cells)
    console.print(table)


def show_checks(console: Console, result: Json) -> None:
    """Prints the checks that are not in order."""
    for check in result["checks"]:
        if check["verdict"] in {"warn", "fail"}:
            line = f"{check['id']} {check['verdict']}: {check['detail']}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)


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
    sides = side_names(result)
    yield ["offered", *(f"{result[side]['offered']:,}" for side in sides)]
    for name, words in WORDS.items():
        amounts = [(result[side]["outcomes"][name], result[side]["offered"]) for side in sides]
        if any(amount for amount, _ in amounts):
            yield [
                words,
                *(f"{amount:,} · {percent(amount / offered if offered else 0)}" for amount, offered in amounts),
            ]


def time_rows(result: Json) -> Iterator[list[str]]:
    """The percentiles and the mean of each clock, with their intervals."""
    for clock, name in CLOCKS.items():
        for level in LEVELS:
            found = [result[side][clock][level] if clock in result[side] else None for side in side_names(result)]
            if any(each is not None and each["value"] is not None for each in found) and is_resolved(found):
                yield [f"{name}, {level}", *map(percentile, found)]


def percentile(found: Json | None) -> str:
    """A percentile as it may be said."""
    if found is None or found["value"] is None:
        return "–"
    value = f"{'≥ ' if found['censored'] else ''}{duration(found['value'] / 1000)}"
    interval = interval_of(found, lambda end: duration(end / 1000))
    return f"{value} ({interval})" if interval else value


def server_rows(result: Json) -> Iterator[list[str]]:
    """What the server saw."""
    sides = side_names(result)
    yield ["results within the SLO per second", *(number(result[side]["goodput"]) for side in sides)]
    for name, words in (("open_connections", "open connections"), ("queue", "queue")):
        found = [result[side][name] for side in sides]
        yield [f"{words}, mean · most", *(occupancy(each) for each in found)]
    yield ["busy workers, mean", *(number(result[side]["busy_workers_mean"]) for side in sides)]
    yield ["worker time for clients that timed out", *(share(result[side]["wasted_share"]) for side in sides)]


def occupancy(found: Json) -> str:
    """A mean and a maximum."""
    return "–" if found["mean"] is None else f"{three(found['mean'])} · {found['max']:,}"


def show_list(console: Console, runs: list[Json]) -> None:
    """Prints the newest runs, each in a line that is cut where the terminal ends; ids are whole, to be copied."""
    for run in runs:
        believed = {True: "trusted", False: "not trusted", None: ""}[run["trusted"]]
        cells = (
            run["id"],
            f"{believed:<11}",
            run["created_at"][:16].replace("T", " "),
            f"{run['status']:<9}",
            f"{run['plan']['rate']:g}/s",
            run["verdict"] or "",
        )
        cut = console.is_terminal
        line = "  ".join(filter(None, cells))
        overflow: OverflowMethod = "ellipsis" if cut else "ignore"
        console.print(line, no_wrap=True, overflow=overflow, crop=cut, highlight=False, markup=False)


def show_comparison(console: Console, compared: Json) -> None:
    """Prints two runs beside each other, the older one first."""
    for which, age in (("first", "older"), ("second", "newer")):
        failed = compared["distrust"][which]
        said = f"; not to be trusted: {' '.join(failed)}" if failed else ""
        line = f"{which}, the {age} run: {compared[which]}{said}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for changed in compared["plan"]:
        said = f"{changed['name']}: {changed['first']} → {changed['second']}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print("The same load." if compared["same_load"] else "Not the same load.")
    for side in side_names(compared):
        table = Table(side, "first", "second", "difference", "ratio", "", box=None)
        for row in compared[side]:
            if row["first"] or row["second"]:
                if is_relevant(row):
                    finding = "differs"
                else:
                    finding = f"differs by less than {percent(IRRELEVANT_SHARE)}" if row["apart"] else ""
                cells = (
                    f"{'≥ ' if row.get(f'{name}_censored') else ''}{number(row[name])}"
                    for name in ("first", "second", "difference", "ratio")
                )
                table.add_row(row["metric"], *cells, finding)
        console.print(table)


def share(value: float | None) -> str:
    """A share, or that there is none."""
    return "–" if value is None else percent(value)


def number(value: float | None) -> str:
    """A number, or that there is none."""
    return "–" if value is None else three(value)
