"""What the page costs with a full table and under many changes: `python -m benchmarks.page [SECONDS]`."""

import asyncio
import shutil
import statistics
import sys
import time
from itertools import pairwise
from typing import Any, Final

import aiohttp
import psutil
from playwright.async_api import CDPSession, Page, async_playwright

from benchmarks.server import Server, running

ROWS: Final = 10_000
AT_ONCE: Final = 100
LOOKS: Final = 50
ROUNDS: Final = 3
CHANGES: Final = 50
OPTIONS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
TINY: Final = {"ledger": "tiny"}
OBSERVE: Final = """
window.longest = 0
window.tasks = 0
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) { window.longest = Math.max(window.longest, entry.duration); window.tasks++ }
}).observe({ type: 'longtask', buffered: false })
"""
PAINT: Final = """
() => {
  const [navigation] = performance.getEntriesByType('navigation')
  const paint = performance.getEntriesByName('first-contentful-paint')[0]
  return [navigation.responseStart - navigation.requestStart, paint ? paint.startTime : null]
}
"""


async def fill(client: aiohttp.ClientSession, count: int) -> None:
    """Asks for so many reports and waits for their end."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask() -> None:
        async with places, client.post("/api/async", json=TINY) as answer:
            answer.raise_for_status()

    await asyncio.gather(*(ask() for _ in range(count)))
    while True:
        async with client.get("/api/requests?status=PENDING&limit=1") as answer:
            if not (await answer.json())["items"]:
                return
        await asyncio.sleep(0.5)


async def look(client: aiohttp.ClientSession, server: Server) -> None:
    """The server's own time for the page, by the clock and by CPU time of service and database."""
    service = psutil.Process(server.pid)
    for path in ("/", "/?fragment=list"):
        walls, cpus = [], []
        for _ in range(ROUNDS):
            before, times = cpu_of(service), []
            for _ in range(LOOKS):
                start = time.perf_counter()
                async with client.get(path) as answer:
                    await answer.read()
                    assert answer.status == 200
                times.append(1000 * (time.perf_counter() - start))
            walls.append(statistics.median(times))
            cpus.append(1000 * (cpu_of(service) - before) / LOOKS)
        print(
            f"{path}: {statistics.median(walls):.1f} ms by the clock (aim: < 100), {statistics.median(cpus):.1f} ms of"
            f" CPU in the service; medians of {ROUNDS} times {LOOKS}"
        )


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def paint(page: Page, url: str) -> None:
    """The first paint as the browser saw it."""
    seen = []
    for _ in range(ROUNDS):
        await page.goto(url)
        await page.wait_for_timeout(500)
        seen.append(await page.evaluate(PAINT))
    waits, paints = zip(*seen, strict=True)
    wait, painted = statistics.median(waits), statistics.median(paints)
    print(f"in Chromium: first byte after {wait:.0f} ms, first paint after {painted:.0f} ms")


async def change(client: aiohttp.ClientSession, seconds: float) -> int:
    """Asks for reports at a steady rate; each changes two to three times."""
    start, sent = time.monotonic(), 0
    tasks = set()

    async def ask() -> None:
        async with client.post("/api/async", json=TINY) as answer:
            await answer.read()

    while (passed := time.monotonic() - start) < seconds:
        if sent < passed * CHANGES:
            task = asyncio.create_task(ask())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        else:
            await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    return sent


async def memory(session: CDPSession) -> tuple[float, int]:
    """Megabytes of the page's heap after a collection, and how many nodes it has."""
    await session.send("HeapProfiler.collectGarbage")
    metrics: dict[str, Any] = {
        item["name"]: item["value"] for item in (await session.send("Performance.getMetrics"))["metrics"]
    }
    return metrics["JSHeapUsedSize"] / 1e6, int(metrics["Nodes"])


async def flood(page: Page, client: aiohttp.ClientSession, seconds: float) -> None:
    """The page while requests come in and change: its longest task, its memory."""
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    await page.evaluate(OBSERVE)
    held = [await memory(session)]
    longest, sent = [], 0
    for _ in range(ROUNDS):
        await page.evaluate("window.longest = 0")
        sent += await change(client, seconds / ROUNDS)
        longest.append(await page.evaluate("window.longest"))
        held.append(await memory(session))
    print(
        f"{sent / seconds:.0f} requests a second for {seconds:.0f} s: the longest task of each third was"
        f" {', '.join(f'{task:.0f}' for task in longest)} ms (aim: < 100; none above 50 is 0)"
    )
    print(f"heap after collections: {', '.join(f'{size:.1f}' for size, _ in held)} MB")
    print(f"nodes: {', '.join(str(nodes) for _, nodes in held)}")
    growth = [later - earlier for (earlier, _), (later, _) in pairwise(held[1:])]
    print(f"growth between the thirds: {', '.join(f'{step:+.2f}' for step in growth)} MB (aim: none)")


async def main() -> None:
    """Fills a table, looks at the page, and floods it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    path = shutil.which("chromium") or shutil.which("google-chrome-stable")
    with running() as server:
        async with aiohttp.ClientSession(server.url) as client, async_playwright() as playwright:
            await fill(client, ROWS)
            await look(client, server)
            browser = await playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
            page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
            await paint(page, server.url)
            await flood(page, client, seconds)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
