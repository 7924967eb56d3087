"""One Chromium per session, on the same event loop as the services that it opens, and a collector of page errors."""

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from reportsim.settings import Settings
from tests.conftest import Service, serving

LATE_MS = 10_000
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium() -> str | None:
    """The path of the system's Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium; every test has contexts of its own."""
    path = chromium()
    if path is None:
        message = "no Chromium on the PATH; on Debian: apt-get install chromium"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def service(settings: Settings) -> AsyncIterator[Service]:
    """A live service on the browser's event loop."""
    async with serving(settings) as running:
        yield running


@dataclass
class Complaints:
    """Console messages, exceptions, failed requests and requests to other hosts of some pages."""

    messages: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self.messages.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on("response", lambda response: self.record_response(response.status, response.url))
        page.on("request", lambda request: self.record_request(page, request.url))

    def record_request(self, page: Page, url: str) -> None:
        own = urlsplit(page.url).netloc
        if own and urlsplit(url).netloc not in {own, ""}:
            self.messages.append(f"elsewhere: {url}")

    def record_response(self, status: int, url: str) -> None:
        if status >= 400:
            self.messages.append(f"{status} {url}")


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


async def open_page(context: BrowserContext, complaints: Complaints, url: str) -> Page:
    """Opens a page and watches it; a mark on its window shows whether it was reloaded."""
    page = await context.new_page()
    page.set_default_timeout(LATE_MS)
    complaints.watch(page)
    await page.goto(url)
    await page.evaluate("window.mark = 'same'")
    return page


async def same_document(page: Page) -> bool:
    return bool(await page.evaluate("window.mark === 'same'"))
