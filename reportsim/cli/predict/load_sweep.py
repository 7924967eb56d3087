"""`reportsim predict --sweep`: at which load time-outs become too many."""

import argparse
import json
import math
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from reportsim.benchmark.report.charts.load_sweep import NAMES, sweep_plot, verdict
from reportsim.benchmark.theory.load_sweep import VARIABLES, Setting, Sweep, spread_values, sweep
from reportsim.cli.console import open_console
from reportsim.cli.errors import CommandError
from reportsim.core.number_format import percent, three
from reportsim.core.service_time import ServiceTime

MOST_POINTS: Final = 200
DURATION_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Swept:
    """A variable and its range."""

    variable: str
    low: float
    high: float
    step: float | None


def swept(text: str) -> Swept:
    """Reads `NAME=LOW:HIGH[:STEP]`."""
    name, _, span = text.partition("=")
    if name not in VARIABLES:
        raise argparse.ArgumentTypeError(f"can vary {', '.join(VARIABLES)}")
    try:
        low, high, *rest = (float(part) for part in span.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError("must be like rate=5:60 or rate=5:60:5") from None
    step = rest[0] if rest else None
    if len(rest) > 1 or not (0 < low < high < math.inf and (step is None or 0 < step <= high - low)):
        raise argparse.ArgumentTypeError("needs 0 < LOW < HIGH, and a STEP that fits between them")
    return Swept(name, low, high, step)


def run(options: argparse.Namespace, service: ServiceTime) -> int:
    """Simulates the range and prints where it breaks even."""
    wanted: Swept = options.sweep
    if options.capacity is not None or options.patience is not None:
        raise CommandError("--sweep knows no --capacity and no --patience; use --timeout and --cancel")
    missing = [name for name in VARIABLES if getattr(options, name) is None and name != wanted.variable]
    if missing:
        raise CommandError(f"--sweep needs {' and '.join(f'--{name}' for name in missing)}")
    start = round(wanted.low) if wanted.variable == "workers" else wanted.low
    setting = Setting(
        rate=options.rate or 1.0,
        service=service,
        workers=options.workers or 1,
        timeout=options.timeout or 1.0,
        duration_s=options.duration or DURATION_S,
        cancel=options.cancel,
        seed=options.seed,
    ).vary(wanted.variable, start)
    values = spread_values(wanted.variable, wanted.low, wanted.high, wanted.step)
    if len(values) > MOST_POINTS:
        raise CommandError(f"--sweep takes at most {MOST_POINTS} points")
    found = sweep(setting, wanted.variable, values, options.share, refine=wanted.step is None)
    if options.plot:
        try:
            options.plot.write_text(sweep_plot(found), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {options.plot}: {error.strerror or error}") from None
    if options.json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        show(found, setting)
    return 0


def show(found: Sweep, setting: Setting) -> None:
    """Prints the table and the sentence."""
    table = Table(
        NAMES[found.variable],
        "load per worker, ρ",
        "time-outs",
        "95 % of single runs",
        "steady state",
        box=None,
    )
    for point in found.points:
        steady = "–" if point.steady_share is None else percent(point.steady_share)
        spread = f"{percent(point.spread.low)} to {percent(point.spread.high)}"
        table.add_row(f"{point.value:.4g}", f"{point.rho:.2f}", percent(point.timeout_share), spread, steady)
    console = open_console()
    console.print(table)
    console.print(verdict(found))
    console.print(f"Runs of {three(setting.duration_s)} s from empty; cancelling: {setting.cancel}.", style="dim")
