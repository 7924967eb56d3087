"""What is measured of a service that does what the test says: every request is counted as what became of it."""

import asyncio
import math
import time
from itertools import pairwise
from typing import Any

import pytest

from reportsim.benchmark.results.csv_reader import read_samples
from reportsim.benchmark.results.export import write_csv
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.summary import SEGMENTS
from reportsim.measure.conclusion import NOT_MEASURED, conclude, parse_objectives
from reportsim.measure.measurement import Measured, Measurement
from reportsim.measure.report import html_page
from tests.measure.services import (
    CALLBACK,
    CALLBACK_BY_ID,
    LIMITS,
    POLL,
    POLL_LOCATION,
    SSE,
    SYNC,
    WAYS,
    Service,
    plan_for,
    target_for,
)

FAULTS = {"loses": 6, "repeats": 4, "sheds": 10, "hangs": 2, "fails": 3}


def faulty(index: int) -> str:
    """Of 200 requests 3 % whose callback is lost, 2 % repeated, 5 % shed, 1 % never answered; a few fail."""
    place = (index * 37) % 200
    for name, count in FAULTS.items():
        if place < count:
            return name
        place -= count
    return ""


async def measure(service: Service, *parts: str, limits: str = LIMITS, **plan: Any) -> tuple[Measured, dict[str, Any]]:
    """Measures a running service; the samples and the result."""
    target = target_for(service, *parts, limits=limits)
    made = plan_for(target, **plan)
    async with asyncio.timeout(60):
        measured = await Measurement(target, made).run()
    return measured, conclude(measured, parse_objectives([], made))


def counted(side: dict[str, Any]) -> dict[str, int]:
    """The outcomes that came."""
    return {name: count for name, count in side["outcomes"].items() if count}


@pytest.mark.parametrize("way", WAYS)
async def test_every_loss_is_counted_exactly(way: str) -> None:
    async with Service(fault=faulty).running() as service:
        _, result = await measure(service, SYNC, WAYS[way])
    fine = 200 - sum(FAULTS.values())
    assert counted(result["sync"]) == {
        "ok": fine + FAULTS["loses"] + FAULTS["repeats"],
        "client_timeout": FAULTS["hangs"],
        "shed": FAULTS["sheds"],
        "job_failed": FAULTS["fails"],
    }
    assert counted(result["async"]) == {
        "ok": fine + FAULTS["repeats"],
        "client_timeout": FAULTS["hangs"],
        "shed": FAULTS["sheds"],
        "job_failed": FAULTS["fails"],
        "callback_lost": FAULTS["loses"],
    }
    # Who left without an answer waited as long as clients do, and not until the deadline of results.
    longest = result["async"]["accept_ms"]["max"]
    assert (longest["value"], longest["censored"]) == (400, True)
    twice = FAULTS["repeats"] if way in {"sse", "callback by path", "callback by id", "callback by key"} else 0
    assert result["async"]["duplicates"] == result["async"]["results"]["duplicate"] == twice
    assert result["async"]["results"].get("unknown_id", 0) == 0
    assert not next(check for check in result["checks"] if check["id"] == "H5")["value"]["outcomes"]
    assert result["comparison"]["pairs"] > 150


async def test_what_comes_in_a_strange_way_is_counted_under_its_own_name() -> None:
    kinds = ["early", "repeats", "tardy", "forged", "unknown", ""]
    limits = LIMITS.replace("1.2", "0.6").replace("settle_s = 0.1", "settle_s = 0.8")

    async with Service(fault=lambda index: kinds[index % 6]).running() as service:
        # Nothing is verified here: a forged header alone is no reason to turn a callback away.
        for parts in ((CALLBACK,), (CALLBACK_BY_ID,)):
            _, result = await measure(service, *parts, limits=limits, rate=60)
            found = result["async"]["results"]
            # Who calls before the answer, for an id that only the answer names, is early all the same.
            assert (found["early"], found["duplicate"], found["late"]) == (10, 10, 10), parts
            assert (found["unverifiable"], found["unknown_id"], found["without_id"]) == (0, 10, 0)
            assert found["received"] == 70
            assert counted(result["async"]) == {"ok": 40, "callback_lost": 20}


async def test_a_callback_that_cannot_be_verified_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = CALLBACK + 'verify = {scheme = "github", secret = "s"}\n'
    async with Service().running() as service:
        _, result = await measure(service, signed, rate=20, limits=LIMITS.replace("1.2", "0.3"))
    assert counted(result["async"]) == {"callback_lost": 20}
    assert result["async"]["results"]["unverifiable"] == 20
    bound = result["async"]["time_to_result_ms"]["p50"]
    assert (bound["value"], bound["censored"]) == (300, True)


async def test_polls_keep_their_distance_and_bound_the_result_from_below() -> None:
    async with Service(work_s=lambda index: 0.3).running() as service:
        measured, result = await measure(service, POLL, rate=20)
    samples = measured.samples["async"]
    assert samples.earliest is not None
    began = service.polls[0][0] - service.accepted_at[0]
    assert began + 0.005 >= 0.2
    for index, polls in service.polls.items():
        assert len(polls) == 2
        gaps = [later - earlier for earlier, later in pairwise([service.accepted_at[index], *polls])]
        assert min(gaps) > 0.195, "a poll came before its time"
        # There was nothing at the poll before, and the result at the last one.
        assert samples.result[index] - samples.earliest[index] == pytest.approx(gaps[-1], abs=0.1)
        assert samples.due[index] < samples.accepted[index] < samples.earliest[index] < samples.result[index]
    lower, upper = result["async"]["earliest_ms"]["p50"]["value"], result["async"]["time_to_result_ms"]["p50"]["value"]
    assert lower < 310 < upper
    assert "polled" in result["verdict"]
    assert "Lower bound of the time to result" in html_page(target_for(service, POLL), measured, result)
    assert result["async"]["results"]["polls"] == 40


@pytest.mark.parametrize(("hint", "shortest"), [("1", 1.0), ("0", 0.2), ("nonsense", 0.2)])
async def test_retry_after_lengthens_the_wait_and_never_shortens_it(hint: str, shortest: float) -> None:
    service = Service(headers={"Retry-After": hint})
    async with service.running():
        await measure(service, POLL, rate=5, limits=LIMITS.replace("1.2", "5"))
    for index, polls in service.polls.items():
        assert polls[0] - service.accepted_at[index] > shortest - 0.005


async def test_retry_after_may_be_ignored() -> None:
    async with Service(headers={"Retry-After": "3"}).running() as service:
        _, result = await measure(service, POLL + "retry_after = false\n", rate=5)
    assert counted(result["async"]) == {"ok": 5}


async def test_a_poll_that_fails_is_repeated_and_says_nothing() -> None:
    async with Service(fault=lambda index: "stumbles").running() as service:
        measured, result = await measure(service, POLL, rate=5)
    assert counted(result["async"]) == {"ok": 5}
    assert result["async"]["results"]["failed_polls"] == 5
    samples = measured.samples["async"]
    # A poll without an answer does not tell that there was no result: the bound is still the 202.
    assert samples.earliest == samples.accepted


async def test_nothing_is_sent_to_hosts_that_the_file_does_not_name() -> None:
    async with Service(fault=lambda index: "elsewhere").running() as service:
        _, result = await measure(service, POLL_LOCATION, rate=10)
    assert result["async"]["results"]["without_id"] == 10
    assert result["async"]["results"]["polls"] == 0
    assert counted(result["async"]) == {"callback_lost": 10}


@pytest.mark.parametrize("parts", [POLL, SSE, CALLBACK_BY_ID], ids=["poll", "sse", "callback"])
async def test_an_answer_without_the_id_is_counted(parts: str) -> None:
    async with Service(fault=lambda index: "nameless").running() as service:
        _, result = await measure(service, parts, rate=10)
    assert result["async"]["results"]["without_id"] == 10
    assert counted(result["async"]) == {"callback_lost": 10}


async def test_a_target_that_stands_still_shows_as_computed_by_hand() -> None:
    """Everything that arrives within the second waits for its end: no request is held back by those before it."""
    frozen: dict[str, float] = {}

    def work_s(index: int) -> float:
        now = time.monotonic()
        if index == 40:
            frozen["from"], frozen["until"] = now, now + 1
        return max(frozen.get("until", 0.0) - now, 0.0) + 0.02

    limits = LIMITS.replace("0.4", "5")
    async with Service(work_s=work_s).running() as service:
        measured, result = await measure(service, SYNC, rate=100, duration_s=2, limits=limits)
    due = measured.samples["sync"].due
    stopped = due[40]
    by_hand = sorted(1000 * (0.02 + max(stopped + 1 - at, 0.0) * (at >= stopped)) for at in due)
    assert len(by_hand) == result["sync"]["sent"] == 200
    for level, share in {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}.items():
        value = by_hand[math.ceil(share * 200) - 1]
        assert result["sync"]["time_to_result_ms"][level]["value"] == pytest.approx(value, abs=60), level
    # An instrument that waits for answers would have one request that was slow.
    assert sum(time > 500 for time in by_hand) == 52


async def test_a_server_that_reports_its_time_is_believed_and_named() -> None:
    async with Service(headers={"Server-Timing": 'db;dur=3, app;dur=12.5;desc="a, b"'}).running() as service:
        _, result = await measure(service, SYNC, POLL, rate=10)
    for side in ("sync", "async"):
        segments = result[side]["segments_ms"]
        assert segments["service"] == 12.5
        assert (segments["queue"], segments["delivery"]) == (None, None)
        assert segments["lag"] is not None
        assert set(segments) == set(SEGMENTS)


async def test_what_only_a_server_of_ours_could_know_is_left_out_and_named() -> None:
    async with Service().running() as service:
        _, result = await measure(service, SYNC, CALLBACK, rate=20)
    assert set(result["not_measured"]) == set(NOT_MEASURED)
    checks = {check["id"]: check["verdict"] for check in result["checks"]}
    assert {id for id, verdict in checks.items() if verdict == "not_run"} >= {"H3", "H4", "H9", "H12"}
    assert {"ok", "warn", "fail"} >= {checks[id] for id in ("H1", "H2", "H5", "H6", "H8")}
    assert result["sync"]["queue"]["mean"] is None
    assert result["sync"]["wasted_share"] is None
    assert result["sync"]["open_connections"]["mean"] > 0


@pytest.mark.parametrize("parts", [SYNC, CALLBACK, POLL], ids=["sync", "async", "polled"])
async def test_one_side_alone_has_no_comparison(parts: str) -> None:
    async with Service().running() as service:
        measured, result = await measure(service, parts, rate=20)
        page = html_page(target_for(service, parts), measured, result)
    assert result["comparison"] is None
    assert ("sync" in result) != ("async" in result)
    assert page.count("<svg") == 5
    assert "Request by request" not in page


async def test_duplicates_are_waited_for_after_the_last_result_and_no_longer() -> None:
    async def one_more(settle_s: float) -> int:
        service = Service(fault=lambda index: "repeats")
        notify = service.notify

        async def later(index: int, body: dict[str, Any], fault: str) -> None:
            if index in told:
                await asyncio.sleep(0.6)
            told.add(index)
            await notify(index, body, fault)

        told: set[int] = set()
        service.notify = later  # type: ignore[method-assign]
        async with service.running():
            limits = LIMITS.replace("settle_s = 0.1", f"settle_s = {settle_s}")
            _, result = await measure(service, CALLBACK, rate=10, arrivals="burst", limits=limits)
        return int(result["async"]["duplicates"])

    assert await one_more(0) == 0
    assert await one_more(2) == 10


async def test_exported_samples_give_the_same_result_again() -> None:
    from reportsim.benchmark.conclusion import conclude_from_samples

    async with Service(fault=faulty).running() as service:
        measured, result = await measure(service, SYNC, POLL, duration_s=2, blocks=2)
    text = "".join(write_csv(measured.parameters, measured.plan.slo_s, (), list(measured.samples.values())))
    again = conclude_from_samples(read_samples(text.splitlines(keepends=True)))
    for side in ("sync", "async"):
        for name in ("outcomes", "time_to_result_ms", "accept_ms", "earliest_ms", "shares", "open_connections"):
            if name in result[side]:
                assert flat(again[side][name]) == pytest.approx(flat(result[side][name]), abs=0.002), name
    assert flat(again["comparison"]) == pytest.approx(flat(result["comparison"]), abs=0.002)


def flat(found: Any, path: str = "") -> dict[str, float]:
    """The numbers of a result by their paths; moments are exported to a tenth of a microsecond."""
    if isinstance(found, dict):
        return {key: value for name, each in found.items() for key, value in flat(each, f"{path}.{name}").items()}
    return {} if found is None else {path: float(found)}


async def test_an_interruption_leaves_what_there_is() -> None:
    async with Service(work_s=lambda index: 0.05).running() as service:
        target = target_for(service, SYNC, CALLBACK)
        plan = plan_for(target, duration_s=40, blocks=40, rate=50)
        measurement = Measurement(target, plan)
        running = asyncio.create_task(measurement.run())
        async with asyncio.timeout(30):
            while min((len(load.starts) for load in measurement.loads.values()), default=0) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            running.cancel()
            measured = await running
        result = conclude(measured, parse_objectives([], plan))
    assert measured.interrupted
    assert measured.pairs >= 1
    for side in ("sync", "async"):
        assert counted(result[side]) == {"ok": 50 * measured.pairs}
    assert "interrupted" in result["verdict"]
    assert result["plan"]["blocks"] == measured.pairs


async def test_an_interruption_of_the_first_block_keeps_what_has_ended() -> None:
    async with Service(work_s=lambda index: 0.3).running() as service:
        target = target_for(service, SYNC)
        measurement = Measurement(target, plan_for(target, duration_s=20, rate=50))
        running = asyncio.create_task(measurement.run())
        async with asyncio.timeout(30):
            while not measurement.loads or measurement.loads["sync"].answered < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            running.cancel()
            measured = await running
    samples = measured.samples["sync"]
    assert 5 <= len(samples) < measurement.loads["sync"].sent
    assert set(samples.outcomes) == {Outcome.OK}
    assert measured.left_out == measurement.loads["sync"].sent - len(samples)
