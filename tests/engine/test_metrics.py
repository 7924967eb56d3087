"""GET /metrics: the names that were promised, few labels, and counts that agree with the rows."""

import asyncio
from collections import Counter

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from reportsim.store.pool import Pool
from tests.conftest import Service
from tests.engine.jobs import until
from tests.engine.receiver import Receiver

NAMES = {
    "reportsim_http_request_duration_seconds": "histogram",
    "reportsim_http_requests": "counter",
    "reportsim_jobs": "gauge",
    "reportsim_webhook_deliveries": "counter",
    "reportsim_sse_subscribers": "gauge",
    "reportsim_event_loop_lag_seconds": "gauge",
    "reportsim_build_info": "gauge",
    "reportsim_worker_slots": "gauge",
    "reportsim_worker_slots_busy": "gauge",
    "reportsim_queue_age_seconds": "gauge",
    "reportsim_database_pool_size": "gauge",
    "reportsim_database_pool_idle": "gauge",
    "reportsim_requests_accepted": "counter",
    "reportsim_requests_ended": "counter",
    "reportsim_fences_lost": "counter",
    "reportsim_callbacks_due": "gauge",
    "reportsim_polling": "gauge",
}
LABELS = {
    "reportsim_http_request_duration_seconds": {"method", "route", "status"},
    "reportsim_http_requests": {"method", "route", "status"},
    "reportsim_jobs": {"state"},
    "reportsim_webhook_deliveries": {"outcome"},
    "reportsim_build_info": {"version"},
    "reportsim_requests_accepted": {"mode"},
    "reportsim_requests_ended": {"status"},
}
TINY = {"ledger": "tiny"}
FAILING = {**TINY, "simulate": {"failure_rate": 1, "seed": 1}}
HELD = {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 60_000}, "seed": 1}}


async def scraped(service: Service) -> dict[str, Metric]:
    async with service.client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        return {family.name: family for family in text_string_to_metric_families(await answer.text())}


def values(family: Metric, label: str) -> dict[str, float]:
    """What a family says by one label, its totals and sums aside."""
    names = {family.name, f"{family.name}_total"}
    return {sample.labels[label]: sample.value for sample in family.samples if sample.name in names}


def only(family: Metric) -> float:
    [sample] = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return sample.value


async def rows(pool: Pool, column: str, table: str = "requests") -> Counter[str]:
    """How many rows there are of each value."""
    found = await pool.fetch(f"SELECT {column} AS value, count(*) AS number FROM {table} GROUP BY 1")
    return Counter({str(row["value"]): row["number"] for row in found})


async def test_names_and_kinds_are_those_that_dashboards_know(service: Service) -> None:
    await scraped(service)
    families = await scraped(service)
    assert NAMES.items() <= {name: family.type for name, family in families.items()}.items()
    for name, family in families.items():
        own = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert own <= LABELS.get(name.removesuffix("_created"), set()), name
        assert family.documentation


async def test_counts_agree_with_the_rows(service: Service, pool: Pool, receiver: Receiver) -> None:
    receiver.status = lambda arrival: 503 if arrival.attempt == 1 and arrival.path == "flaky" else 204
    bodies = [TINY, FAILING, *({**TINY, "callback_url": receiver.url(path)} for path in ("flaky", "steady", "steady"))]
    for body in bodies:
        async with service.client.post("/api/async", json=body) as answer:
            assert answer.status == 202
    for body, status in ((TINY, 200), (FAILING, 500)):
        async with service.client.post("/api/sync", json=body) as answer:
            assert answer.status == status
    async with service.client.post("/api/async", json=HELD) as answer:
        id = (await answer.json())["id"]
    async with service.client.post(f"/api/requests/{id}/cancel") as answer:
        assert answer.status == 200
    async with service.client.post("/api/async", json=HELD) as answer:
        held = (await answer.json())["id"]

    async def settled() -> bool:
        waiting = "SELECT count(*) FROM requests WHERE status <> 'PROCESSING' AND completed_at IS NULL"
        calling = "SELECT count(*) FROM requests WHERE callback_status = 'PENDING'"
        return bool(await pool.fetchval(waiting) + await pool.fetchval(calling) == 0)

    await until(settled)
    await asyncio.sleep(0.1)
    families = await scraped(service)
    assert values(families["reportsim_requests_accepted"], "mode") == dict(await rows(pool, "mode"))
    statuses = await rows(pool, "status")
    assert values(families["reportsim_jobs"], "state") == {"PENDING": 0, "PROCESSING": statuses.pop("PROCESSING")}
    assert values(families["reportsim_requests_ended"], "status") == dict(statuses)
    outcome = "CASE WHEN success THEN 'success' ELSE reason END"
    assert values(families["reportsim_webhook_deliveries"], "outcome") == dict(
        await rows(pool, outcome, "callback_logs")
    )

    async def one_is_busy() -> bool:
        # A claim under way has every free slot for a moment.
        return only((await scraped(service))["reportsim_worker_slots_busy"]) == 1

    await until(one_is_busy)
    assert only(families["reportsim_worker_slots"]) == 4
    async with service.client.post(f"/api/requests/{held}/cancel") as answer:
        assert answer.status == 200


async def test_requests_are_counted_by_route_and_status(service: Service) -> None:
    for _ in range(3):
        async with service.client.post("/api/async", json=TINY) as answer:
            id = (await answer.json())["id"]
        async with service.client.get(f"/api/requests/{id}"):
            pass
    family = (await scraped(service))["reportsim_http_requests"]
    counts = {(s.labels["method"], s.labels["route"], s.labels["status"]): s.value for s in family.samples}
    assert counts["POST", "/api/async", "202"] == counts["GET", "/api/requests/{id}", "200"] == 3


async def test_whatever_is_asked_for_the_labels_stay_few(service: Service) -> None:
    odd = ["/x", "/api/x", "/api/requests/%0a", "/static/none.css", "/problems/none", "/webhook-test/none", "/🦀"]
    odd += [f"/{number}" for number in range(50)] + [f"/api/requests/{number}" for number in range(50)]
    for path in odd:
        async with service.client.get(path):
            pass
    for method in ("PUT", "DELETE", "TRACE", "BREW", "PROPFIND"):
        async with service.client.request(method, "/api/requests"):
            pass
    families = await scraped(service)
    routes = values(families["reportsim_http_requests"], "route").keys()
    assert len(routes) < 12
    assert "unmatched" in routes
    assert values(families["reportsim_http_requests"], "method").keys() <= {"GET", "PUT", "DELETE", "OTHER"}


async def test_what_needs_the_database_is_left_out_without_it(service: Service) -> None:
    await service.engine.pool.close()
    families = await scraped(service)
    assert "reportsim_jobs" not in families
    assert "reportsim_worker_slots" in families
