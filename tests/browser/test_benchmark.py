"""The benchmark in a real Chromium: predicted, started, watched, read, exported, compared."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.benchmark.runs import finished_run
from tests.browser.conftest import LATE_MS, Complaints, open_page, same_document

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

QUICK = {"rate": "20", "duration_s": "2", "workers": "4", "mean_ms": "50", "client_timeout_s": "1"}
QUERY = "&".join(f"{name}={value}" for name, value in QUICK.items())


@pytest.mark.slow
async def test_a_run_is_predicted_watched_and_exported(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, f"{service.url}/benchmarks?{QUERY}")
    await expect(page.locator("#prediction")).to_contain_text("sync client", timeout=2 * LATE_MS)
    await page.get_by_label("Requests per second").fill("200")
    await expect(page.locator("#prediction")).to_contain_text("more than the workers can serve", timeout=2 * LATE_MS)
    await page.get_by_label("Requests per second").fill("20")
    await page.get_by_role("button", name="Start the run").click()
    await page.wait_for_url("**/benchmarks/*-*")
    await page.evaluate("window.mark = 'same'")
    await expect(page.locator(".charts canvas").first).to_be_visible(timeout=LATE_MS)
    await expect(page.locator(".report")).to_be_visible(timeout=3 * LATE_MS)
    assert await same_document(page)
    await expect(page.locator(".report figure > svg")).to_have_count(7)
    await page.get_by_text("Can this be trusted?").click()
    await expect(page.get_by_role("table", name="Checks")).to_contain_text("H5")

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download the report").click()
    file = await (await download.value).path()
    assert "<svg" in await asyncio.to_thread(Path(file).read_text)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download all samples as CSV").click()
    file = await (await download.value).path()
    lines = (await asyncio.to_thread(Path(file).read_text)).splitlines()
    async with service.client.get(f"/api/benchmark/{page.url.rpartition('/')[2]}") as answer:
        result = (await answer.json())["result"]
    assert lines[0].startswith("# plan: ")
    assert len(lines) == 2 + result["sync"]["offered"] + result["async"]["offered"]

    await page.get_by_role("button", name="Change and run again").click()
    await expect(page.get_by_label("Mean service time, ms")).to_have_value("50")
    await finished_run(service.engine)
    await page.goto(f"{service.url}/benchmarks")
    for box in await page.get_by_role("checkbox", name="Compare the run").all():
        await box.check()
    await page.get_by_role("button", name="Compare the two selected runs").click()
    await expect(page.get_by_role("heading", name="Differences between the plans")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("mean_ms 2000")
    await expect(page.locator("main")).to_contain_text("time to result, p50")
    await context.close()
    assert complaints.messages == []


@pytest.mark.slow
async def test_a_run_needs_no_javascript(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 700})
    page = await context.new_page()
    complaints.watch(page)
    await page.goto(f"{service.url}/benchmarks?{QUERY}")
    await page.get_by_role("button", name="Predict the result").click()
    await expect(page.locator("#prediction")).to_contain_text("sync client", timeout=2 * LATE_MS)
    await page.get_by_role("button", name="Start the run").click()
    await page.wait_for_url("**/benchmarks/*-*")
    await expect(page.locator(".report")).to_be_visible(timeout=3 * LATE_MS)
    await context.close()
    assert complaints.messages == []


async def test_errors_of_a_plan_are_shown_before_and_after_submitting(
    service: Any, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, f"{service.url}/benchmarks?rate=5000&duration_s=600")
    await expect(page.locator("#prediction")).to_contain_text("must not exceed 200,000", timeout=2 * LATE_MS)
    start = page.get_by_role("button", name="Start the run")
    await expect(start).to_be_disabled()
    # As without JavaScript, where it is never disabled.
    await start.evaluate("button => { button.disabled = false; button.click() }")
    await expect(page.get_by_role("alert").filter(has_text="no run was started")).to_contain_text("200,000")
    await context.close()
    assert [text for text in complaints.messages if "422" not in text] == []


@pytest.mark.parametrize("field", ["Requests per second", "Seconds of load per side", "Seed"])
async def test_enter_in_a_field_starts_the_run_that_was_typed(
    service: Any, browser: Browser, complaints: Complaints, field: str
) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, f"{service.url}/benchmarks?{QUERY}")
    await page.route(f"{service.url}/benchmarks", lambda route: route.fulfill(status=204))
    box = page.get_by_label(field)
    await box.fill("17")
    async with page.expect_request(lambda request: request.is_navigation_request()) as asked:
        await box.press("Enter")
    request = await asked.value
    assert request.method == "POST"
    sent = request.post_data_json or {}
    assert sent[await box.get_attribute("name") or ""] == "17"
    assert "preset" not in sent
    await context.close()
