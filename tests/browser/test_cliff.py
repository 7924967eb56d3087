"""The cliff in a real Chromium: its steps, its control, and the same message without motion or JavaScript."""

import json
import re
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from reportsim.pages.cliff.figure import load_cliff
from tests.benchmark.runs import finished_run
from tests.browser.conftest import LATE_MS, Complaints, open_page, same_document
from tests.browser.test_accessibility import findings
from tests.conftest import Service
from tests.engine.jobs import until
from tools.simulate_cliff import FILE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STEPS: Final = ("One request", "A fixed rate", "Chance", "The cliff", "Callbacks")
# Where parts of the page begin, as one string.
TOPS: Final = "nodes => String(nodes.map(node => Math.round(node.getBoundingClientRect().top + scrollY)))"
PATHS: Final = "nodes => nodes.map(node => node.getAttribute('d') || '')"


async def figures(page: Page, lane: str) -> list[int]:
    """How many clients of a lane are connected, have their report, and gave up."""
    return [int(text) for text in await page.locator(f".lane.{lane} .tally dd").all_text_contents()]


async def expect_step(page: Page, number: int) -> None:
    """One step is the current one, and its text is the only one that shows."""
    current = page.locator(".story [aria-current=step]")
    await expect(current).to_have_count(1)
    await expect(current).to_contain_text(STEPS[number - 1])
    await expect(page.locator(".story p:visible")).to_have_count(1)


@pytest.mark.parametrize("width", [1280, 320])
async def test_the_picture_moves_by_itself_and_stops(
    service: Service, browser: Browser, complaints: Complaints, width: int
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 900})
    page = await open_page(context, complaints, service.url)
    await expect_step(page, 4)
    moment = page.locator(".moment")
    await expect(moment).to_have_text(re.compile("[0-9]"))
    before = await moment.text_content()
    await expect(moment).not_to_have_text(before or "")
    await page.get_by_role("button", name="Stop").click()
    stopped = await moment.text_content()
    await page.get_by_role("button", name="Step", exact=True).click()
    await expect(moment).not_to_have_text(stopped or "")
    await page.get_by_role("button", name="Back", exact=True).click()
    await expect(moment).to_have_text(stopped or "")
    # Both lanes have the same requests: only what becomes of their clients differs.
    sync, async_ = await figures(page, "sync"), await figures(page, "async")
    assert sync[1] + sync[2] >= async_[1]
    assert (async_[0], async_[2]) == (0, 0)
    await context.close()
    assert complaints.messages == []


async def test_the_five_steps_by_mouse(service: Service, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await open_page(context, complaints, service.url)
    shown = {}
    for number, name in enumerate(STEPS, 1):
        await page.get_by_role("button", name=f"{number} {name}").click()
        await expect_step(page, number)
        shown[number] = (await figures(page, "sync"), await figures(page, "async"))
    # Nothing happens before the button is pressed; clients give up from the fourth step on.
    assert shown[1] == ([0, 0, 0], [0, 0, 0])
    assert [shown[number][0][2] for number in (2, 3)] == [0, 0]
    still = load_cliff().stills[95]
    assert shown[4] == ([0, still.clients - still.gave_up, still.gave_up], [0, still.clients, 0])
    assert shown[5] == shown[4]
    assert await same_document(page)
    await context.close()
    assert complaints.messages == []


@pytest.mark.parametrize("width", [1280, 375])
async def test_the_chart_is_pale_until_the_step_that_explains_it(
    service: Service, browser: Browser, complaints: Complaints, width: int
) -> None:
    context = await browser.new_context(reduced_motion="reduce", viewport={"width": width, "height": 900})
    page = await open_page(context, complaints, service.url)
    tops = set()
    for number in range(1, 6):
        await page.locator(f"[data-step='{number}']").click()
        await expect_step(page, number)
        explained = number >= 4
        await expect(page.locator(".plane .chart")).to_have_css("opacity", "1" if explained else "0.2")
        for part in (page.locator(".reading"), page.get_by_role("button", name="Measure at this load")):
            await expect(part).to_be_visible(visible=explained)
        await expect(page.get_by_role("img", name="The share of sync clients")).to_have_count(int(explained))
        tops.add(await page.locator(".stage, .plane form, #race").evaluate_all(TOPS))
    assert len(tops) == 1, tops
    await context.close()
    assert complaints.messages == []


async def test_the_story_by_keyboard(service: Service, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context()
    page = await open_page(context, complaints, service.url)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect_step(page, 1)
    press = page.get_by_role("button", name="Send a request")
    for _ in range(6):
        if await press.evaluate("node => node === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    # One request goes through: the sync client is held meanwhile, the async client is not.
    await expect(page.locator(".lane.sync .held dd")).to_have_text("1")
    await expect(page.locator(".lane.async .held dd")).to_have_text("0")
    await expect(page.locator(".lane.sync .served dd")).to_have_text("1")
    await expect(page.locator(".lane.async .served dd")).to_have_text("1")
    await context.close()
    assert complaints.messages == []


async def test_the_control_moves_the_load(service: Service, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await open_page(context, complaints, service.url)
    document = json.loads(FILE.read_bytes())
    shares = {point["load"]: point["text"] for point in document["curve"]}
    slider = page.get_by_label("Load, % of what the workers can do")
    await slider.focus()
    for load in range(100, 125, 5):
        run = document["chance"][str(load)]
        await page.keyboard.press("ArrowRight")
        await expect(page.locator(".reading")).to_have_text(
            f"At {load} % load, {shares[load]} of sync clients time out on average,"
            f" {len(run['gave_up'])} of {len(run['arrivals'])} in this run; of async clients none."
        )
        assert (await figures(page, "sync"))[2] == len(run["gave_up"])
        assert (await figures(page, "async"))[2] == 0
    await expect(page.locator("circle.marker")).to_have_attribute("cx", "100%")
    # The report is ready at the same time in both ways.
    await expect(page.locator(".median")).to_have_text(f"{document['chance']['120']['median_ms']} ms")
    # A single request has no rate: the control goes on to the cliff.
    await page.get_by_role("button", name="1 One request").click()
    await slider.press("ArrowLeft")
    await expect_step(page, 4)
    await context.close()
    assert complaints.messages == []


async def test_without_motion_nothing_moves_but_by_a_button(
    service: Service, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await open_page(context, complaints, service.url)
    await expect_step(page, 4)
    await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    await expect(page.get_by_role("button", name="Play")).to_be_hidden()
    end = await page.locator(".moment").text_content()
    await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert await page.locator(".moment").text_content() == end
    await page.get_by_role("button", name="Step", exact=True).click()
    await expect(page.locator(".moment")).to_have_text("0.2 s of 8.1 s")
    await context.close()
    assert complaints.messages == []


async def test_the_still_is_the_same_without_javascript(
    service: Service, browser: Browser, complaints: Complaints
) -> None:
    drawn = []
    for scripted in (True, False):
        context = await browser.new_context(
            java_script_enabled=scripted, reduced_motion="reduce", viewport={"width": 320, "height": 700}
        )
        page = await context.new_page()
        complaints.watch(page)
        await page.goto(f"{service.url}/?load=110")
        if scripted:
            await expect_step(page, 4)
        drawn.append(await page.locator(".lane .clients path").evaluate_all(PATHS))
        assert await page.evaluate("document.documentElement.scrollWidth") == 320
        if not scripted:
            # The still and the text beside it name the same clients.
            still = load_cliff().stills[110]
            assert (await figures(page, "sync"))[2] == still.gave_up
            await expect(page.locator(".reading")).to_contain_text(f"{still.gave_up} of {still.clients} in this run")
            # Buttons that do nothing are text.
            for button in await page.locator(".story button").all():
                await expect(button).to_have_css("background-color", "rgba(0, 0, 0, 0)")
            await expect(page.get_by_text("falls off at 83 % load")).to_be_visible()
            await expect(page.locator(".story p:visible")).to_have_count(5)
            await page.get_by_label("Load, % of what the workers can do").press("ArrowLeft")
            await page.get_by_role("button", name="Show").click()
            await page.wait_for_url("**/?load=105*")
            await expect(page.locator(".reading")).to_contain_text("At 105 % load, 42 % of sync clients time out")
        await context.close()
    assert drawn[0] == drawn[1]
    assert complaints.messages == []


async def test_a_point_appears_when_a_run_ends(service: Service, browser: Browser, complaints: Complaints) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await open_page(context, complaints, service.url)
    await expect(page.locator("#status")).to_contain_text("Live")
    await page.get_by_role("button", name="Measure at this load").click()
    await expect(page.get_by_role("button", name="Running…")).to_be_disabled()
    # The button says so before the run is stored.
    id = await until(lambda: service.engine.pool.fetchval("SELECT id FROM benchmarks"))
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert answer.status == 200
    await expect(page.get_by_role("button", name="Measure at this load")).to_be_enabled()
    await expect(page.locator("#cliff-points circle")).to_have_count(0)
    done = await finished_run(service.engine)
    service.engine.hub.publish_event("benchmark", {"id": str(done), "status": "COMPLETED", "progress": 1.0})
    await expect(page.locator("#cliff-points circle")).to_have_count(1)
    await expect(page.locator("#cliff-measured")).to_contain_text("Measured at 120 % load")
    assert await same_document(page)
    await context.close()
    assert complaints.messages == []


async def test_the_end_of_a_run_is_seen_while_the_page_is_paused(
    service: Service, browser: Browser, complaints: Complaints
) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    page = await open_page(context, complaints, service.url)
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_role("button", name="Measure at this load").click()
    id = await until(lambda: service.engine.pool.fetchval("SELECT id FROM benchmarks"))
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert answer.status == 200
    await expect(page.get_by_role("button", name="Measure at this load")).to_be_enabled(timeout=2 * LATE_MS)
    await context.close()
    assert complaints.messages == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
async def test_axe_finds_nothing_on_any_step(service: Service, browser: Browser, scheme: Any, width: int) -> None:
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True, reduced_motion="reduce"
    )
    page = await context.new_page()
    await finished_run(service.engine)
    await page.goto(service.url)
    for number in (1, 5):
        await page.locator(f"[data-step='{number}']").click()
        await expect_step(page, number)
        assert await findings(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    await context.close()
