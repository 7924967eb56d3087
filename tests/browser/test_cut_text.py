"""No text of the home page is cut by the box that it stands in, at any width, with and without JavaScript."""

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import Service

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WIDTHS = (320, 375, 768, 1280)
# Boxes that hide what overflows, and filled buttons whose text touches their rounded edge.
CUT = """
() => [...document.querySelectorAll('body *')].filter(node => {
  const style = getComputedStyle(node)
  const [inline, block] = [node.scrollWidth > node.clientWidth, node.scrollHeight > node.clientHeight]
  const hides = value => value === 'hidden' || value === 'clip'
  const seen = node.clientWidth > 1 && style.display !== 'inline' && node.textContent.trim()
  const edge = node.matches('button, .button') && style.backgroundColor !== 'rgba(0, 0, 0, 0)' &&
    Math.min(parseFloat(style.paddingLeft), parseFloat(style.paddingRight)) < 4
  return seen && (hides(style.overflowX) && inline || hides(style.overflowY) && block || edge)
}).map(node => `${node.tagName} ${node.className} ${node.textContent.trim().slice(0, 40)}`)
"""


@pytest.mark.parametrize("scripted", [True, False])
async def test_no_text_is_cut(service: Service, browser: Browser, scripted: Any) -> None:
    context = await browser.new_context(java_script_enabled=scripted, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(service.url)
    if scripted:
        await expect(page.locator(".moment")).to_contain_text("s of")
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate(CUT) == [], width
    await context.close()
