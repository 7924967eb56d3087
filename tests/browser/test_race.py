"""The race in a real Chromium: from the button to the end of both sides, and the same without JavaScript."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from reportsim.settings import Settings
from tests.browser.conftest import LATE_MS, Complaints, open_page, same_document
from tests.conftest import serving

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

QUICK = "/?requests=4&workers=2&distribution=fixed&mean_ms=2000&client_timeout_s=3&callback_failures=1"


HEADER = "document.querySelector('header.top').getBoundingClientRect().height"
WIDTHS = (320, 375, 768, 1280)


async def expect_a_finished_race(page: Page) -> None:
    """Four clients, two workers, two seconds each: two have their report a second before the time-out, two gave up."""
    await expect(page.locator("#race-sides .verdict")).to_contain_text(
        "2 of 4 timed out. Async clients were connected", timeout=2 * LATE_MS
    )
    await expect(page.locator("#race-sides .verdict")).to_contain_text("all 4 were called back with their report.")
    await expect(page.locator("#race-sides")).to_contain_text("All 8 files of both sides are identical: sha256")
    sync, async_ = page.locator(".race-side.sync"), page.locator(".race-side.async")
    await expect(sync.locator(".gone")).to_have_count(2)
    await expect(sync.locator(".wasted")).not_to_have_count(0)
    await expect(sync.locator(".call")).to_have_count(0)
    # Each callback failed once and was delivered after a wait.
    await expect(async_.locator(".miss")).to_have_count(4)
    await expect(async_.locator(".pause")).to_have_count(4)
    await expect(async_.locator(".call")).to_have_count(4)
    await expect(async_.locator(".gone")).to_have_count(0)


async def test_the_race_is_followed_to_its_end(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, service.url + QUICK)
    await expect(page.locator("#race-sides .verdict")).to_contain_text("Predicted by simulating")
    await expect(page.get_by_role("status")).to_have_text("Live")
    heights = {}
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 700})
        heights[width] = await page.evaluate(HEADER)
    await page.get_by_role("button", name="Run the race").click()
    # It is drawn while it runs: some bars have not ended.
    await expect(page.locator("#race-sides rect[data-open]").first).to_be_attached(timeout=LATE_MS)
    await expect_a_finished_race(page)
    await expect(page.get_by_role("button", name="Run the race")).to_be_enabled()
    await expect(page.get_by_role("status")).to_contain_text("timed out")
    assert await same_document(page)
    # What was announced makes the header no higher, and nothing is wider than a phone.
    for width, height in heights.items():
        await page.set_viewport_size({"width": width, "height": 700})
        assert await page.evaluate(HEADER) == height
        assert await page.evaluate("document.documentElement.scrollWidth") == width
    await page.get_by_text("As a table").click()
    await expect(page.locator("#race-table tbody tr")).to_have_count(8)
    # The address is that of the race: everyone who opens it sees the same.
    await page.reload()
    await expect_a_finished_race(page)
    await context.close()
    assert complaints.messages == []


async def test_sliders_redraw_the_prediction(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, service.url)
    # By keyboard alone: past the link that skips the head, on to the slider.
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    slider = page.get_by_label("Sync client time-out")
    for _ in range(40):
        if await slider.evaluate("node => node === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    for _ in range(10):
        await page.keyboard.press("ArrowLeft")
    await expect(page.locator("#distribution")).to_contain_text("Service time above 1 s")
    await page.get_by_label("Distribution").select_option("lognormal")
    await expect(page.get_by_role("img", name="Service times: lognormal")).to_be_visible()
    await expect(page.get_by_label("Spread σ")).to_be_visible()
    await page.get_by_label("Requests per side").fill("20")
    await expect(page.get_by_role("img", name="Predicted: 20 sync requests")).to_be_visible()
    assert await same_document(page)
    await context.close()
    assert complaints.messages == []


async def test_the_race_runs_without_javascript(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 700})
    page = await context.new_page()
    complaints.watch(page)
    await page.goto(service.url + QUICK)
    await page.get_by_role("button", name="Run the race").click()
    await page.wait_for_url("**/?race=*")
    # The page reloads itself while the race runs.
    await expect_a_finished_race(page)
    await context.close()
    assert complaints.messages == []


async def test_a_second_race_has_to_wait(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, service.url + "/?requests=4&workers=1&distribution=fixed&mean_ms=3000")
    other = await open_page(context, complaints, service.url + QUICK)
    await page.get_by_role("button", name="Run the race").click()
    await expect(page.locator("#race-sides rect[data-open]").first).to_be_attached(timeout=LATE_MS)
    # Nor can a load be measured meanwhile, and the page says why.
    for each in (page, other):
        await expect(each.locator(".measure")).to_contain_text(
            "A race is running: this can be measured when it has ended."
        )
        await expect(each.get_by_role("button", name="Measure at this load")).to_be_disabled()
    await other.get_by_role("button", name="Run the race").click()
    await expect(other.get_by_role("alert")).to_contain_text("Two at once would distort each other", timeout=LATE_MS)
    await expect(other.get_by_role("button", name="Run the race")).to_be_enabled()
    await context.close()
    assert [text for text in complaints.messages if "409" not in text] == []


async def test_the_plug_is_pulled_in_the_middle_of_a_race(
    settings: Settings, browser: Browser, complaints: Complaints
) -> None:
    async with serving(settings, demonstration=True) as service:
        context = await browser.new_context()
        page = await open_page(
            context, complaints, f"{service.url}/?requests=6&workers=1&distribution=fixed&mean_ms=400"
        )
        plug = page.get_by_role("button", name="Pull the plug")
        await expect(plug).to_be_hidden()
        height = "document.getElementById('race-form').getBoundingClientRect().height"
        before = await page.evaluate(height)
        await page.get_by_role("button", name="Run the race").click()
        await plug.click(timeout=LATE_MS)
        await expect(page.locator("#race-sides .verdict")).to_contain_text("The plug is pulled")
        await expect(page.get_by_role("button", name="Plug pulled")).to_be_disabled()
        assert await page.evaluate(height) == before
        await expect(page.locator("#race-sides rect.plug")).not_to_have_count(0)
        verdict = page.locator("#race-sides .verdict")
        await expect(verdict).to_contain_text("a demonstration, not a measurement", timeout=2 * LATE_MS)
        await expect(verdict).to_contain_text("all 6 were called back with their report.")
        await expect(page.locator("#race-sides")).to_contain_text("H15: The plug was pulled")
        await expect(page.locator(".race-side.sync .gone")).not_to_have_count(0)
        await expect(page.get_by_role("button", name="Pull the plug")).to_be_hidden()
        assert await same_document(page)
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download a replay").click()
        assert (await (await download.value).path()).read_text().count("plug pulled</text>") == 1
        await context.close()
    # What the page asks for while the connections are lost may be refused.
    assert [text for text in complaints.messages if "503" not in text] == []


async def test_the_plug_is_pulled_without_javascript(settings: Settings, browser: Browser) -> None:
    async with serving(settings, demonstration=True) as service:
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(f"{service.url}/?requests=6&workers=1&distribution=fixed&mean_ms=600")
        await page.get_by_role("button", name="Run the race").click()
        await page.get_by_role("button", name="Pull the plug").click(timeout=LATE_MS)
        await expect(page.locator("#race-sides .verdict")).to_contain_text(
            "a demonstration, not a measurement", timeout=2 * LATE_MS
        )
        await context.close()
