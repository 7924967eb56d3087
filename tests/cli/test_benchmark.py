"""`python -m reportsim benchmark …` as people run it, on a running service."""

import asyncio
import io
import json
import os
import re
import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from reportsim.benchmark.conclusion import conclude_from_samples
from reportsim.benchmark.results.csv_reader import read_samples
from reportsim.benchmark.results.export import samples_csv
from reportsim.benchmark.results.run_comparison import compare_estimates, compare_runs
from reportsim.benchmark.results.samples import Outcome
from reportsim.cli.benchmark.self_test import run_self_test
from reportsim.cli.benchmark.tables import show_analysis, show_comparison, show_list, show_result
from reportsim.cli.errors import CommandError
from reportsim.core.model import Mode
from tests.benchmark.runs import IDLE, example, overload
from tests.conftest import Service

SMALL = ("--rate", "80", "--duration", "1", "--workers", "4", "--mean", "0.02", "--timeout", "none")


class Done(NamedTuple):
    """How a command ended."""

    code: int | None
    out: str
    err: str


async def benchmark(*arguments: str | Path) -> Done:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "reportsim", "benchmark", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "40"},
    )
    out, err = await process.communicate()
    return Done(process.returncode, out.decode(), err.decode())


@pytest.mark.slow
async def test_a_run_its_exports_the_list_and_two_runs_beside_each_other(service: Service, tmp_path: Path) -> None:
    page, replay, rows = tmp_path / "run.html", tmp_path / "replay.html", tmp_path / "run.csv"
    distribution = tmp_path / "run.hgrm"
    # No result is ever that fast: an objective is missed.
    files = ("--html", page, "--replay", replay, "--csv", rows, "--hgrm", distribution)
    done = await benchmark("--url", service.url, *SMALL, "--slo", "0.001", "--json", *files)
    assert done.code == 99, done.err
    run = json.loads(done.out)
    assert (run["status"], run["plan"]["client_timeout_s"]) == ("COMPLETED", None)
    assert not run["result"]["slo"]["sync"]["pass"]
    assert "expected: No sync client will time out, since none has a time-out" in done.err
    assert page.read_text().startswith("<!doctype html>")
    assert 'id="recorded"' in replay.read_text()
    exported = rows.read_text().splitlines()
    assert len(exported) == 2 + 2 * run["result"]["sync"]["offered"]
    for side in ("sync", "async"):
        text = (tmp_path / f"run-{side}.hgrm").read_text()
        assert f"Total count    = {run['result'][side]['offered']:12d}]" in text
    again = await benchmark("--analyse", rows, "--json")
    assert json.loads(again.out)["verdict"] == run["result"]["verdict"]

    listed, compared = await asyncio.gather(
        benchmark("--url", service.url, "--list"), benchmark("--url", service.url, "--compare", run["id"], run["id"])
    )
    assert (listed.code, compared.code) == (0, 0), (listed.err, compared.err)
    assert run["id"] in listed.out
    assert "The same load." in compared.out
    assert "time_to_result_ms.p50" in compared.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "5000", "--duration", "600"), "must not exceed 200,000"),
        (("--rate", "11", "--workers", "1", "--duration", "600"), "The blocks of a side would take more than 1200 s"),
        (("--ledger", "nowhere"), "There is no such ledger"),
        (("--compare", "nonsense", "nonsense"), "Not a UUID"),
    ],
)
async def test_what_the_service_refuses_is_one_line(service: Service, arguments: tuple[str, ...], said: str) -> None:
    done = await benchmark("--url", service.url, *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("reportsim: ")
    assert said in done.err
    assert done.err.count("\n") == 1


async def test_nobody_there_is_one_line() -> None:
    done = await benchmark("--url", "http://127.0.0.1:9", "--list")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)


def test_bounds_and_too_small_numbers_are_said_as_such() -> None:
    run = overload(rate=7.0)
    result, few = run.conclude(), overload(rate=7.0, duration_s=3.0).conclude()
    out = io.StringIO()
    console = Console(file=out, width=200)
    for each in (result, few):
        show_result(console, {"result": {**each, "ways": None}})
    both = [{"id": "a", "plan": run.plan.as_json(), "result": each} for each in (result, few)]
    show_comparison(console, compare_runs(*both))
    text = out.getvalue()
    assert "sync missed time_to_result_ms.p95 <= 8,000: ≥ 8,000" in text
    assert "3 block pairs are too few for an interval" in text
    (row,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["time_to_result_ms.p95", "≥"]]
    assert row[2] == "8,000"


def test_an_objective_of_which_nothing_is_known_is_not_said_to_be_missed() -> None:
    run = overload(duration_s=10.0)
    run.samples[Mode.ASYNC].outcomes = array("b", [Outcome.SHED]) * len(run.schedule)
    lines = printed(lambda console: show_result(console, {"result": {**run.conclude(), "ways": None}}))
    assert "async cannot be judged by time_to_result_ms.p95 <= 8,000: unknown" in lines


def printed(show: Callable[[Console], None], width: int = 200) -> list[str]:
    """The lines that something prints."""
    out = io.StringIO()
    show(Console(file=out, width=width))
    return out.getvalue().splitlines()


def test_a_result_begins_with_whether_it_can_be_trusted() -> None:
    run, result = example()
    good = printed(lambda console: show_result(console, {"result": {**result, "ways": None}}))
    assert good[0] == f"This run can be trusted: none of its {len(result['checks'])} checks failed."
    bad = run.conclude(replace(IDLE, generator_loop_lag_p99_ms=80.0))
    lines = printed(lambda console: show_result(console, {"result": {**bad, "ways": None}}))
    advice = "The machine was busy: close other programs and run again."
    assert lines[0] == f"Do not trust this run: H6 failed. {advice}"
    assert any(line.startswith("H6 fail: ") for line in lines)


def test_an_analysis_says_which_checks_it_had() -> None:
    run, _ = example()
    recorded = read_samples(io.StringIO("".join(samples_csv(run.plan, list(run.samples.values())))))
    result = conclude_from_samples(recorded)
    not_run = sum(check["verdict"] == "not_run" for check in result["checks"])
    lines = printed(lambda console: show_analysis(console, "run.csv", result))
    said = f"{not_run} of {len(result['checks'])} checks were not run; none of the others failed."
    assert lines[:2] == ["run.csv", said]


def test_the_list_says_of_each_run_whether_it_can_be_trusted_where_a_terminal_does_not_cut_it() -> None:
    plan = {"rate": 8}
    runs = [
        {"id": 36 * "0", "created_at": "2026-01-01T00:00:00Z", "status": status, "plan": plan} | {"trusted": trusted}
        for status, trusted in (("COMPLETED", True), ("COMPLETED", False), ("RUNNING", None))
    ]
    lines = printed(lambda console: show_list(console, [{**run, "verdict": "Slow."} for run in runs]))
    assert [line[36:51] for line in lines] == ["  trusted      ", "  not trusted  ", 15 * " "]
    assert all(line.endswith("8/s  Slow.") for line in lines)


SAME = {"first": "a", "second": "b", "distrust": {"first": [], "second": []}, "plan": [], "same_load": True}


def test_a_comparison_names_the_runs_and_why_one_is_not_to_be_trusted() -> None:
    out = io.StringIO()
    compared = {**SAME, "distrust": {"first": ["H1: Late.", "H5: Lost."], "second": []}}
    show_comparison(Console(file=out, width=200), compared)
    lines = out.getvalue().splitlines()
    assert lines[0] == "first, the older run: a; not to be trusted: H1: Late. H5: Lost."
    assert lines[1] == "second, the newer run: b"


@pytest.mark.parametrize(
    ("second", "finding"),
    [
        ((150.0, 140.0, 160.0), "differs"),
        ((101.0, 100.5, 102.0), "differs by less than 2 %"),
        ((101.0, 99.0, 103.0), ""),
    ],
)
def test_a_comparison_marks_what_differs_and_whether_that_matters(
    second: tuple[float, float, float], finding: str
) -> None:
    estimates = [dict(zip(("value", "low", "high"), each, strict=True)) for each in ((100.0, 99.5, 100.2), second)]
    compared = {**SAME, "sync": [compare_estimates("goodput", *estimates)]}
    out = io.StringIO()
    show_comparison(Console(file=out, width=200), compared)
    [line] = [line.strip() for line in out.getvalue().splitlines() if "goodput" in line]
    assert re.fullmatch(rf"goodput +100 +\d+ +\d+ +[\d.]+ *{finding}", line)


async def test_a_self_test_takes_no_url_and_says_what_failed(service: Service) -> None:
    done = await benchmark("--self-test", "--url", service.url)
    assert done.code == 1
    assert "takes no --url" in done.err
    with pytest.raises(CommandError, match="Cannot connect"):
        await run_self_test("http://127.0.0.1:1", os.getpid())
