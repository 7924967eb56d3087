"""What can be seen from outside: health, metrics, traces, ids, and where the time went."""

import asyncio
import contextlib
import logging
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from reportsim.api import metrics as metrics_module
from reportsim.api.metrics import METRICS
from reportsim.settings import Settings
from reportsim.store.pool import share_connections
from reportsim.web.keys import SETTINGS
from tests.api.calls import FAILING, TINY, UNKNOWN, held_for, listed, processing, read, submit, until
from tests.conftest import Service, serving

TIMING = re.compile(r"queue;dur=([0-9.]+), service;dur=([0-9.]+), total;dur=([0-9.]+)")
TRACE = f"00-{'c' * 32}-{'d' * 16}-01"


def timings(headers: Any) -> tuple[float, float, float]:
    match = TIMING.fullmatch(headers["Server-Timing"])
    assert match, headers["Server-Timing"]
    queue, service, total = (float(value) for value in match.groups())
    return queue, service, total


# Where the time went


async def test_an_ended_request_says_where_its_time_went(service: Service) -> None:
    async with service.client.post("/api/sync", json=held_for(120)) as answer:
        body = await answer.json()
        queue, work, total = timings(answer.headers)
    assert body["result_payload"]["timings_ms"] == pytest.approx(
        {"queue": queue, "service": work, "total": total}, abs=0.06
    )
    assert work >= 120
    assert total == pytest.approx(queue + work, abs=20)
    for headers in ({}, {"Prefer": "wait=5"}):
        async with service.client.get(f"/api/requests/{body['id']}", headers=headers) as answer:
            assert timings(answer.headers) == (queue, work, total)
            await answer.read()


async def test_a_failed_request_says_so_too(service: Service) -> None:
    async with service.client.post("/api/sync", json=FAILING) as answer:
        assert answer.status == 500
        _, work, total = timings(answer.headers)
        assert 0 < work <= total
        id = (await answer.json())["id"]
    async with service.client.get(f"/api/requests/{id}") as answer:
        assert timings(answer.headers)[2] == total
        await answer.read()


async def test_what_never_got_a_slot_was_all_waiting(settings: Settings) -> None:
    async with serving(replace(settings, workers=1)) as service:
        ids = [await submit(service, "/api/async", held_for(60_000)) for _ in range(2)]
        await processing(service, ids[0])
        await asyncio.sleep(0.05)
        for id in reversed(ids):
            async with service.client.post(f"/api/requests/{id}/cancel") as answer:
                assert answer.status == 200
        async with service.client.get(f"/api/requests/{ids[1]}") as answer:
            queue, work, total = timings(answer.headers)
        assert (queue, work) == (total, 0)
        assert total >= 50


async def test_a_replay_says_where_the_first_one_s_time_went(service: Service) -> None:
    found = set()
    for _ in range(2):
        async with service.client.post("/api/sync", json=TINY, headers={"X-Idempotency-Key": "once"}) as answer:
            found.add(timings(answer.headers))
            await answer.read()
    assert len(found) == 1


async def test_what_has_not_ended_says_nothing_of_time(service: Service) -> None:
    async with service.client.post("/api/async", json=held_for(60_000)) as answer:
        assert "Server-Timing" not in answer.headers
        id = (await answer.json())["id"]
    async with service.client.get(f"/api/requests/{id}") as answer:
        assert "Server-Timing" not in answer.headers
        await answer.read()
    async with service.client.post(f"/api/requests/{id}/cancel") as answer:
        await answer.read()


# Traces and ids


async def test_a_trace_goes_through_the_row_into_the_callback_of_another_life(settings: Settings) -> None:
    """The first service has no slot for it; the second one, on the same database, works and calls back."""
    quick = replace(settings, workers=1, shutdown_grace_s=0.1)
    async with serving(quick) as first:
        await processing(first, await submit(first, "/api/async", held_for(60_000)))
        body = {**TINY, "callback_url": f"{first.url}/webhook-test/traced"}
        async with first.client.post("/api/async", json=body, headers={"traceparent": TRACE}) as answer:
            assert answer.status == 202
            id = (await answer.json())["id"]
        await first.engine.pool.execute("DELETE FROM requests WHERE id <> $1", id)
        stored = await first.engine.pool.fetchval("SELECT traceparent FROM requests WHERE id = $1", id)
    port = int(first.url.rpartition(":")[2])
    async with serving(settings, port=port) as second:
        assert (await second.ended(id))["callback_status"] == "SUCCESS"
        (arrival,) = (await read(second, "/webhook-test/traced"))["items"]
    sent = arrival["headers"]["traceparent"]
    assert stored.split("-")[1] == sent.split("-")[1] == "c" * 32
    assert len({TRACE.split("-")[2], stored.split("-")[2], sent.split("-")[2]}) == 3
    assert sent.endswith("-01")


async def test_one_id_is_in_the_answer_the_row_and_the_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reportsim.http")
    headers = {"X-Request-Id": "followed", "traceparent": TRACE}
    async with service.client.post("/api/async", json=TINY, headers=headers) as answer:
        assert answer.headers["X-Request-Id"] == "followed"
        id = (await answer.json())["id"]
    assert await service.engine.pool.fetchval("SELECT http_request_id FROM requests WHERE id = $1", id) == "followed"
    (record,) = (record for record in caplog.records if getattr(record, "request_id", None) == "followed")
    assert vars(record)["row"] == id
    assert "c" * 32 in vars(record)["trace"]


async def test_a_log_line_names_the_row_and_its_trace(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the service started the trace, and where the row is that of the first request with a key."""
    caplog.set_level(logging.INFO, "reportsim.http")
    ids = []
    for name in ("first", "again"):
        headers = {"X-Request-Id": name, "X-Idempotency-Key": "once"}
        async with service.client.post("/api/async", json=TINY, headers=headers) as answer:
            ids.append((await answer.json())["id"])
    async with service.client.post("/api/sync", json=TINY, headers={**headers, "X-Request-Id": "other"}) as answer:
        assert answer.status == 422
        await answer.read()
    (id,) = set(ids)
    trace = await service.engine.pool.fetchval("SELECT traceparent FROM requests WHERE id = $1", id)
    named = {getattr(record, "request_id", None): vars(record) for record in caplog.records}
    for name in ("first", "again", "other"):
        assert (named[name]["row"], named[name]["trace"]) == (id, trace)


async def test_checks_and_refusals_are_not_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reportsim.http")
    async with serving(replace(settings, sync_rate=1)) as service:
        for path in ("/healthz", "/readyz"):
            await read(service, path)
        for _ in range(3):
            async with service.client.post("/api/sync", json=TINY) as answer:
                await answer.read()
    lines = [record.getMessage() for record in caplog.records if record.name == "reportsim.http"]
    assert Counter(line.split(" ")[2] for line in lines) == {"200": 1}


# Health


async def test_slow_statements_of_clients_do_not_make_it_unready(service: Service) -> None:
    """Every shared connection is taken for longer than readiness may take to answer."""
    engine = service.engine
    count = share_connections(service.app[SETTINGS].database_url or "", None).clients
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(count):
            await taken.enter_async_context(engine.pool.acquire())
        found = await asyncio.gather(*(read(service, "/readyz") for _ in range(20)))
    assert {answer["status"] for answer in found} == {"ready"}


async def test_a_database_that_hangs_is_noticed_within_two_seconds(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging:
        async def __aenter__(self) -> None:
            await asyncio.sleep(60)

        async def __aexit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(service.engine, "readiness", type("Lines", (), {"acquire": lambda _: Hanging()})())
    async with asyncio.timeout(2), service.client.get("/readyz") as answer:
        assert answer.status == 503
        assert set((await answer.json())["failing"]) == {"database", "migrations"}
        assert answer.headers["Cache-Control"] == "no-store"
    async with asyncio.timeout(20), service.client.get("/healthz") as answer:
        assert answer.status == 200
    monkeypatch.undo()
    assert (await read(service, "/readyz"))["status"] == "ready"


# Metrics


async def metrics(service: Service) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by its name, and then by the values of its labels."""
    async with service.client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = await answer.text()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_counters_agree_with_the_rows(service: Service) -> None:
    callback = {"callback_url": f"{service.url}/webhook-test/counted"}
    for path, body in (("/api/sync", TINY), ("/api/async", {**TINY, **callback}), ("/api/async", FAILING)):
        async with service.client.post(path, json=body) as answer:
            await answer.read()
    for id in await listed(service):
        await service.ended(id)
    found = await metrics(service)
    rows = await service.engine.pool.fetch("SELECT mode, status, count(*) AS n FROM requests GROUP BY 1, 2")
    for label, name in (("mode", "reportsim_requests_accepted_total"), ("status", "reportsim_requests_ended_total")):
        expected: Counter[str] = Counter()
        for row in rows:
            expected[row[label]] += row["n"]
        assert {labels[0]: value for labels, value in found[name].items()} == expected
    logs = await service.engine.pool.fetchval("SELECT count(*) FROM callback_logs WHERE success")
    assert found["reportsim_webhook_deliveries_total"] == {("success",): logs}


async def test_labels_are_few_whatever_is_asked_for(service: Service) -> None:
    for path in (f"/api/requests/{UNKNOWN}", "/api/requests/other", "/nowhere/1", "/nowhere/2"):
        async with service.client.get(path) as answer:
            await answer.read()
    async with service.client.request("PURGE", "/api/requests") as answer:
        await answer.read()
    series = await until(lambda: metrics(service))
    labels = set(series["reportsim_http_request_duration_seconds_count"])
    assert ("GET", "/api/requests/{id}", "404") in labels
    assert ("GET", "unmatched", "404") in labels
    assert ("OTHER", "unmatched", "405") in labels
    assert not any("nowhere" in value or UNKNOWN in value for values in labels for value in values)


async def test_names_say_their_unit(service: Service) -> None:
    for name in await metrics(service):
        assert re.fullmatch(r"reportsim_[a-z0-9_]+", name)
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", name)


async def test_statuses_that_only_scripts_answer_are_counted_by_class(service: Service) -> None:
    for status in (200, 299, 404, 418, 499, 503, 599):
        async with service.client.post(f"/webhook-test/x?script={status}", data=b"{}") as answer:
            assert answer.status == status
    labels = set((await metrics(service))["reportsim_http_requests_total"])
    seen = {status for method, route, status in labels if (method, route) == ("POST", "/webhook-test/{inbox}")}
    assert seen == {"200", "2xx", "404", "4xx", "499", "503", "5xx"}


@given(st.lists(st.sampled_from([*metrics_module.BUCKETS, 0.0, 0.0011, 29.9, 31.0])))
def test_responses_are_counted_as_a_histogram_of_the_library_counts_them(seconds: list[float]) -> None:
    ours, registry = metrics_module.ResponseCollector(), CollectorRegistry()
    library = Histogram(
        "reportsim_http_request_duration_seconds",
        "x",
        metrics_module.LABELS,
        registry=None,
        buckets=metrics_module.BUCKETS,
    )
    registry.register(ours)
    for each in seconds:
        library.labels("GET", "/a", "200").observe(each)
        ours.observe("GET", web.PlainResource("/a"), 200, each)
    [standard] = library.collect()
    samples = {(sample.name, *sample.labels.values()): sample.value for sample in standard.samples}
    expected = {labels: value for labels, value in samples.items() if not labels[0].endswith("_created")}
    durations, answers = registry.collect()
    assert {(sample.name, *sample.labels.values()): sample.value for sample in durations.samples} == expected
    assert [sample.value for sample in answers.samples] == ([len(seconds)] if seconds else [])


async def test_many_series_are_rendered_in_pieces_that_make_the_same_text(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for route in range(300):
        service.app[METRICS].responses.observe("GET", web.PlainResource(f"/{route}"), 200, 0.001)
    monkeypatch.setattr(metrics_module, "SAMPLES_AT_ONCE", 7)
    text = (await service.app[METRICS].render()).decode()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) == len(set(comments))
    # The lines of a family stand together, behind its comments.
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families)) == len(comments) // 2
    found = await metrics(service)
    assert len([labels for labels in found["reportsim_http_requests_total"] if labels[1][1:].isdigit()]) == 300


async def test_others_have_their_turn_between_the_pieces(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for route in range(300):
        service.app[METRICS].responses.observe("GET", web.PlainResource(f"/{route}"), 200, 0.001)
    monkeypatch.setattr(metrics_module, "SAMPLES_AT_ONCE", 7)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await asyncio.sleep(0)
    begun = turns
    # The database, which is waited for, is left out.
    await service.app[METRICS].render(with_backlog=False)
    other.cancel()
    assert turns - begun > 300 / 7
