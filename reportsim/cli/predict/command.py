"""`reportsim predict`: what queueing theory says, in seconds; no service and no database."""

import argparse
import json
from typing import Final

from rich.table import Table

from reportsim.benchmark.plan import Cancel
from reportsim.benchmark.theory.model_result import Theory
from reportsim.benchmark.theory.queue_models import Patience, Queue, answer
from reportsim.cli.arguments import fraction, positive
from reportsim.cli.console import open_console
from reportsim.cli.errors import CommandError
from reportsim.cli.ledger.command import bounded
from reportsim.cli.predict import load_sweep, own_numbers
from reportsim.cli.service_time import DISTRIBUTIONS, service_time
from reportsim.core.number_format import duration, percent, three
from reportsim.core.service_time import ServiceTime
from reportsim.settings import user_path

MOST_WORKERS: Final = 10_000
ABOUT: Final = f"""
Times are in seconds. Without --duration the answer is the steady state, with it a run of this length from empty.
Distributions: {", ".join(DISTRIBUTIONS)}. What a name leaves open comes from --mean; fields as in the API set it,
in milliseconds: --distribution lognormal,sigma=0.8 or --distribution uniform,min_ms=200,max_ms=1800.

  reportsim predict --rate 9 --mean 1 --workers 10 --timeout 8
  reportsim predict --rate 12 --mean 1 --workers 10 --patience 8 fixed
  reportsim predict --sweep rate=5:20 --mean 1 --workers 10 --timeout 8 --plot break-even.svg
  reportsim predict --from access.log --workers 8 --timeout 2 --plot knee.svg
  reportsim predict --p50 0.12 --p99 0.9 --rate 40 --workers 8 --timeout 2

--from reads durations, a request per line: access logs (nginx's $request_time in seconds, or Apache's %D in
microseconds, behind the status and size), CSV with a header, JSON lines, or a plain column. A unit behind the number
counts, else --unit, else the one in the name of the column or key, such as duration_ms.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = ABOUT
    parser.add_argument("--rate", type=positive, metavar="R", help="arrivals per second")
    parser.add_argument("--mean", type=positive, metavar="S", help="mean service time")
    parser.add_argument("--workers", type=bounded(1, MOST_WORKERS), metavar="C")
    parser.add_argument("--distribution", type=service_time, default="exponential", metavar="NAME[,FIELD=VALUE…]")
    parser.add_argument("--capacity", type=bounded(1, 10**6), metavar="K", help="most requests, waiting and in service")
    parser.add_argument(
        "--patience", nargs="+", metavar=("T", "exponential|fixed"), help="mean limit on the wait, or the same for all"
    )
    parser.add_argument("--timeout", type=positive, metavar="T", help="share of requests that take longer")
    parser.add_argument("--duration", type=positive, metavar="S", help="length of a run from empty")
    parser.add_argument("--seed", type=bounded(0, 2**31 - 1), default=1, metavar="N", help="of what is simulated (1)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    sweep = parser.add_argument_group(
        "break-even, by simulated runs from empty (--share, --cancel and --plot also for an endpoint of yours)"
    )
    sweep.add_argument("--sweep", type=load_sweep.swept, metavar="NAME=LOW:HIGH[:STEP]", help="rate, timeout, workers")
    sweep.add_argument("--share", type=fraction, default=0.01, metavar="P", help="time-outs that are too many (0.01)")
    sweep.add_argument("--cancel", type=Cancel, choices=list(Cancel), default=Cancel.NONE)
    sweep.add_argument("--plot", type=user_path, metavar="FILE", help="write the picture as SVG")
    own_numbers.add_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the answers."""
    if own_numbers.is_asked_for(options):
        return own_numbers.run(options)
    service = ServiceTime(options.distribution(options.mean))
    if options.sweep is not None:
        return load_sweep.run(options, service)
    if options.plot is not None or options.cancel is not Cancel.NONE:
        raise CommandError("--plot and --cancel need --sweep, --from or --p50 and --p99")
    if options.rate is None or options.workers is None:
        raise CommandError("predict needs --rate and --workers")
    queue = queue_of(options, service)
    try:
        theory = answer(queue)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if options.json:
        print(json.dumps(theory.as_json(options.timeout), ensure_ascii=False))
        return 0
    show(queue, theory, options.timeout)
    return 0


def queue_of(options: argparse.Namespace, service: ServiceTime) -> Queue:
    """The queue that was described."""
    if not service.mean_s:
        raise CommandError("the mean service time must be above 0")
    if options.capacity is not None and options.capacity < options.workers:
        raise CommandError("--capacity counts those in service, too: it must not be below --workers")
    patience_s, kind = patience(options.patience)
    return Queue(
        rate=options.rate,
        service=service,
        workers=options.workers,
        capacity=options.capacity,
        patience_s=patience_s,
        patience=kind,
        duration_s=options.duration,
        seed=options.seed,
    )


def patience(words: list[str] | None) -> tuple[float | None, Patience]:
    """What --patience says; exponential where no kind is named."""
    if words is None:
        return None, Patience.EXPONENTIAL
    try:
        (amount, *kinds) = words
        (kind,) = kinds or [Patience.EXPONENTIAL]
        return positive(amount), Patience(kind)
    except (ValueError, argparse.ArgumentTypeError):
        raise CommandError("--patience takes a number above 0, and exponential or fixed") from None


def show(queue: Queue, theory: Theory, timeout_s: float | None) -> None:
    """Prints a table, and what is behind it where there is no steady state."""
    table = Table(box=None, show_header=False)
    table.add_row("model", theory.model)
    table.add_row("load per worker, ρ", three(theory.rho))
    rows = (
        ("waits at all", theory.p_wait, percent),
        ("mean wait", theory.mean_wait, duration),
        ("mean time to result", theory.mean_sojourn, duration),
        ("p50", theory.percentile(0.5), duration),
        ("p95", theory.percentile(0.95), duration),
        ("p99", theory.percentile(0.99), duration),
        ("in the system, mean", theory.mean_in_system, three),
        ("turned away", theory.p_block, percent),
        ("left the queue", theory.p_abandon, percent),
    )
    for name, value, words in rows:
        if value is not None:
            table.add_row(name, words(value))
    if timeout_s is not None and (share := theory.p_timeout(timeout_s)) is not None:
        table.add_row(f"longer than {duration(timeout_s)}", percent(share))
    console = open_console()
    console.print(table)
    if theory.tail is None:
        console.print("Too many wait at once to compute percentiles in seconds; the means are exact.")
    if theory.mean_wait is None:
        growth = queue.rate - queue.workers / queue.service.mean_s
        console.print(f"The queue grows by {three(growth)} requests a second without bound: ask for a --duration.")
