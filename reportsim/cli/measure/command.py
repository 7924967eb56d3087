"""`reportsim measure`: measures the service that a target file describes."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from reportsim.benchmark.load.process_setup import allow_files
from reportsim.benchmark.results.export import write_csv
from reportsim.benchmark.workload import FEWEST_BLOCKS, Arrivals, PlanError
from reportsim.cli.arguments import positive
from reportsim.cli.benchmark.command import FAILED, is_good
from reportsim.cli.benchmark.tables import show_checks, show_figures, show_missed, show_trust
from reportsim.cli.console import open_console
from reportsim.cli.errors import CommandError
from reportsim.cli.ledger.command import bounded
from reportsim.cli.measure.confirmation import confirm
from reportsim.cli.measure.example import EXAMPLE
from reportsim.cli.measure.progress import shown
from reportsim.core.model import Mode
from reportsim.measure.conclusion import ObjectiveError, conclude, parse_objectives
from reportsim.measure.measurement import Measured, Measurement, MeasurementError
from reportsim.measure.plan import MeasurePlan
from reportsim.measure.report import html_page
from reportsim.measure.target.model import Poll, Target
from reportsim.measure.target.reader import LARGEST_FILE, read_target
from reportsim.measure.target.templates import TargetError
from reportsim.measure.ways.results import WayError
from reportsim.settings import user_path

MALFORMED: Final = 2
DEFAULTS: Final = MeasurePlan()
ABOUT: Final = """
Sends one load to an endpoint that answers with the result, to one that answers 202 and delivers the result later, or to
both, and measures when the result is in the client's hands. Needs neither service nor database. docs/measure.md has
examples. Times are in seconds.

Exit code 99: an objective was missed, or a check says not to trust the measurement; 2: the target file is malformed.

  reportsim measure target.toml --example
  reportsim measure target.toml --rate 20 --duration 60
  reportsim measure target.toml --objective "async.time_to_result_ms.p95 < 2000" --html out.html --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.epilog = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("target", nargs="?", type=user_path, metavar="TARGET.toml", help="the service to be measured")
    parser.add_argument("--example", action="store_true", help="write a commented target file, or print it")
    parser.add_argument("--yes", action="store_true", help="do not ask before sending to other machines")
    load = parser.add_argument_group("the load, on each side")
    load.add_argument("--rate", type=positive, default=DEFAULTS.rate, metavar="R", help="arrivals per second (8)")
    load.add_argument("--duration", type=positive, default=DEFAULTS.duration_s, metavar="S", help="of the load (60)")
    load.add_argument("--blocks", type=bounded(FEWEST_BLOCKS, 50), metavar="N", help="pairs of blocks (10)")
    load.add_argument("--arrivals", choices=[str(kind) for kind in Arrivals], default=str(DEFAULTS.arrivals))
    load.add_argument("--seed", type=bounded(0, 2**31 - 1), default=DEFAULTS.seed, metavar="N")
    load.add_argument("--slo", type=positive, metavar="S", help="when a result is late (the client's time-out)")
    out = parser.add_argument_group("output")
    out.add_argument("--objective", action="append", default=[], metavar="TEXT", help="what must hold, such as above")
    out.add_argument("--json", action="store_true", help="print the result as JSON")
    out.add_argument("--html", type=user_path, metavar="FILE", help="write the report")
    out.add_argument("--samples", type=user_path, metavar="FILE", help="write every request as a row")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measures what is described, or writes the example."""
    if options.example:
        return write_example(options.target)
    if options.target is None:
        raise CommandError("which target file? --example writes one")
    try:
        target = read_target(read_text(options.target), os.environ)
        plan = plan_of(options, target)
        wanted = parse_objectives(options.objective, plan)
    except (TargetError, PlanError, ObjectiveError) as error:
        where = f"{options.target}: " if isinstance(error, TargetError) else ""
        print(f"reportsim: {where}{error}", file=sys.stderr)
        return MALFORMED
    confirm(target, plan, yes=options.yes)
    allow_files()
    measured = asyncio.run(measure(Measurement(target, plan)))
    result = conclude(measured, wanted)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show(open_console(), result)
    keep(options, target, measured, result)
    if measured.interrupted:
        sys.stdout.flush()
        raise KeyboardInterrupt
    return 0 if is_good(result) else FAILED


def write_example(path: Path | None) -> int:
    """Prints the example, or writes it where there is no file yet."""
    if path is None:
        sys.stdout.write(EXAMPLE)
        return 0
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(EXAMPLE)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {path}", file=sys.stderr)
    return 0


def read_text(path: Path) -> str:
    """The target file.

    Raises:
        TargetError: It cannot be read, or is no text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise TargetError("the file", f"is larger than {LARGEST_FILE // 1024} KiB")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TargetError("the file", "is not UTF-8") from None
    except OSError as error:
        raise TargetError("the file", error.strerror or "cannot be read") from None


def plan_of(options: argparse.Namespace, target: Target) -> MeasurePlan:
    """The load that was described.

    Raises:
        PlanError: It is out of bounds.
    """
    patterns = ((Mode.SYNC, target.sync), (Mode.ASYNC, target.later))
    return MeasurePlan(
        rate=options.rate,
        duration_s=options.duration,
        blocks=options.blocks,
        arrivals=Arrivals(options.arrivals),
        seed=options.seed,
        client_timeout_s=target.limits.client_timeout_s,
        slo_s=options.slo or target.limits.client_timeout_s,
        patterns=tuple(mode for mode, side in patterns if side is not None),
        result_deadline_s=target.limits.result_deadline_s,
        settle_s=target.limits.settle_s,
        polled=target.later is not None and isinstance(target.later.way, Poll),
    )


async def measure(measurement: Measurement) -> Measured:
    """Measures, and shows how it goes on.

    Raises:
        CommandError: It cannot be measured.
    """
    try:
        async with shown(open_console(stderr=True), measurement):
            return await measurement.run()
    except (WayError, MeasurementError) as error:
        raise CommandError(str(error)) from None


def show(console: Console, result: Mapping[str, Any]) -> None:
    """Prints a result: trust, the numbers, what came beside them, the checks that are not well, the verdict."""
    show_trust(console, result)
    show_figures(console, result)
    lines = [
        *(line for name in ("sync", "async") if name in result for line in describe_counts(name, result[name])),
        "Not known of a service that is not reportsim's own: queue, workers, wasted work, theory (H3, H4, H9, H12).",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    show_checks(console, result)
    show_missed(console, result)
    console.print(result["verdict"], highlight=False, markup=False, soft_wrap=True)


def describe_counts(name: str, side: Mapping[str, Any]) -> Iterable[str]:
    """The service time that a server has reported, and what came on the way to its results."""
    if (service := side["segments_ms"]["service"]) is not None:
        yield f"{name}: mean service time {service:g} ms, as the server says (Server-Timing)"
    if counts := {kind: count for kind, count in side.get("results", {}).items() if count}:
        yield f"{name}: " + ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in counts.items())


def keep(options: argparse.Namespace, target: Target, measured: Measured, result: Mapping[str, Any]) -> None:
    """Writes the exports that are asked for."""
    if options.samples:
        sides = list(measured.samples.values())
        write(options.samples, write_csv(measured.parameters, measured.plan.slo_s, (), sides))
    if options.html:
        write(options.html, [html_page(target, measured, result)])


def write(path: Path, pieces: Iterable[str]) -> None:
    """Writes a file.

    Raises:
        CommandError: That is not possible.
    """
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {path}", file=sys.stderr)
