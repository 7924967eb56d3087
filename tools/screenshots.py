"""Makes the screenshots of the README: `python -m tools.screenshots` starts a service and photographs its pages."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, async_playwright, expect

from benchmarks.server import running

FOLDER: Final = Path(__file__).parents[1] / "docs" / "screenshots"
OPTIONS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
SIZE: Final = {"width": 1200, "height": 940}
SCHEMES: Final = ("light", "dark")
LATE_MS: Final = 60_000
REPORTS: Final = ("trial_balance", "income_statement", "balance_sheet", "general_ledger", "cash_flow")


async def photograph(browser: Browser, url: str, name: str, place: str = "body", back: int = 0) -> None:
    """One page in both themes, scrolled to an element; the moving picture so many steps before its end."""
    for scheme in SCHEMES:
        context = await browser.new_context(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
        page = await context.new_page()
        await page.goto(url)
        await expect(page.locator("#status")).to_contain_text("Live")
        for _ in range(back):
            await page.locator("[data-play=back]").click()
        await page.locator(place).first.evaluate("node => scrollTo(0, node.getBoundingClientRect().top - 16)")
        await page.wait_for_timeout(600)
        await page.screenshot(path=FOLDER / f"{name}-{scheme}.png")
        await context.close()


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


async def benchmark(page: Page, url: str) -> str:
    """The URL of a finished run in overload."""
    await page.goto(f"{url}/benchmarks?rate=24&duration_s=16&mean_ms=190&client_timeout_s=1")
    await page.get_by_role("button", name="Start the run").click()
    await page.wait_for_url("**/benchmarks/*-*")
    await expect(page.locator(".report")).to_be_visible(timeout=3 * LATE_MS)
    return page.url


async def main() -> None:
    """Photographs a new service before and after each use."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium") or shutil.which("google-chrome-stable")
    with running() as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
            page = await browser.new_page()
            await photograph(browser, server.url, "first-run", "#readiness")
            await photograph(browser, server.url, "cliff", back=9)
            await photograph(browser, await race(page, server.url), "race", "#race")
            asked = await requests(page, server.url)
            await photograph(browser, f"{server.url}/?limit=50", "requests")
            await photograph(browser, asked, "request")
            await photograph(browser, await benchmark(page, server.url), "benchmark", ".report > .verdict")
            await browser.close()
    for file in sorted(FOLDER.glob("*.png")):
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    asyncio.run(main())
