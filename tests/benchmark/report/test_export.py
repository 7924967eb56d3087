"""What is taken along: JSON, CSV, the percentile distribution, and a page that needs nothing else."""

import base64
import csv
import hashlib
import io
import json
import math
import re
from array import array
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.charts.percentiles import percentile_plot
from reportsim.benchmark.report.page import html_report
from reportsim.benchmark.report.style import POLICY
from reportsim.benchmark.results.export import HEADER, distribution_shares, hgrm, samples_csv
from reportsim.benchmark.results.run_comparison import compare_runs
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.verdict import split_verdict
from reportsim.core.model import Mode
from tests.benchmark.runs import IDLE, Run, example, overload

VOID = {"meta", "link", "br"}


def page(run: Run, result: dict[str, Any], **more: Any) -> str:
    return html_report(run.plan, run.prediction, result, run.samples, **more)


def test_csv_has_a_row_for_each_request_of_each_side() -> None:
    run, result = example()
    text = "".join(samples_csv(run.plan, [run.samples[mode] for mode in Mode]))
    first, rest = text.split("\n", 1)
    assert Plan.from_json(json.loads(first.removeprefix("# plan:"))) == run.plan
    rows = list(csv.DictReader(io.StringIO(rest)))
    assert list(rows[0]) == list(HEADER)
    assert len(rows) == 2 * len(run.schedule)
    for mode in Mode:
        side = [row for row in rows if row["mode"] == mode]
        assert [int(row["index"]) for row in side] == list(range(len(run.schedule)))
        outcomes = {name: amount for name, amount in result[mode]["outcomes"].items() if amount}
        assert Counter(row["outcome"] for row in side) == outcomes
        times = sorted(float(row["time_to_result_ms"]) for row in side if row["time_to_result_ms"])
        assert times[0] > 0
        assert len(times) == result[mode]["outcomes"]["ok"] + result[mode]["outcomes"]["ok_late"]
    assert {int(row["block"]) for row in rows} == set(range(1, run.plan.pairs + 1))
    unanswered = next(row for row in rows if row["outcome"] == "client_timeout")
    assert unanswered["result_s"] == unanswered["time_to_result_ms"] == ""


def test_csv_comes_in_pieces() -> None:
    run = overload(rate=60, duration_s=20.0, service_time=None)
    pieces = list(samples_csv(run.plan, [run.samples[mode] for mode in Mode]))
    assert len(pieces) == 1 + 2 * len(run.schedule) // 1_000
    assert "".join(pieces).count("\n") == 2 + 2 * len(run.schedule)


def test_the_distribution_is_as_hdrhistogram_prints_it() -> None:
    run, _ = example()
    for mode in Mode:
        lines = hgrm(run.plan, run.samples[mode]).splitlines()
        assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        rows = [[float(word) for word in line.split()] for line in lines if line and line[0] != "#" and "V" not in line]
        values, shares, counts = ([row[column] for row in rows] for column in range(3))
        assert values == sorted(values)
        assert shares == sorted(shares)
        assert (shares[0], shares[-1], counts[-1]) == (0, 1, len(run.schedule))
        assert all(row[3] == pytest.approx(1 / (1 - row[1]), abs=0.006) for row in rows[:-1])
        times = sorted(run.samples[mode].times_to_result())
        for value, _, count, *_ in rows:
            time = times[int(count) - 1]
            assert value == pytest.approx(8_000 if time == math.inf else 1000 * time, abs=0.001)


def test_requests_that_ended_with_an_error_are_in_no_distribution() -> None:
    run = overload(rate=1.0)
    samples = run.samples[Mode.SYNC]
    failed = range(0, len(samples), 4)
    for index in failed:
        samples.outcomes[index] = Outcome.REFUSED
        samples.result[index] = math.nan
    levels = run.conclude()["sync"]["time_to_result_ms"]
    assert levels["p50"]["n"] == len(samples) - len(failed)
    text = hgrm(run.plan, samples)
    assert f"#[No result = {0:10d}, Without a time = {len(failed):12d}]" in text
    rows = [line.split() for line in text.splitlines()[2:] if line[0] != "#"]
    assert int(rows[-1][2]) == len(samples) - len(failed)
    assert float(rows[-1][0]) == pytest.approx(levels["max"]["value"], abs=0.001)
    [median] = [float(row[0]) for row in rows if row[1] == "0.500000000000"]
    assert median == pytest.approx(levels["p50"]["value"], abs=0.001)
    picture = percentile_plot(run.plan, samples, run.samples[Mode.ASYNC])
    assert "never" not in picture
    assert "no result" not in picture


def test_a_side_of_errors_alone_has_no_line() -> None:
    run = overload(rate=1.0)
    samples = run.samples[Mode.SYNC]
    samples.outcomes = array("b", [Outcome.REFUSED]) * len(samples)
    assert "sync: no request has a time" in percentile_plot(run.plan, samples, run.samples[Mode.ASYNC])
    assert f"Without a time = {len(samples):12d}" in hgrm(run.plan, samples)


def test_the_shares_halve_what_is_left() -> None:
    shares = list(distribution_shares(1_000))
    assert shares[:6] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert shares[6] == pytest.approx(0.55)
    assert shares[-1] == 1
    assert 1 - shares[-2] > 1 / 1_000
    assert list(distribution_shares(0)) == []
    assert list(distribution_shares(1)) == [1.0]


class Balanced(HTMLParser):
    """Fails on elements that are not closed in their order; gathers what the page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name != "style"
            assert not name.startswith("on")
            if name in {"src", "href"}:
                self.addresses.append(value or "")
            if name == "id":
                self.ids[value or ""] += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else() -> None:
    run, result = example()
    text = page(run, result, id="0190", finished_at="2026-11-24T07:00:00Z")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.addresses == ["data:,"]
    assert parser.seen["script"] == parser.seen["img"] == 0
    assert parser.seen["style"] == 1
    assert parser.seen["svg"] == 7
    assert set(parser.ids.values()) == {1}
    assert "run 0190 · 2026-11-24T07:00:00Z" in text
    for sentence in split_verdict(result["verdict"]):
        assert f"<li>{sentence}</li>".replace("'", "&#39;") in text
    # What matters is at the top: only the rest is folded.
    assert text.index("Time to result</h2>") < text.index("<details>")
    assert len(text) < 400_000, len(text)


def test_the_policy_names_the_one_style() -> None:
    text = page(*example())
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert f'content="{POLICY}"' in text


def test_a_run_that_failed_a_check_bears_a_banner() -> None:
    run, result = example()
    assert 'role="alert"' not in page(run, result)
    broken = run.conclude(replace(IDLE, generator_cpu_share=0.7))
    text = page(run, broken)
    advice = "The machine was busy: close other programs and run again."
    assert f'role="alert">Do not trust this run. {advice} H6: The generator was short of processor time.' in text
    assert '<span class="fail">' in text


def test_objectives_say_what_is_known_of_a_bound() -> None:
    run = overload(rate=7.0)
    row = 'p95 &lt;= 8000</th><td>≥ 8,000</td><td><span class="fail">✗ failed</span></td></tr>'
    assert f"sync: time_to_result_ms.{row}" in page(run, run.conclude())


def test_objectives_say_that_nothing_is_known() -> None:
    run = overload(duration_s=10.0)
    run.samples[Mode.ASYNC].outcomes = array("b", [Outcome.SHED]) * len(run.schedule)
    row = 'p95 &lt;= 8000</th><td>unknown</td><td><span class="warn">unknown</span></td></tr>'
    assert f"async: time_to_result_ms.{row}" in page(run, run.conclude())


def test_without_planned_service_times_there_is_no_theory() -> None:
    run = overload(service_time=None, duration_s=10.0)
    text = page(run, run.conclude())
    assert "<h2>Theory</h2>" not in text
    assert "ρ =" not in text
    assert "No service time is planned" in text


def test_lower_bounds_stay_so_beside_another_run() -> None:
    run = overload(rate=7.0)
    result = run.conclude()
    calm = overload(rate=1.0)
    runs = [
        {"id": name, "plan": run.plan.as_json(), "result": found}
        for name, found in (("a", result), ("b", calm.conclude()))
    ]
    row = next(row for row in compare_runs(*runs)["sync"] if row["metric"] == "time_to_result_ms.p95")
    assert (row["first"], row["first_censored"], row["second_censored"]) == (8_000, True, False)
    assert row["difference"] is row["ratio"] is None


def test_whatever_stands_in_a_plan_is_text() -> None:
    run, result = example()
    hostile = Plan.from_json({**run.plan.as_json(), "ledger": "<script>alert(1)</script>"})
    text = html_report(hostile, run.prediction, result, run.samples, id="<b>")
    assert "<script>" not in text
    assert "<b>" not in text
