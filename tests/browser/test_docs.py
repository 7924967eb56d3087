"""/docs in a real Chromium: Swagger UI under our policy, trying out our API and asking nobody else."""

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import Complaints, open_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_requests_are_tried_out_under_the_strict_policy(
    service: Any, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 1000})
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = await open_page(context, complaints, f"{service.url}/docs")
    policy = (await context.request.get(f"{service.url}/docs")).headers["content-security-policy"]
    assert "unsafe" not in policy

    operation = page.locator("#operations-Submitting-create_async")
    await operation.locator(".opblock-summary").click()
    await expect(operation.locator("textarea")).to_be_visible()
    await operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    await expect(answer.locator(".response-col_status").last).to_contain_text("202")
    await expect(answer).to_contain_text("PENDING")
    # The schemas of reports and of the callback are there to be read.
    await expect(operation).to_contain_text("Callback")

    assert complaints.messages == []
    assert {url for url in asked if not url.startswith((service.url, "data:"))} == set()
    await context.close()


async def test_a_dark_scheme_is_respected(service: Any, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(color_scheme="dark")
    page = await open_page(context, complaints, f"{service.url}/docs")
    await expect(page.locator("html")).to_have_class("dark-mode")
    await expect(page.locator(".opblock").first).to_be_visible()
    assert complaints.messages == []
    await context.close()
