"""How a measurement goes on, in a terminal: sent, answered, waiting, lag."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from reportsim.core.number_format import duration
from reportsim.measure.measurement import Measurement
from reportsim.tasks import in_background

# Drawing takes milliseconds of the loop that sends.
EVERY_S = 0.5


def describe(measurement: Measurement) -> str:
    """The numbers at this moment."""
    loads = measurement.loads.values()
    sent, answered = sum(load.sent for load in loads), sum(load.answered for load in loads)
    # Requests of a block that are not due yet are open, too.
    begun = sum(load.samples.bounds[max(load.starts, default=-1) + 1] for load in loads)
    waiting = sum(len(load.open | load.missing) for load in loads) - (begun - sent)
    lag = max((load.worst_lag_s for load in loads), default=0.0)
    return f"sent {sent:,} · answered {answered:,} · waiting {max(waiting, 0):,} · lag {duration(lag)}"


@contextlib.asynccontextmanager
async def shown(console: Console, measurement: Measurement) -> AsyncIterator[None]:
    """Shows a measurement in a terminal as long as the context lasts; elsewhere nothing."""
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # Rich's own refreshing would be a thread, which stops the loop at any moment.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("beginning", total=1.0)

        async def refresh() -> None:
            while True:
                await asyncio.sleep(EVERY_S)
                total = sum(len(load.samples) for load in measurement.loads.values())
                sent = sum(load.sent for load in measurement.loads.values())
                bar.update(task, completed=sent / max(total, 1), description=describe(measurement))
                bar.refresh()

        async with in_background(refresh(), names=("measure-progress",)):
            yield
