"""A statement in a browser: from a figure to its entries, without findings of axe, and printed alone."""

import asyncio
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


ENLARGE = """(cells, amount) => {
  for (const cell of cells) cell.textContent = cell.classList.contains("below") ? `(${amount})` : amount
}"""


@pytest.mark.parametrize("width", [1280, 1440])
async def test_a_compared_trial_balance_of_large_amounts_fits_a_usual_screen(
    service: Service, browser: Browser, width: int
) -> None:
    url = await statement_url(service, report_type="trial_balance", compare="previous_year", **QUARTER)
    context = await browser.new_context(viewport={"width": width, "height": 900})
    page = await context.new_page()
    await page.goto(url)
    cells = page.locator("#statement td.figure > *")
    assert await cells.count() > 100
    await cells.evaluate_all(ENLARGE, "999,999,999.99")
    sheet = page.locator("#statement .sheet")
    assert await sheet.evaluate("node => node.scrollWidth - node.clientWidth") == 0
    await context.close()


@pytest.mark.parametrize("report_type", ["income_statement", "balance_sheet", "trial_balance"])
async def test_all_columns_of_a_comparison_can_be_reached_on_a_phone(
    service: Service, browser: Browser, report_type: str
) -> None:
    days = {"as_of": "2025-09-30"} if report_type == "balance_sheet" else QUARTER
    url = await statement_url(service, report_type=report_type, compare="previous_year", **days)
    context = await browser.new_context(viewport={"width": 375, "height": 800})
    page = await context.new_page()
    await page.goto(url)
    sheet = page.locator("#statement .sheet")
    # Until it stays: the page may replace what it shows just now.
    async with asyncio.timeout(10):
        while not await sheet.evaluate("node => node.scrollWidth - node.clientWidth"):
            await page.locator("#statement td.figure > *").evaluate_all(ENLARGE, "999,999,999.99")
    hint = page.get_by_text("reached by scrolling the table sideways")
    await expect(hint).to_be_visible()
    await sheet.focus()
    for _ in range(100):
        await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("columnheader", name="Change")).to_be_in_viewport(ratio=0.99)
    await page.set_viewport_size({"width": 1280, "height": 800})
    await expect(hint).to_be_hidden()
    await context.close()


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
    await expect(page.locator("#statement header")).to_contain_text(f"debits {figure}")
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
    printed = page.get_by_text("The whole report")
    await expect(printed).to_be_hidden()
    await page.emulate_media(media="print")
    await expect(printed).to_be_visible()
    await expect(printed).to_contain_text(f"/api/reports/{url.rpartition('/')[2]}.csv")
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
    for hidden in ("#summary", "#result", "#input", "#statement .hint:last-of-type", "#sideways", "footer", ".top"):
        await expect(page.locator(hidden)).to_be_hidden()
    await expect_to_fit_a_printed_page(page)
    assert await page.locator("#statement h2").evaluate("node => getComputedStyle(node).color") == "rgb(27, 31, 36)"
    await context.close()
