"""A statement in a browser: from a figure to its entries, without findings of axe, and printed alone."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import Complaints, open_page
from tests.browser.test_accessibility import findings
from tests.conftest import Service

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

QUARTER = {"from": "2025-04-01", "to": "2025-07-01"}


async def statement_url(service: Service, **body: Any) -> str:
    """The page of a completed report."""
    async with service.client.post("/api/sync", json=body) as answer:
        return f"{service.url}/requests/{(await answer.json())['id']}"


async def test_a_figure_leads_to_its_entries(service: Service, browser: Browser, complaints: Complaints) -> None:
    url = await statement_url(service, report_type="income_statement", **QUARTER, compare="previous_period")
    context = await browser.new_context(color_scheme="dark", viewport={"width": 375, "height": 800})
    page = await open_page(context, complaints, url)
    assert await findings(page) == []
    rent = page.get_by_role("row", name="Rent")
    await expect(rent).to_have_count(1)
    await rent.get_by_role("button").first.focus()
    figure = await rent.get_by_role("button").first.inner_text()
    await page.keyboard.press("Enter")
    await expect(page.locator("#statement h2")).to_have_text("General ledger: account 6100 only")
    assert page.url != url
    await expect(page.locator("#statement .total")).to_contain_text(figure)
    await expect(page.locator("#statement header")).to_contain_text("2025-04-01 to 2025-06-30")
    assert await findings(page) == []
    assert complaints.messages == []
    await context.close()


async def test_pages_of_a_general_ledger(service: Service, browser: Browser, complaints: Complaints) -> None:
    url = await statement_url(service, report_type="general_ledger")
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    complaints.watch(page)
    await page.goto(url)
    await page.get_by_role("link", name="Next").click()
    await expect(page.locator("#statement header")).to_contain_text("page 2 of")
    await page.get_by_role("link", name="Last").click()
    await expect(page.locator("#statement .total")).to_have_count(1)
    assert complaints.messages == []
    await context.close()


async def expect_to_fit_a_printed_page(page: Page) -> None:
    """Fails where the table is wider than A4 in landscape, less the margins."""
    await page.set_viewport_size({"width": 1009, "height": 680})
    table, sheet = page.locator("#statement table"), page.locator("#statement .sheet")
    assert await table.evaluate("node => node.scrollWidth") <= await sheet.evaluate("node => node.clientWidth")


async def test_a_year_of_months_scrolls_by_itself_and_fits_a_printed_page(
    service: Service, browser: Browser, complaints: Complaints
) -> None:
    year = {"from": "2025-01-01", "to": "2026-01-01"}
    url = await statement_url(service, report_type="income_statement", **year, group_by="month")
    context = await browser.new_context(viewport={"width": 375, "height": 800})
    page = await open_page(context, complaints, url)
    assert await findings(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 375
    sheet, rent = page.locator("#statement .sheet"), page.get_by_role("row", name="Rent")
    await rent.get_by_role("button").last.focus()
    assert await sheet.evaluate("node => node.scrollLeft") > 0
    # The names of the accounts stay in view.
    name, place = await rent.get_by_role("rowheader").bounding_box(), await sheet.bounding_box()
    assert name
    assert place
    assert name["x"] == pytest.approx(place["x"], abs=1)
    await page.emulate_media(media="print")
    await expect_to_fit_a_printed_page(page)
    await page.emulate_media(media="screen")
    await rent.get_by_role("button").nth(1).click()
    await expect(page.locator("#statement h2")).to_have_text("General ledger: account 6100 only")
    await expect(page.locator("#statement header")).to_contain_text("2025-02-01 to 2025-02-28")
    assert complaints.messages == []
    await context.close()


async def test_a_statement_is_printed_alone(service: Service, browser: Browser, complaints: Complaints) -> None:
    url = await statement_url(service, report_type="trial_balance", **QUARTER, compare="previous_year")
    context = await browser.new_context(color_scheme="dark")
    page = await open_page(context, complaints, url)
    await page.emulate_media(media="print")
    await expect(page.locator("#statement")).to_be_visible()
    for hidden in ("#summary", "#result", "#input", "#statement .hint", "footer", ".top"):
        await expect(page.locator(hidden)).to_be_hidden()
    await expect_to_fit_a_printed_page(page)
    assert await page.locator("#statement h2").evaluate("node => getComputedStyle(node).color") == "rgb(27, 31, 36)"
    await context.close()
