"""What is watched of a process while a block has the load."""

import asyncio

import pytest

from reportsim.benchmark.load.process_monitor import ProcessMonitor, watch_arrivals


@pytest.mark.parametrize("turns", range(4))
async def test_a_measurement_that_is_cancelled_as_it_leaves_a_block_ends(turns: int) -> None:
    blocks: list[int] = []
    answered = asyncio.Event()

    async def measure() -> None:
        for block in range(5):
            # The answer comes before the window of the block is over, as it does wherever the load is low.
            async with watch_arrivals(ProcessMonitor(), 1.0):
                await answered.wait()
            blocks.append(block)
            answered.clear()
            asyncio.get_running_loop().call_later(0.01, answered.set)

    measuring = asyncio.ensure_future(measure())
    await asyncio.sleep(0.01)
    answered.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(measuring), 3)
    assert len(blocks) <= 1


async def test_a_window_that_ends_in_time_is_no_error() -> None:
    monitor = ProcessMonitor()
    async with watch_arrivals(monitor, 0.05):
        await asyncio.sleep(0.1)
    assert monitor.lag_p99_ms is not None
