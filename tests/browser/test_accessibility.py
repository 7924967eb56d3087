"""axe-core on every page, in both themes, on narrow and wide screens."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.benchmark.runs import finished_run
from tests.conftest import Service

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


async def findings(page: Page) -> list[str]:
    """The violations that axe-core finds, of any impact."""
    await page.evaluate(await asyncio.to_thread(AXE.read_text))
    result = await page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    return [
        f"{page.url} {found['impact']} {found['id']} {[node['target'] for node in found['nodes']]}"
        for found in result["violations"]
    ]


async def some_pages(service: Service) -> list[str]:
    """The path of a page of each kind, with content."""
    ids = []
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/api/callbacks/simulate-failures", {"failures": 2}),
        ("/api/sync", {"simulate": {"failure_rate": 1}}),
    ]
    for path, body in bodies:
        async with service.client.post(path, json={"ledger": "tiny", **body}) as answer:
            found = await answer.json()
            ids.append(found.get("id") or found["instance"].rpartition("/")[2])
    for id in ids:
        await service.ended(id)
    runs = [await finished_run(service.engine) for _ in range(2)]
    return [
        "/",
        "/?status=FAILED&q=zzzz",
        "/?callback_failures=2&distribution=bimodal",
        *(f"/requests/{id}" for id in ids),
        f"/webhook-test/{ids[0]}",
        "/problems/conflict",
        "/benchmarks?predict=yes&rate=5",
        "/predict",
        *(f"/benchmarks/{id}" for id in runs),
        f"/benchmarks/compare?id={runs[0]}&id={runs[1]}",
        "/nowhere",
    ]


async def check_pages(browser: Browser, url: str, paths: list[str], scheme: Any, width: int) -> list[str]:
    """The violations on some pages."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True, reduced_motion="reduce"
    )
    page = await context.new_page()
    found: list[str] = []
    for path in paths:
        await page.goto(url + path)
        found += await findings(page)
    await context.close()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_on_the_first_page(service: Service, browser: Browser, scheme: Any) -> None:
    assert await check_pages(browser, service.url, ["/"], scheme, 1280) == []


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 320)])
async def test_axe_finds_nothing_on_any_page(service: Service, browser: Browser, scheme: Any, width: int) -> None:
    assert await check_pages(browser, service.url, await some_pages(service), scheme, width) == []
