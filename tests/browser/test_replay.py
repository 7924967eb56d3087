"""The replay in a real Chromium, opened from disk: it plays by itself, by hand, in steps, or not at all."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from reportsim.benchmark.report.replay import html_replay
from reportsim.pages.race.controls import read_controls
from tests.benchmark.runs import rehearsed
from tests.browser.test_accessibility import findings

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

REQUESTS = 10


@pytest.fixture
def replay_file(tmp_path: Path) -> Path:
    run = rehearsed(read_controls({"requests": str(REQUESTS), "client_timeout_s": "2"}).plan)
    file = tmp_path / "replay.html"
    file.write_text(html_replay(run.plan, run.conclude(), run.samples, id="0190"), encoding="utf-8")
    return file


def listen(page: Page, heard: list[str]) -> None:
    """Gathers what a page complains of, and what it asks for."""
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))


async def figures(page: Page) -> list[str]:
    """The figures of both sides."""
    return await page.locator(".scores tbody td").all_inner_texts()


@pytest.mark.parametrize("width", [375, 320])
async def test_nothing_is_cut_on_a_phone(browser: Browser, replay_file: Path, width: int) -> None:
    """But for the picture, which scrolls, also by keyboard."""
    context = await browser.new_context(viewport={"width": width, "height": 700}, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(replay_file.as_uri())
    await expect(page.locator(".verdict")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert await page.evaluate(
        "[...document.querySelectorAll('body *')].filter(node => node.scrollWidth > node.clientWidth"
        " && getComputedStyle(node).overflowX !== 'visible').map(node => [node.localName, node.tabIndex])"
    ) == [["figure", 0]]
    await context.close()


async def test_it_plays_from_disk_to_what_the_still_shows(browser: Browser, replay_file: Path) -> None:
    still = await browser.new_context(java_script_enabled=False)
    page = await still.new_page()
    await page.goto(replay_file.as_uri())
    outcome = await figures(page)
    assert await page.locator("#gantt-sync > g, #gantt-async > g").count() == 2 * REQUESTS
    await expect(page.locator("#player")).to_be_hidden()
    await expect(page.locator("ul.verdict")).to_contain_text(f"all {REQUESTS} were called back")
    await still.close()
    context, heard = await browser.new_context(), list[str]()
    page = await context.new_page()
    listen(page, heard)
    await page.goto(replay_file.as_uri())
    # It has begun by itself: clients are connected, and the picture is covered beyond the moment.
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await expect(page.locator("#score-sync .now")).not_to_have_text("0")
    width = "Number(document.querySelector('#past rect').getAttribute('width'))"
    assert await page.evaluate(width) < 700
    await page.get_by_label("Speed").select_option(label="10 ×")
    await expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert await figures(page) == outcome
    assert await page.evaluate(width) == 760
    # From the end it starts again.
    await page.get_by_role("button", name="Play").click()
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert heard == [replay_file.as_uri()]
    await context.close()


async def test_its_moment_is_chosen_by_keyboard(browser: Browser, replay_file: Path) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(replay_file.as_uri())
    # With reduced motion it does not start by itself: the whole run is shown.
    await expect(page.get_by_role("button", name="Play")).to_be_visible()
    slider = page.get_by_role("slider", name="Moment of the run")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(slider).to_be_focused()
    await page.keyboard.press("Home")
    await expect(page.locator("#clock")).to_have_text("0.0 s")
    for key in ("PageUp", "ArrowRight"):
        await page.keyboard.press(key)
    await expect(page.locator("#score-sync .now")).not_to_have_text("0")
    await expect(page.locator("#score-async .now")).to_have_text("0")
    assert await slider.get_attribute("aria-valuetext") == await page.locator("#clock").inner_text() != "0.0 s"
    await page.keyboard.press("End")
    await expect(page.locator("#score-sync .now")).to_have_text("0")
    # Played, it goes in steps.
    await page.get_by_role("button", name="Play").click()
    await expect(page.locator("#clock")).to_have_text(re.compile(r"^(?!0\.0)\d+\.[05] s$"))
    await context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1280)])
async def test_axe_finds_nothing_and_nothing_is_too_wide(
    browser: Browser, replay_file: Path, scheme: Any, width: int
) -> None:
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 700}, bypass_csp=True, reduced_motion="reduce"
    )
    page = await context.new_page()
    await page.goto(replay_file.as_uri())
    assert await findings(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    await context.close()
