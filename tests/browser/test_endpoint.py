"""The page for an endpoint's own numbers in a real Chromium: refused with focus, then answered with a plot."""

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import LATE_MS, Complaints, open_page
from tests.browser.test_accessibility import findings
from tests.browser.test_narrow import find_cut

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_numbers_are_refused_with_focus_and_then_answered_with_a_plot(
    service: Any, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context(viewport={"width": 375, "height": 800}, bypass_csp=True)
    page = await open_page(context, complaints, f"{service.url}/benchmarks")
    await page.get_by_role("link", name="Its durations say when it begins to time out.").click()
    await page.get_by_label("p50, ms").fill("120")
    await page.get_by_role("button", name="Predict").click()
    await expect(page.get_by_label("p99, ms")).to_be_focused()
    await expect(page.get_by_role("alert")).to_contain_text("p50 and p99 belong together")
    assert await findings(page) == []
    complaints.messages.remove(f"422 {service.url}/predict")
    complaints.messages = [message for message in complaints.messages if "422" not in message]
    await page.get_by_label("Durations").fill(70 * (999 * "1" + "\n"))
    await page.get_by_role("button", name="Predict").click()
    assert await page.get_by_label("Durations").evaluate("text => text.validationMessage") == (
        "The text has 70,000 bytes; a text of at most 65,536 fits. Save the durations as a file and use the command, "
        "which reads any length."
    )
    await expect(page.get_by_label("Durations")).to_be_focused()
    await expect(page.get_by_label("p50, ms")).to_have_value("120")
    await page.get_by_label("Durations").fill("")
    await page.get_by_label("p99, ms").fill("900")
    await page.get_by_label("Requests per second").fill("40")
    await page.get_by_role("button", name="Predict").click(timeout=6 * LATE_MS)
    answer = page.get_by_role("region", name="Your endpoint begins to time out at 4")
    await expect(answer).to_be_focused(timeout=6 * LATE_MS)
    await expect(answer.get_by_role("img", name="Break-even")).to_contain_text("yours 40/s")
    await expect(answer).to_contain_text("predict --p50 0.12 --p99 0.9 --rate 40 --workers 8 --timeout 2")
    for width in (375, 320):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await find_cut(page) == []
    assert await findings(page) == []
    await context.close()
    assert complaints.messages == []
