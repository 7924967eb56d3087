"""The exported page in a real Chromium, opened from disk: no errors, no requests, any screen width, paper."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from reportsim.benchmark.report.page import html_report
from tests.benchmark.runs import example

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    run, result = example()
    file = tmp_path / "report.html"
    file.write_text(html_report(run.plan, run.prediction, result, run.samples, id="0190"), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_it_opens_from_disk_without_errors_or_requests(
    browser: Browser, page_file: Path, scheme: Any, width: int
) -> None:
    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 700})
    page = await context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("requestfailed", lambda request: heard.append(request.url))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(page_file.as_uri())
    assert await page.locator("svg").count() == 7
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    # The style applies: the policy of the page names its hash.
    assert await page.evaluate("getComputedStyle(document.querySelector('.verdict')).borderLeftStyle") == "solid"
    ground, ink = await page.evaluate(
        "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
    )
    assert (ground, ink) == (
        ("rgb(255, 255, 255)", "rgb(27, 31, 36)") if scheme == "light" else ("rgb(15, 20, 25)", "rgb(230, 237, 243)")
    )
    assert heard == []
    assert asked == [page_file.as_uri()]
    await context.close()


async def test_it_fits_on_paper(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    context = await browser.new_context(color_scheme="dark")
    page = await context.new_page()
    await page.goto(page_file.as_uri())
    printed = await page.pdf(format="A4", path=tmp_path / "report.pdf")
    assert printed.count(b"/Type /Page\n") <= 8
    # On paper it is light, and nothing is wider than the sheet between its margins.
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": 680, "height": 900})
    assert await page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert await page.evaluate("document.documentElement.scrollWidth") == 680
    await context.close()
