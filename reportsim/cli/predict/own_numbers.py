"""`reportsim predict --from LOG`, or with `--p50` and `--p99`: what an endpoint of one's own can take."""

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from rich.table import Table

from reportsim.benchmark.endpoint.capacity import (
    MOST_WORKERS,
    Capacity,
    CapacityError,
    Endpoint,
    estimate_capacity,
    fit_lognormal,
)
from reportsim.benchmark.endpoint.words import advice, assumptions, capacity_plot, headline
from reportsim.benchmark.request_log.errors import LogError
from reportsim.benchmark.request_log.reader import RequestLog, read_log
from reportsim.benchmark.request_log.units import Unit
from reportsim.cli.arguments import positive
from reportsim.cli.console import open_console
from reportsim.cli.errors import CommandError, MalformedFileError
from reportsim.core.number_format import duration, three
from reportsim.core.observed_service_time import Distribution
from reportsim.settings import user_path

STANDARD_INPUT: Final = Path("-")
ALONE: Final = ("mean", "capacity", "patience", "sweep")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    group = parser.add_argument_group("your endpoint: where its clients begin to time out")
    group.add_argument(
        "--from", dest="log", type=user_path, metavar="LOG", help="access log, CSV or JSON lines (- for stdin)"
    )
    group.add_argument("--unit", type=Unit, choices=list(Unit), help="of durations whose unit the log does not say")
    group.add_argument("--field", metavar="NAME", help="the column, key or field of the duration")
    group.add_argument("--p50", type=positive, metavar="S", help="instead of a log: median duration")
    group.add_argument("--p99", type=positive, metavar="S", help="and its 99th percentile")


def is_asked_for(options: argparse.Namespace) -> bool:
    """Whether an endpoint is described by its durations."""
    return any(value is not None for value in (options.log, options.unit, options.field, options.p50, options.p99))


def run(options: argparse.Namespace) -> int:
    """Prints where time-outs begin, and what each pattern needs."""
    check_options(options)
    log = None if options.log is None else open_log(options)
    try:
        service: Distribution = fit_lognormal(options.p50, options.p99) if log is None else log.durations
        rate = log.rate.busiest if options.rate is None and log is not None and log.rate is not None else options.rate
        capacity = estimate_capacity(
            Endpoint(
                service=service,
                workers=options.workers,
                timeout_s=options.timeout,
                rate=rate,
                share=options.share,
                duration_s=options.duration,
                cancel=options.cancel,
                seed=options.seed,
            )
        )
    except CapacityError as error:
        raise CommandError(str(error)) from None
    if options.plot:
        write_plot(options.plot, capacity_plot(capacity))
    if options.json:
        print(json.dumps(as_json(log, capacity), ensure_ascii=False))
    else:
        show(log, capacity)
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Refuses options that are missing, or that belong to other questions.

    Raises:
        CommandError: Some do.
    """
    typed = options.p50 is not None or options.p99 is not None
    if (options.p50 is None) != (options.p99 is None):
        raise CommandError("--p50 and --p99 belong together")
    if typed == (options.log is not None):
        raise CommandError("give either --from, or --p50 and --p99")
    if typed and (options.unit or options.field):
        raise CommandError("--unit and --field belong to --from; --p50 and --p99 are in seconds")
    wrong = [name for name in ALONE if getattr(options, name) is not None]
    if wrong:
        raise CommandError(f"--{wrong[0]} does not go with --from or --p50 and --p99")
    if options.workers is None or options.timeout is None:
        raise CommandError("predict needs --workers and --timeout besides the durations")
    if options.workers > MOST_WORKERS:
        raise CommandError(f"--workers can be at most {MOST_WORKERS:,} here")


def open_log(options: argparse.Namespace) -> RequestLog:
    """Reads the log.

    Raises:
        MalformedFileError: It is not what was expected.
    """
    path: Path = options.log
    name = "standard input" if path == STANDARD_INPUT else path
    try:
        with nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else open(path, "rb") as file:
            return read_log(file, unit=options.unit, name=options.field, seed=options.seed)
    except LogError as error:
        raise MalformedFileError(f"{name}: {error}") from None
    except OSError as error:
        raise MalformedFileError(f"cannot read {name}: {error.strerror or error}") from None


def write_plot(path: Path, plot: str) -> None:
    """Writes the picture.

    Raises:
        CommandError: It cannot be written.
    """
    try:
        path.write_text(plot, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from None


def as_json(log: RequestLog | None, capacity: Capacity) -> dict[str, object]:
    """The answer with what the log says."""
    read: dict[str, object] | None = None
    if log is not None:
        mean, busiest = (None, None) if log.rate is None else (log.rate.mean, log.rate.busiest)
        read = {"format": log.format, "requests": log.count, "mean_rate": mean, "busiest_rate": busiest}
    return {"log": read, **capacity.as_json()}


def show(log: RequestLog | None, capacity: Capacity) -> None:
    """Prints what was read and what follows."""
    service = capacity.endpoint.service
    table = Table(box=None, show_header=False, pad_edge=False)
    if log is not None:
        table.add_row("read", f"{log.count:,} requests from {log.format}")
        if log.rate is not None:
            table.add_row("requests/s", f"{three(log.rate.mean)}, in the busiest minute {three(log.rate.busiest)}")
    percentiles = [f"{name} {duration(service.quantile_s(share))}" for name, share in (("p50", 0.5), ("p99", 0.99))]
    table.add_row("durations", f"{', '.join(percentiles)}, mean {duration(service.mean_s)}")
    console = open_console()
    console.print(table)
    console.print(headline(capacity), style="bold", highlight=False)
    console.print(advice(capacity), highlight=False)
    console.print(assumptions(capacity), style="dim", highlight=False)
