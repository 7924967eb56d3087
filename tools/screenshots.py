"""Makes the pictures of the documentation: `python -m tools.screenshots` starts a service and photographs its pages.

`--folder` and `--width` make them elsewhere and for narrow screens, to look at.
"""

import argparse
import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from benchmarks.server import running

FOLDER: Final = Path(__file__).parents[1] / "docs" / "screenshots"
OPTIONS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
SIZE: Final = ViewportSize(width=1200, height=940)
SCHEMES: Final = ("light", "dark")
LATE_MS: Final = 60_000
SETTLED_MS: Final = 600
REPORTS: Final = ("trial_balance", "income_statement", "balance_sheet", "general_ledger", "cash_flow")
# Chance, and callbacks; the fourth is the picture named cliff.
STEPS: Final = (3, 5)
# Before its end most of the picture's clients are there, some of them connected.
BEFORE_END: Final = 5
QUARTER: Final = {"from": "2025-04-01", "to": "2025-07-01"}

Preparation = Callable[[Page], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Takes pictures of pages in both themes."""

    browser: Browser
    folder: Path
    size: ViewportSize

    async def photograph(self, url: str, name: str, place: str = "body", prepare: Preparation | None = None) -> None:
        """One page as it is or once it is prepared, scrolled to an element."""
        for scheme in SCHEMES:
            context = await self.browser.new_context(viewport=self.size, color_scheme=scheme, reduced_motion="reduce")
            page = await context.new_page()
            await page.goto(url)
            if await page.locator("#status").count():
                await expect(page.locator("#status")).to_contain_text("Live")
            if prepare:
                await prepare(page)
            await page.locator(place).first.evaluate("node => scrollTo(0, node.getBoundingClientRect().top - 16)")
            await page.wait_for_timeout(SETTLED_MS)
            await page.screenshot(path=self.folder / f"{name}-{scheme}.png")
            await context.close()


def clicking(selector: str, times: int = 1) -> Preparation:
    """Clicks on an element."""

    async def click(page: Page) -> None:
        for _ in range(times):
            await page.locator(selector).click()

    return click


async def predict(page: Page) -> None:
    """Asks the form for an endpoint of one's own."""
    for label, value in (("p50, ms", "120"), ("p99, ms", "900"), ("Requests per second", "40")):
        await page.get_by_label(label).fill(value)
    await page.get_by_role("button", name="Predict").click(timeout=LATE_MS)
    await expect(page.locator("#answer")).to_be_visible(timeout=LATE_MS)


async def race(page: Page, url: str) -> str:
    """The URL of a finished race in which every callback failed once."""
    await page.goto(f"{url}/?callback_failures=1")
    await page.get_by_role("button", name="Run the race").click()
    await expect(page.locator("#race-sides .verdict")).to_contain_text("called back", timeout=LATE_MS)
    return page.url


async def requests(page: Page, url: str) -> str:
    """The URL of a request whose callback failed twice."""
    for report_type in REPORTS:
        for path in ("/api/sync", "/api/async"):
            await page.request.post(url + path, data={"report_type": report_type})
    await page.request.post(f"{url}/api/sync", data={"simulate": {"failure_rate": 1}})
    body = {"failures": 2, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 900}}}
    answer = await page.request.post(f"{url}/api/callbacks/simulate-failures", data=body)
    path = f"{url}/requests/{(await answer.json())['id']}"
    await page.goto(path)
    await expect(page.locator("#callback")).to_contain_text("SUCCESS", timeout=LATE_MS)
    return path


async def statement(page: Page, url: str, **body: Any) -> str:
    """The URL of a report's page."""
    answer = await page.request.post(f"{url}/api/sync", data=body)
    return f"{url}/requests/{(await answer.json())['id']}"


async def benchmark(page: Page, url: str, rate: int) -> str:
    """The URL of a finished run."""
    await page.goto(f"{url}/benchmarks?rate={rate}&duration_s=16&mean_ms=190&client_timeout_s=1")
    await page.get_by_role("button", name="Start the run").click()
    await page.wait_for_url("**/benchmarks/*-*")
    await expect(page.locator(".report")).to_be_visible(timeout=3 * LATE_MS)
    return page.url


async def photograph_home(camera: Camera, page: Page, url: str) -> None:
    """The home page before and after its uses, and the page of a request."""
    await camera.photograph(url, "first-run", "#readiness")
    await camera.photograph(url, "cliff", prepare=clicking("[data-play=back]", BEFORE_END))
    for step in STEPS:
        await camera.photograph(url, f"cliff-step-{step}", prepare=clicking(f"[data-step='{step}']"))
    await camera.photograph(await race(page, url), "race", "#race")
    asked = await requests(page, url)
    await camera.photograph(f"{url}/?limit=50", "requests")
    await camera.photograph(asked, "request")


async def photograph_statements(camera: Camera, page: Page, url: str) -> None:
    """A compared statement, one by quarter, and the entries of an account."""
    compared = await statement(page, url, report_type="income_statement", **QUARTER, compare="previous_period")
    await camera.photograph(compared, "statement", "#statement")
    quarters = await statement(page, url, report_type="income_statement", group_by="quarter")
    await camera.photograph(quarters, "matrix", "#statement")
    await page.goto(compared)
    await page.get_by_role("row", name="Rent").get_by_role("button").first.click()
    await page.wait_for_url(lambda address: address != compared)
    await camera.photograph(page.url, "entries", "#statement")


async def photograph_benchmarks(camera: Camera, page: Page, url: str) -> None:
    """The result of a run in overload, beside one below it, and a prediction for another endpoint."""
    runs = [await benchmark(page, url, rate) for rate in (12, 24)]
    await camera.photograph(runs[-1], "benchmark", ".report > .verdict")
    first, second = (run.rpartition("/")[2] for run in runs)
    await camera.photograph(f"{url}/benchmarks/compare?id={first}&id={second}", "compare")
    await camera.photograph(f"{url}/benchmarks", "benchmarks")
    await camera.photograph(f"{url}/predict", "predict", "#answer", prepare=predict)


async def main(folder: Path, width: int) -> None:
    """Photographs a new service before and after each use."""
    path = shutil.which("chromium") or shutil.which("google-chrome-stable")
    size = ViewportSize(width=width, height=SIZE["height"])
    with running() as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
            camera, page = Camera(browser=browser, folder=folder, size=size), await browser.new_page()
            for photograph in (photograph_home, photograph_statements, photograph_benchmarks):
                await photograph(camera, page, server.url)
            await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the pictures of the documentation.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--width", type=int, default=SIZE["width"])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(given.folder, given.width))
    for file in sorted(given.folder.glob("*.png")):
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")
