"""A distribution of service times as a picture: its density, and how much of it is longer than clients wait."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from reportsim.core.number_format import percent
from reportsim.core.service_time import ServiceTime
from reportsim.pages.filters import duration

POINTS: Final = 80
# How far the picture reaches: to the time that all but so many stay below, or a little beyond the patience.
TAIL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Picture:
    """A density on a square of 100 by 100, y downwards, and the patience of clients on it."""

    curve: str
    beyond: str
    """The part of the area above the patience."""
    patience: float
    longest: str
    share: str
    words: str


def picture(service: ServiceTime, patience_s: float) -> Picture:
    """The picture of a distribution, with the share that takes longer than clients wait."""
    assert service.parameters is not None
    parameters, patience = service.parameters, 1000 * patience_s
    longest = max(1000 * service.quantile_s(1 - TAIL), 1.15 * patience, 1.0)
    tails = [service.survival(longest * step / POINTS) for step in range(POINTS + 1)]
    heights = [max(before - after, 0.0) for before, after in pairwise(tails)]
    top = max(heights, default=1.0) or 1.0
    points = [((step + 0.5) * 100 / POINTS, 96 - 92 * height / top) for step, height in enumerate(heights)]
    at = 100 * patience / longest
    share = service.survival(patience)
    spread = f"{parameters['distribution']}, {duration(1000 * service.mean_s)} in the mean"
    return Picture(
        curve=outline(points, 0.0, 100.0),
        beyond=outline([point for point in points if point[0] >= at], at, 100.0),
        patience=round(at, 2),
        longest=duration(longest),
        share=percent(share),
        words=f"Service times: {spread}. {percent(share)} take longer than clients wait, even with nobody before them.",
    )


def outline(points: list[tuple[float, float]], start: float, end: float) -> str:
    """The path of an area from the ground, over points, back to the ground."""
    steps = " ".join(f"{x:.2f} {y:.2f}" for x, y in points)
    return f"M{start:.2f} 96 L{steps} L{end:.2f} 96Z" if points else ""
