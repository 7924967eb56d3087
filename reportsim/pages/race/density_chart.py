"""The density chart of service times, with the share that exceeds the client time-out."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from reportsim.core.number_format import percent
from reportsim.core.service_time import ServiceTime
from reportsim.pages.filters import duration

POINTS: Final = 80
# The chart reaches to the quantile that this share exceeds, or a little beyond the time-out.
TAIL: Final = 0.02


@dataclass(frozen=True, slots=True)
class DensityChart:
    """A density as SVG paths in a 100 by 100 view box, and where the client time-out is on the x axis."""

    curve: str
    beyond: str
    """The part of the area beyond the time-out."""
    timeout: float
    longest: str
    share: str
    description: str


def draw_density(service: ServiceTime, timeout_s: float) -> DensityChart:
    """Draws the density of a distribution and the share beyond the time-out."""
    assert service.parameters is not None
    parameters, timeout = service.parameters, 1000 * timeout_s
    longest = max(1000 * service.quantile_s(1 - TAIL), 1.15 * timeout, 1.0)
    tails = [service.survival(longest * step / POINTS) for step in range(POINTS + 1)]
    heights = [max(before - after, 0.0) for before, after in pairwise(tails)]
    top = max(heights, default=1.0) or 1.0
    points = [((step + 0.5) * 100 / POINTS, 96 - 92 * height / top) for step, height in enumerate(heights)]
    at = 100 * timeout / longest
    share = service.survival(timeout)
    spread = f"{parameters['distribution']}, mean {duration(1000 * service.mean_s)}"
    share_text = percent(share)
    return DensityChart(
        curve=outline(points, 0.0, 100.0),
        beyond=outline([point for point in points if point[0] >= at], at, 100.0),
        timeout=round(at, 2),
        longest=duration(longest),
        share=share_text,
        description=f"Service times: {spread}. {share_text} exceed the client time-out, even without queueing.",
    )


def outline(points: list[tuple[float, float]], start: float, end: float) -> str:
    """The path of the area between some points and the baseline."""
    steps = " ".join(f"{x:.2f} {y:.2f}" for x, y in points)
    return f"M{start:.2f} 96 L{steps} L{end:.2f} 96Z" if points else ""
