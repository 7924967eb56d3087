"""The pages in a real Chromium: live updates without a reload, a strict content policy, and no need of JavaScript."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import LATE_MS, Complaints, open_page, same_document
from tests.engine.jobs import until
from tests.faults.process import ServerProcess

HIDE = """
hidden => {
  Object.defineProperty(document, 'hidden', {value: hidden, configurable: true})
  document.dispatchEvent(new Event('visibilitychange'))
}
"""

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def true_of(fact: bool) -> bool:
    return fact


async def test_a_request_is_followed_live(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    watching = await open_page(context, complaints, service.url)
    await expect(watching.get_by_text("No requests yet")).to_be_visible()
    await expect(watching.locator("#status")).to_contain_text("Live")

    asking = await open_page(context, complaints, service.url)
    await asking.get_by_text("Request a single report").click()
    await asking.get_by_label("Callback failures").fill("2")
    await asking.get_by_label("Service time, ms").fill("300")
    await asking.get_by_role("button", name="Accept and call back (async)").click()
    await asking.wait_for_url("**/requests/*")
    await asking.evaluate("window.mark = 'same'")

    row = watching.locator("#rows tr")
    await expect(row).to_have_count(1, timeout=LATE_MS)
    await expect(row).to_contain_text("COMPLETED", timeout=LATE_MS)
    await expect(row).to_contain_text("SUCCESS 3 attempts", timeout=LATE_MS)
    assert await same_document(watching)

    await expect(asking.locator("#summary")).to_contain_text("COMPLETED", timeout=LATE_MS)
    attempts = asking.locator(".attempts tbody tr")
    await expect(attempts).to_have_count(3, timeout=LATE_MS)
    await expect(attempts.nth(0)).to_contain_text("The receiver answered 503.")
    await expect(attempts.nth(0)).to_contain_text(re.compile(r"after \d+ ms"))
    await expect(asking.get_by_role("img", name="attempt 2 failed (503)")).to_be_visible()
    timeline = asking.locator("#timeline .timeline")
    await expect(timeline.locator(".miss")).to_have_count(2)
    await expect(timeline.locator(".pause")).to_have_count(2)
    await expect(timeline.locator(".call")).to_have_count(1)
    await expect(attempts.nth(2)).to_contain_text("delivered")
    await expect(asking.get_by_text("debits equal credits")).to_be_visible()
    assert await same_document(asking)

    await asking.get_by_role("button", name="Redeliver the callback").click()
    await expect(asking.get_by_role("table", name="Redelivery 1").locator("tbody tr")).to_have_count(3, timeout=LATE_MS)
    await context.close()
    assert complaints.messages == []


@pytest.mark.parametrize("javascript", [True, False])
async def test_the_wrong_field_of_a_refused_form_is_in_view_and_has_the_focus(
    service: Any, browser: Browser, javascript: bool
) -> None:
    context = await browser.new_context(java_script_enabled=javascript, viewport={"width": 1000, "height": 700})
    page = await context.new_page()
    await page.goto(service.url)
    await page.get_by_text("Request a single report").click()
    await page.get_by_label("Callback URL").fill("http://127.0.0.1:9000/hook")
    await page.get_by_role("button", name="Accept and call back (async)").click()
    await expect(page.locator(".refused")).to_contain_text("Callback URL: ", timeout=LATE_MS)
    await expect(page.get_by_label("Callback URL")).to_be_focused()
    error = page.locator("#callback_url-error")
    await expect(error).to_contain_text("REPORTSIM_CALLBACK_ALLOW=127.0.0.1 make run")
    await expect(error).to_be_in_viewport()
    await context.close()


async def test_an_inbox_is_followed_live(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, f"{service.url}/webhook-test/mine")
    await expect(page.get_by_text("This replica has received nothing here")).to_be_visible()
    url = f"{service.url}/webhook-test/mine?script=503"
    await service.client.post("/api/async", json={"ledger": "tiny", "callback_url": url})
    arrivals = page.locator("#inbox tbody tr")
    await expect(arrivals).to_have_count(2, timeout=LATE_MS)
    await expect(arrivals.nth(0)).to_contain_text("503")
    await expect(arrivals.nth(1)).to_contain_text("verified")
    await arrivals.nth(1).get_by_text("headers and body").click()
    await expect(arrivals.nth(1).get_by_text("webhook-signature: v1,")).to_be_visible()
    assert await same_document(page)
    await context.close()
    assert complaints.messages == []


async def test_new_requests_are_counted_while_the_top_of_the_list_is_not_visible(
    service: Any, browser: Browser, complaints: Complaints
) -> None:
    for _ in range(30):
        await service.client.post("/api/async", json={"ledger": "tiny"})
    context = await browser.new_context(viewport={"width": 1280, "height": 500})
    page = await open_page(context, complaints, service.url)
    await expect(page.locator("#status")).to_contain_text("Live")
    rows = page.locator("#rows tr")
    await rows.nth(25).scroll_into_view_if_needed()
    before = await rows.nth(25).bounding_box()
    for _ in range(3):
        await service.client.post("/api/async", json={"ledger": "tiny"})
    await expect(page.get_by_role("link", name="3 new – show")).to_be_visible(timeout=LATE_MS)
    assert await rows.count() == 30
    assert await rows.nth(25).bounding_box() == before

    await page.evaluate("scrollTo(0, 0)")
    await expect(rows).to_have_count(33, timeout=LATE_MS)
    await expect(page.get_by_role("link", name="new – show")).to_be_hidden()

    await page.goto(f"{service.url}/?mode=sync")
    await expect(page.get_by_text("No request matches these filters.")).to_be_visible()
    await service.client.post("/api/async", json={"ledger": "tiny"})
    await service.client.post("/api/sync", json={"ledger": "tiny"})
    await expect(rows).to_have_count(1, timeout=LATE_MS)
    await context.close()
    assert complaints.messages == []


async def test_a_lost_connection_is_reported_and_recovers(
    service: Any, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, service.url)
    await expect(page.locator("#status")).to_contain_text("Live")
    await page.route("**/api/events*", lambda route: route.abort())
    for of_view in service.engine.hub._subscribers.values():
        for subscriber in of_view:
            subscriber.close()
    await expect(page.get_by_role("alert")).to_contain_text("Connection lost", timeout=LATE_MS)
    await service.client.post("/api/sync", json={"ledger": "tiny"})
    assert await page.locator("#rows tr").count() == 0
    await page.unroute("**/api/events*")
    await expect(page.locator("#rows tr")).to_have_count(1, timeout=LATE_MS)
    await expect(page.get_by_role("alert")).to_be_hidden()
    assert await same_document(page)
    await context.close()
    assert [text for text in complaints.messages if "ERR_FAILED" not in text] == []


async def test_a_tab_has_one_stream_which_is_closed_while_it_is_hidden(
    service: Any, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, service.url)
    hub = service.engine.hub
    await expect(page.locator("#status")).to_contain_text("Live")
    await until(lambda: true_of(hub.subscribers == 1))
    await page.evaluate(HIDE, True)
    await until(lambda: true_of(hub.subscribers == 0))
    await service.client.post("/api/sync", json={"ledger": "tiny"})
    await page.evaluate(HIDE, False)
    await expect(page.locator("#rows tr")).to_have_count(1, timeout=LATE_MS)
    await until(lambda: true_of(hub.subscribers == 1))
    await page.get_by_role("button", name="Pause").click()
    await until(lambda: true_of(hub.subscribers == 0))
    await page.get_by_role("button", name="Resume").click()
    await until(lambda: true_of(hub.subscribers == 1))
    assert await same_document(page)
    await context.close()
    assert complaints.messages == []


@pytest.mark.slow
async def test_a_page_outlives_its_server(dsn: str, tmp_path: Path, browser: Browser, complaints: Complaints) -> None:
    async with ServerProcess(dsn, tmp_path) as server, server.client() as api:
        context = await browser.new_context()
        page = await open_page(context, complaints, server.url)
        rows = page.locator("#rows tr")
        for _ in range(2):
            await api.session.post("/api/sync", json={"ledger": "tiny"})
        await expect(rows).to_have_count(2, timeout=LATE_MS)
        await server.kill()
        await expect(page.get_by_role("alert")).to_contain_text("Connection lost", timeout=LATE_MS)
        await server.start()
        await api.session.post("/api/sync", json={"ledger": "tiny"})
        await expect(rows).to_have_count(3, timeout=2 * LATE_MS)
        await expect(page.get_by_role("alert")).to_be_hidden(timeout=LATE_MS)
        await api.session.post("/api/async", json={"ledger": "tiny"})
        await expect(rows).to_have_count(4, timeout=LATE_MS)
        await expect(page.locator("#rows")).not_to_contain_text("PENDING", timeout=LATE_MS)
        ids = await rows.evaluate_all("rows => rows.map(row => row.id)")
        assert len(set(ids)) == 4
        assert ids == sorted(ids, reverse=True)
        assert await same_document(page)
        await context.close()
    assert [text for text in complaints.messages if "net::ERR" not in text and "/readyz" not in text] == []


async def test_everything_works_without_javascript(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 700})
    page = await context.new_page()
    page.set_default_timeout(LATE_MS)
    complaints.watch(page)
    await page.goto(service.url)
    await page.get_by_text("Request a single report").click()
    await page.get_by_label("Report", exact=True).select_option("balance_sheet")
    await page.get_by_role("button", name="Wait for the report (sync)").click()
    await page.wait_for_url("**/requests/*")
    await expect(page.locator("#summary")).to_contain_text("COMPLETED")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download CSV").click()
    file = await (await download.value).path()
    text = await asyncio.to_thread(Path(file).read_text)
    assert text.startswith("section,")
    await page.get_by_role("link", name="All requests").click()
    await page.get_by_role("navigation", name="Filters").get_by_role("link", name="FAILED").first.click()
    await expect(page.get_by_text("No request matches these filters.")).to_be_visible()
    await context.close()
    assert complaints.messages == []


async def test_a_request_is_found_and_run_again(service: Any, browser: Browser, complaints: Complaints) -> None:
    async with service.client.post("/api/sync", json={}, headers={"X-Idempotency-Key": "mine"}) as answer:
        id = (await answer.json())["id"]
    await service.client.post("/api/sync", json={"ledger": "tiny"})
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await open_page(context, complaints, service.url)
    await page.get_by_label("Find by id or idempotency key").fill("mine")
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("#rows tr")).to_have_count(1)
    await page.locator("#rows a").first.click()
    await expect(page.get_by_role("group", name="Trial balance")).to_contain_text("Bank")
    await page.get_by_role("button", name="Copy as curl").first.click()
    await expect(page.get_by_role("status")).to_contain_text("Copied")
    assert (await page.evaluate("navigator.clipboard.readText()")).startswith(f"curl -sS {service.url}/api/sync")
    await page.get_by_role("button", name="Run again").click()
    await expect(page.locator("#summary")).to_contain_text("COMPLETED", timeout=LATE_MS)
    assert id not in page.url
    await context.close()
    assert complaints.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1440])
async def test_no_width_needs_sideways_scrolling(service: Any, browser: Browser, scheme: Any, width: int) -> None:
    async with service.client.post("/api/callbacks/simulate-failures", json={"failures": 1}) as answer:
        id = (await answer.json())["id"]
    await service.ended(id)
    context = await browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)
    page = await context.new_page()
    for path in (
        "/",
        f"/requests/{id}",
        "/benchmarks",
        f"/webhook-test/{id}",
        "/problems/quota-exceeded",
        "/requests/nope",
    ):
        await page.goto(service.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth") == width, path
    await context.close()
