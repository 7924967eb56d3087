"""The benchmark pages on a phone: nothing is wider than the screen, or it can be scrolled with the keyboard."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.benchmark.runs import finished_run
from tests.browser.conftest import Complaints, open_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# What is cut off at the right, and selections whose longest option is.
FIND_CUT = """() => {
  const cut = [];
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) cut.push(`the page: ${width}`);
  const scrolls = (element) => element.tabIndex === 0 && /auto|scroll/.test(getComputedStyle(element).overflowX);
  for (const element of document.querySelectorAll('body *:not(svg *, .unseen, .unseen *)')) {
    const { width, right } = element.getBoundingClientRect();
    let parent = element.parentElement;
    while (parent && !scrolls(parent)) parent = parent.parentElement;
    if (width > 1 && right > innerWidth + 1 && !parent) cut.push(`${element.tagName} ${element.className}: ${right}`);
  }
  for (const select of document.querySelectorAll('select')) {
    const whole = select.cloneNode(true);
    whole.className = 'whole';
    select.after(whole);
    const needed = whole.getBoundingClientRect().width;
    whole.remove();
    const found = select.getBoundingClientRect().width;
    if (found && needed > found + 1) cut.push(`${select.name}: ${needed} in ${found}`);
  }
  return cut;
}"""


async def find_cut(page: Page) -> list[str]:
    """What is cut off with all details open."""
    await page.add_style_tag(content="select.whole { width: auto; position: absolute }")
    await page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found: list[str] = await page.evaluate(FIND_CUT)
    return found


@pytest.mark.parametrize("width", [375, 320])
async def test_nothing_is_cut_off(service: Any, browser: Browser, complaints: Complaints, width: int) -> None:
    first, second = [await finished_run(service.engine) for _ in range(2)]
    context = await browser.new_context(viewport={"width": width, "height": 800}, bypass_csp=True)
    for path in (
        "/benchmarks",
        "/benchmarks?predict=yes&distribution=bimodal&rate=5&duration_s=5",
        f"/benchmarks/{first}",
        f"/benchmarks/compare?id={first}&id={second}",
        "/predict",
    ):
        page = await open_page(context, complaints, service.url + path)
        assert await find_cut(page) == [], path
        await page.close()
    await context.close()
    assert complaints.messages == []
