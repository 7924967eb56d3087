"""`reportsim benchmark`: the load test on both patterns, on a running service or on one of its own."""

import argparse
import asyncio
import contextlib
import json
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.workload import FEWEST_BLOCKS, Arrivals
from reportsim.cli.arguments import positive
from reportsim.cli.benchmark.analyse import analyse_files
from reportsim.cli.benchmark.local_service import run_local_service
from reportsim.cli.benchmark.self_test import SelfTest, run_self_test
from reportsim.cli.benchmark.tables import show_comparison, show_list, show_result
from reportsim.cli.console import open_console
from reportsim.cli.database import name_database
from reportsim.cli.errors import CommandError
from reportsim.cli.ledger.command import bounded
from reportsim.cli.service_time import DISTRIBUTIONS, service_time
from reportsim.core.model import Mode
from reportsim.settings import Settings, user_path

FAILED: Final = 99
SILENT_S: Final = 60.0
RUNNING: Final = frozenset({"PENDING", "RUNNING"})
DEFAULTS: Final = Plan()
Json = dict[str, Any]
ABOUT: Final = f"""
Runs one load against POST /api/sync and POST /api/async: the same arrivals, the same service times, measured from both
ends. Times are in seconds. Without --url it starts a service of its own. Distributions: {", ".join(DISTRIBUTIONS)};
what a name leaves open comes from --mean, fields set it, as in --distribution lognormal,sigma=0.8.

Exit code 99: an objective was missed (95 % of results within --slo, nobody left without one), or a check says not to
trust the run.

  reportsim benchmark --rate 8 --mean 1 --workers 10 --duration 60
  reportsim benchmark --rate 48 --mean 0.2 --workers 8 --timeout 1 --slo 1 --cancel queued --html run.html
  reportsim benchmark --both sync --duration 20
  reportsim benchmark --analyse samples.csv --json
  reportsim benchmark --url http://127.0.0.1:8080 --list
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.epilog = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--url", metavar="URL", help="a running service; none: one of its own")
    load = parser.add_argument_group("the load, on each side")
    load.add_argument("--rate", type=positive, default=DEFAULTS.rate, metavar="R", help="arrivals per second (8)")
    load.add_argument("--duration", type=positive, default=DEFAULTS.duration_s, metavar="S", help="of the load (60)")
    load.add_argument("--blocks", type=bounded(FEWEST_BLOCKS, 50), metavar="N", help="pairs of blocks (10)")
    load.add_argument("--both", choices=[str(mode) for mode in Mode], help="an A/A run: this pattern on both sides")
    load.add_argument("--arrivals", choices=[str(kind) for kind in Arrivals], default=str(DEFAULTS.arrivals))
    load.add_argument("--workers", type=bounded(1, 32), default=DEFAULTS.workers, metavar="C", help="(10)")
    load.add_argument("--mean", type=positive, metavar="S", help="mean service time (1)")
    load.add_argument("--distribution", type=service_time, metavar="NAME[,FIELD=VALUE…]", help="(exponential)")
    load.add_argument("--timeout", type=patience, default=DEFAULTS.client_timeout_s, metavar="T", help="or none (8)")
    load.add_argument("--slo", type=positive, default=DEFAULTS.slo_s, metavar="S", help="when a result is late (8)")
    load.add_argument("--cancel", choices=[str(kind) for kind in Cancel], default=str(DEFAULTS.cancel))
    load.add_argument("--seed", type=bounded(0, 2**31 - 1), default=DEFAULTS.seed, metavar="N")
    load.add_argument("--ledger", default="tiny", metavar="NAME")
    load.add_argument("--ways", action="store_true", help="measure polling, long polling and SSE, too")
    out = parser.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="print the run as JSON")
    out.add_argument("--html", type=user_path, metavar="FILE", help="write the report")
    out.add_argument("--replay", type=user_path, metavar="FILE", help="write a page that plays the run")
    out.add_argument("--csv", type=user_path, metavar="FILE", help="write every request as a row")
    out.add_argument(
        "--hgrm", type=user_path, metavar="FILE", help="write a percentile distribution for each side: FILE-async.hgrm"
    )
    other = parser.add_argument_group("earlier runs").add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="list them")
    other.add_argument(
        "--self-test", action="store_true", help="freeze a service of its own and check what is measured"
    )
    other.add_argument("--analyse", nargs="+", metavar="FILE", help="compute the result of exported samples again")
    other.add_argument("--compare", nargs=2, metavar="ID", help="two of them beside each other")
    parser.set_defaults(run=run)


def patience(text: str) -> float | None:
    """When sync clients leave; None for `none`."""
    return None if text == "none" else positive(text)


def run(options: argparse.Namespace) -> int:
    """Does what is asked for, on the service that is named or on its own."""
    if options.analyse:
        return analyse_files(options.analyse, as_json=options.json)
    if options.self_test and options.url:
        raise CommandError("--self-test freezes a service of its own, so it takes no --url")
    if options.url:
        return asyncio.run(on_service(options.url, options))
    name_database(Settings.from_environment(), existing=bool(options.list or options.compare))
    with run_local_service() as service:
        if options.self_test:
            return show_self_test(asyncio.run(run_self_test(service.url, service.pid)))
        return asyncio.run(on_service(service.url, options))


def show_self_test(found: SelfTest) -> int:
    """Prints the outcome of a self-test; returns the exit code."""
    for level, by_hand in found.by_hand.items():
        print(f"{found.side} {level}: {found.measured[level]:.1f} ms measured, {by_hand:.1f} ms by hand")
    print(f"{found.other} p90: {found.other_p90:.1f} ms measured, after the freeze")
    print("The self-test has passed." if found.ok else "The self-test has failed.")
    return 0 if found.ok else FAILED


async def on_service(url: str, options: argparse.Namespace) -> int:
    """The command on a running service."""
    console = open_console()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENT_S)
    try:
        async with aiohttp.ClientSession(url.rstrip("/"), timeout=timeout) as session:
            if options.list or options.compare:
                await show_earlier(session, console, options)
                return 0
            # Nothing but the result goes where a program reads it.
            done = await measure(session, open_console(stderr=True), plan_of(options))
            await keep(session, done, options)
    except aiohttp.ClientError as error:
        raise CommandError(f"{url}: {error}") from None
    except TimeoutError:
        raise CommandError(f"{url} does not answer") from None
    if done["status"] != "COMPLETED":
        raise CommandError(f"the run ended as {done['status']}: {(done['error'] or {}).get('detail', 'it was ended')}")
    if options.json:
        print(json.dumps(done, ensure_ascii=False))
    else:
        show_result(console, done)
    return 0 if is_good(done["result"]) else FAILED


def is_good(result: Json) -> bool:
    """Whether the run can be trusted and met its objectives."""
    return bool(result["trusted"] and all(judged["pass"] for judged in result["slo"].values()))


def plan_of(options: argparse.Namespace) -> Json:
    """The plan that was described."""
    if options.distribution is None:
        service: Json = {"distribution": "exponential", "mean_ms": 1000 * (options.mean or 1.0)}
    else:
        service = options.distribution(options.mean)
    return {
        "rate": options.rate,
        **({"blocks": options.blocks} if options.blocks else {}),
        **({"both": options.both} if options.both else {}),
        "duration_s": options.duration,
        "arrivals": options.arrivals,
        "workers": options.workers,
        "service_time": {
            name: 60_000 if isinstance(value, float) and math.isinf(value) else value for name, value in service.items()
        },
        "client_timeout_s": options.timeout,
        "slo_s": options.slo,
        "cancel": options.cancel,
        "seed": options.seed,
        "ledger": options.ledger,
        "ways": options.ways,
    }


async def measure(session: aiohttp.ClientSession, console: Console, plan: Json) -> Json:
    """Starts a run, shows how it goes on, and returns it when it has ended."""
    started = await call(session, "POST", "/api/benchmark/both", plan)
    path = started["links"]["self"]
    with progress_bar(console) as bar:
        shown = bar.add_task("predicting", total=1.0, live="")
        said = False
        try:
            async for event in progress_of(session, started["id"]):
                if event["status"] == "RUNNING" and not said:
                    said = True
                    prediction = (await call(session, "GET", path))["prediction"]
                    bar.console.print(f"expected: {prediction['sentence']}", highlight=False, markup=False)
                bar.update(shown, completed=event["progress"], description="running", live=live(event))
            # The bar is full when no work is left; what remains is to make the result.
            bar.update(shown, completed=1.0, description="concluding", live="")
            done: Json = await call(session, "GET", path)
            while done["status"] in RUNNING:
                done = await call(session, "GET", path, Prefer="wait=20")
        except asyncio.CancelledError:
            await asyncio.shield(call(session, "POST", f"{path}/cancel"))
            raise
    return done


def progress_bar(console: Console) -> Progress:
    """The bar, with live numbers behind it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(
        *columns,
        TextColumn("{task.fields[live]}"),
        console=console,
        refresh_per_second=4,
        disable=not console.is_terminal,
    )


def live(event: Json) -> str:
    """The side that has the load at this moment."""
    sides = event.get("live", {})
    busy = [name for name, side in sides.items() if side["open_connections"] or side["queue"] or side["busy_workers"]]
    return " · ".join(
        f"{name}: {sides[name]['open_connections']} open, {sides[name]['queue']} queued,"
        f" {sides[name]['busy_workers']} busy"
        for name in busy
    )


async def progress_of(session: aiohttp.ClientSession, id: str) -> AsyncIterator[Json]:
    """What the service tells of a run, until its end; nothing where it cannot tell."""
    with contextlib.suppress(aiohttp.ClientPayloadError, aiohttp.ClientResponseError, TimeoutError):
        async with session.get("/api/events", raise_for_status=True) as stream:
            name = ""
            async for raw in stream.content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data" and name == "benchmark":
                    event: Json = json.loads(value)
                    if event["id"] == id:
                        yield event
                        if event["status"] not in RUNNING:
                            return


async def call(session: aiohttp.ClientSession, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """The JSON of an answer.

    Raises:
        CommandError: the service refuses, for the reason that it gives.
    """
    async with session.request(method, path, json=body, headers=headers) as answer:
        try:
            found = json.loads(await answer.read())
        except ValueError:
            raise CommandError(f"{answer.url} is not a reportsim service") from None
        if answer.status >= 400:
            errors = [f"{error.get('pointer', '')} {error['detail']}".strip() for error in found.get("errors", [])]
            raise CommandError("; ".join(errors) or found.get("detail") or found.get("title") or str(answer.status))
    return found


async def show_earlier(session: aiohttp.ClientSession, console: Console, options: argparse.Namespace) -> None:
    """Prints the list of runs, or two of them beside each other."""
    if options.compare:
        first, second = options.compare
        found = await call(session, "GET", f"/api/benchmark/{first}/comparison?with={second}")
    else:
        found = (await call(session, "GET", "/api/benchmark"))["items"]
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    elif options.compare:
        show_comparison(console, found)
    else:
        show_list(console, found)


async def keep(session: aiohttp.ClientSession, done: Json, options: argparse.Namespace) -> None:
    """Writes the exports that are asked for."""
    if done["result"] is None:
        return
    for path, name in ((options.html, "report"), (options.replay, "replay"), (options.csv, "samples")):
        if path is not None:
            await download(session, done["links"][name], path)
    if options.hgrm is not None:
        for side in ("a", "b") if done["plan"].get("both") else tuple(Mode):
            path = options.hgrm.with_name(f"{options.hgrm.stem}-{side}.hgrm")
            await download(session, f"{done['links']['self']}/percentiles.hgrm?side={side}", path)


async def download(session: aiohttp.ClientSession, link: str, path: Path) -> None:
    """Writes what is behind a link to a file."""
    async with session.get(link) as answer:
        write(path, await answer.read())


def write(path: Path, data: bytes) -> None:
    """Writes a file and says so."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {path}", file=sys.stderr)
