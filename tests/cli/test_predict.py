"""`python -m reportsim predict …` as people run it: no database, no service, seconds."""

import json
import math
import re
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.benchmark.endpoint.short_runs import shorten_runs
from tests.cli.calls import Argument, Done, call, start

FIELDS = {
    "model",
    "rho",
    "p_wait",
    "mean_wait",
    "mean_sojourn",
    "mean_in_system",
    "p50",
    "p95",
    "p99",
    "p_block",
    "p_abandon",
    "p_timeout",
}
QUEUE = ("--rate", "9", "--mean", "1", "--workers", "10")


# An address where no database is: nothing may ask for one.
ENVIRONMENT = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "COLUMNS": "120"}


def predict(*arguments: Argument) -> Done:
    return call("predict", *arguments, environ=ENVIRONMENT)


def answers(*arguments: Argument) -> dict[str, Any]:
    return read(predict(*arguments, "--json"))


def read(done: Done) -> dict[str, Any]:
    """What was printed with --json."""
    assert (done.returncode, done.stderr) == (0, b"")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nine_at_ten() -> None:
    found = read(start("predict", *QUEUE, "--timeout", "8", "--json", environ=ENVIRONMENT))
    assert set(found) == FIELDS
    waiting = 0.668731524107697
    assert found["model"] == "M/M/c"
    assert found["rho"] == pytest.approx(0.9)
    assert found["p_wait"] == found["mean_wait"] == pytest.approx(waiting, abs=1e-9)
    assert found["mean_sojourn"] == pytest.approx(1 + waiting, abs=1e-9)
    assert found["mean_in_system"] == pytest.approx(9 * (1 + waiting), abs=1e-9)
    assert found["p_timeout"] == pytest.approx(math.exp(-8) * (1 + 8 * waiting), abs=1e-9)
    assert found["p_block"] is found["p_abandon"] is None
    assert found["p50"] < found["p95"] < found["p99"]


def test_what_is_not_asked_for_is_null() -> None:
    assert {name for name, value in answers(*QUEUE).items() if value is None} == {"p_block", "p_abandon", "p_timeout"}
    bounded = answers(*QUEUE, "--capacity", "10")
    assert bounded["p_block"] == pytest.approx(0.16796, abs=1e-5)
    assert bounded["p_wait"] == 0
    assert answers(*QUEUE, "--patience", "8", "fixed")["p_abandon"] == pytest.approx(2.2438e-5, rel=1e-4)
    assert answers(*QUEUE, "--patience", "8")["model"] == answers(*QUEUE, "--patience", "8", "exponential")["model"]


def test_overload_has_no_steady_state_and_says_so() -> None:
    found = answers("--rate", "12", "--mean", "1", "--workers", "10", "--timeout", "8")
    assert (found["rho"], found["p_wait"], found["p_timeout"]) == (1.2, 1, 1)
    assert found["mean_wait"] is found["p99"] is found["mean_in_system"] is None
    shown = predict("--rate", "12", "--mean", "1", "--workers", "10")
    assert "The queue grows by 2 requests a second without bound: ask for a --duration." in shown.stdout.decode()
    short = answers("--rate", "12", "--mean", "1", "--workers", "10", "--timeout", "8", "--duration", "60")
    assert short["mean_wait"] == pytest.approx(6, rel=0.05)
    assert 0.3 < short["p_timeout"] < 0.5


@pytest.mark.parametrize(
    ("distribution", "mean"),
    [
        ("fixed", ("--mean", "1")),
        ("uniform", ("--mean", "1")),
        ("uniform,min_ms=500", ("--mean", "1")),
        ("lognormal,sigma=1", ("--mean", "1")),
        ("bimodal,slow_share=0.2", ("--mean", "1")),
        ("bimodal,slow_ms=5000", ("--mean", "1")),
        ("exponential,mean_ms=1000", ()),
        ("uniform,min_ms=500,max_ms=1500", ()),
    ],
)
def test_whatever_the_distribution_its_mean_is_the_one_asked_for(distribution: str, mean: tuple[str, ...]) -> None:
    found = answers("--rate", "8", *mean, "--workers", "10", "--distribution", distribution)
    assert found["rho"] == pytest.approx(0.8)
    assert found["mean_sojourn"] == pytest.approx(1 + found["mean_wait"])


def test_the_table_is_for_people() -> None:
    done = predict(*QUEUE, "--timeout", "8", "--capacity", "20")
    assert (done.returncode, done.stderr) == (0, b"")
    for words in ("M/M/c/K", "load per worker", "turned away", "longer than 8 s"):
        assert words in done.stdout.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--rate", "8"),
        ("--rate", "8", "--workers", "10"),
        ("--rate", "0", "--mean", "1", "--workers", "10"),
        ("--rate", "nan", "--mean", "1", "--workers", "10"),
        ("--rate", "inf", "--mean", "1", "--workers", "10"),
        ("--rate", "8", "--mean", "-1", "--workers", "10"),
        ("--rate", "8", "--mean", "1", "--workers", "0"),
        (*QUEUE, "--capacity", "9"),
        (*QUEUE, "--patience", "8", "sometimes"),
        (*QUEUE, "--patience", "8", "fixed", "9"),
        (*QUEUE, "--patience", "soon"),
        (*QUEUE, "--distribution", "pareto"),
        (*QUEUE, "--distribution", "fixed,sigma=1"),
        (*QUEUE, "--distribution", "lognormal,sigma=x"),
        (*QUEUE, "--distribution", "uniform,min_ms=5000"),
        (*QUEUE, "--distribution", "fixed,mean_ms=7"),
        (*QUEUE, "--plot", "x.svg"),
        (*QUEUE, "--sweep", "rate=20:5", "--timeout", "8"),
        (*QUEUE, "--sweep", "mean=1:2", "--timeout", "8"),
        (*QUEUE, "--sweep", "rate=1:2:3:4", "--timeout", "8"),
        (*QUEUE, "--sweep", "rate=5:20"),
        (*QUEUE, "--sweep", "rate=5:20", "--timeout", "8", "--capacity", "20"),
        (*QUEUE, "--sweep", "rate=5:20:0.001", "--timeout", "8"),
        (*QUEUE, "--sweep", "rate=5:20", "--timeout", "8", "--share", "2"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(arguments: tuple[str, ...]) -> None:
    done = predict(*arguments)
    assert done.returncode in {1, 2}
    said = done.stderr.decode()
    assert "predict" in said or "reportsim:" in said
    assert "Traceback" not in said
    assert done.stdout == b""


def test_a_sweep_finds_the_break_even_and_draws_it(tmp_path: Path) -> None:
    plot = tmp_path / "even.svg"
    arguments = ("--sweep", "rate=8:16:1", "--mean", "1", "--workers", "10", "--timeout", "8", "--share", "0.05")
    found = answers(*arguments, "--plot", plot)
    assert found["sweep"] == "rate"
    assert found["break_even"] == 11
    assert [point["value"] for point in found["points"]] == list(range(8, 17))
    assert all((point["timeout_share"] > 0.05) is (point["value"] >= 11) for point in found["points"])
    root = ElementTree.parse(plot).getroot()
    assert root.tag.endswith("svg")
    shown = predict(*arguments, "--duration", "10")
    assert "from empty; cancelling: none" in shown.stdout.decode()


def test_a_plot_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = predict("--sweep", "rate=1:2:1", "--mean", "1", "--workers", "4", "--timeout", "8", "--plot", tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"reportsim: cannot write {tmp_path}: ")


def test_a_crowd_that_is_too_large_is_said_to_be() -> None:
    crowd = ("--rate", "15", "--mean", "1", "--workers", "10", "--patience")
    assert b"the means are exact." in predict(*crowd, "10000").stdout
    refused = predict(*crowd, "1000000")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.startswith(b"reportsim: more than 1,000,000 would wait at once")


def test_a_sweep_that_begins_beyond_its_break_even_says_so() -> None:
    done = predict("--sweep", "rate=30:40", "--mean", "1", "--workers", "10", "--timeout", "4", "--duration", "10")
    assert b"Time-outs exceed 1 % already at 30 arrivals a second, the least that was tried." in done.stdout


def log_of(count: int, line: str = "{:.3f}s") -> str:
    """A log of lognormal durations with a median of 120 ms."""
    source = Random(1)
    return "\n".join(line.format(source.lognormvariate(math.log(0.12), 0.8)) for _ in range(count))


OWN = ("--workers", "8", "--timeout", "2")


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_runs(monkeypatch)


@pytest.mark.usefixtures("short_runs")
def test_a_log_says_where_its_endpoint_begins_to_time_out(tmp_path: Path) -> None:
    log, plot = tmp_path / "durations.csv", tmp_path / "knee.svg"
    log.write_text("duration_s\n" + log_of(3_000, "{:.3f}"))
    done = predict("--from", log, *OWN, "--rate", "40", "--plot", plot)
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode()
    assert "3,000 requests from CSV" in said
    assert re.search(r"Your endpoint begins to time out at 4\d requests/s with 8 workers", said)
    assert re.search(r"Sync needs [78] workers there\. Async needs 7: none of its clients times out", said)
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    # A program that reads this gets whole lines, however wide a terminal would be.
    assert max(map(len, said.splitlines())) > 120


@pytest.mark.usefixtures("short_runs")
def test_a_log_from_standard_input_is_answered_as_json() -> None:
    done = call("predict", "--from", "-", *OWN, "--json", stdin=log_of(500).encode(), environ=ENVIRONMENT)
    found = read(done)
    assert found["log"] == {
        "format": "a column of durations",
        "requests": 500,
        "mean_rate": None,
        "busiest_rate": None,
    }
    assert found["p50_s"] == pytest.approx(0.12, rel=0.1)
    assert found["points"][0]["value"] < found["knee"] < found["saturation"]
    assert found["at_rate"] is None


@pytest.mark.usefixtures("short_runs")
def test_two_percentiles_are_enough() -> None:
    found = answers("--p50", "0.12", "--p99", "0.9", "--rate", "20", *OWN)
    assert (found["p50_s"], found["p99_s"]) == (pytest.approx(0.12), pytest.approx(0.9))
    assert found["at_rate"]["timeout_share"] < 0.01
    assert found["log"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("duration_ms\n1\nslow\n", "line 3: expected a duration, such as 0.12, 120ms or 1.5s, found “slow”"),
        ("hello\n", "line 1: expected a column or key such as duration_ms or request_time, found “hello”"),
        ("1s\n", "1 durations: at least 20 are needed"),
    ],
)
def test_a_malformed_log_is_one_line_and_nothing_else(tmp_path: Path, text: str, said: str) -> None:
    log, plot = tmp_path / "access.log", tmp_path / "knee.svg"
    log.write_text(text)
    done = predict("--from", log, *OWN, "--plot", plot)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"reportsim: {log}: {said}\n"
    assert not plot.exists()


def test_a_log_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = predict("--from", tmp_path / "none", *OWN)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"reportsim: cannot read {tmp_path / 'none'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--p50", "1", *OWN), "--p50 and --p99 belong together"),
        (("--p50", "2", "--p99", "1", *OWN), "p99 must not be below p50"),
        (("--p50", "1", "--p99", "2", "--from", "-", *OWN), "give either --from, or --p50 and --p99"),
        (("--unit", "ms", *OWN), "give either --from, or --p50 and --p99"),
        (("--p50", "1", "--p99", "2", "--unit", "ms", *OWN), "--unit and --field belong to --from"),
        (("--p50", "1", "--p99", "2", "--mean", "1", *OWN), "--mean does not go with --from"),
        (("--p50", "1", "--p99", "2", "--sweep", "rate=1:2", *OWN), "--sweep does not go with --from"),
        (("--p50", "1", "--p99", "2", "--workers", "8"), "predict needs --workers and --timeout"),
        (("--p50", "1", "--p99", "2", "--workers", "1001", "--timeout", "2"), "--workers can be at most 1,000 here"),
        (("--p50", "1", "--p99", "2", "--rate", "1e6", *OWN), "at most 1,000 are computed with"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(arguments: tuple[str, ...], said: str) -> None:
    done = predict(*arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr.decode()
