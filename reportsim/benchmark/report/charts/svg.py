"""SVG as text: elements, scales, axes. Presentation attributes only, since a strict policy blocks `style`.

Text and lines take the colour of the text around the picture (currentColor); everything else a palette with a contrast
of at least 3.8 on white and on the dark pages. What colours tell, patterns or words tell as well.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from reportsim.core.number_format import duration, three

BLUE: Final = "#2780ce"
ORANGE: Final = "#c16310"
GREEN: Final = "#298e4e"
AMBER: Final = "#a47404"
RED: Final = "#d45049"
GREY: Final = "#747f8b"
PURPLE: Final = "#9666cc"
PINK: Final = "#cb4d97"
TEAL: Final = "#238b8b"
BROWN: Final = "#af6c4b"

INK: Final = "#1b1f24"
FONT: Final = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
SMALL: Final = 11
Attribute = str | float | None


def number(value: float) -> str:
    """A coordinate to a hundredth, without trailing zeros."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def element(name: str, *children: str, **attributes: Attribute) -> str:
    """One element; `_` in names of attributes stands for `-`, None leaves one out. Children are markup already."""
    written = "".join(
        f" {key.strip('_').replace('_', '-')}={quoteattr(value if isinstance(value, str) else number(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    body = "".join(children)
    return f"<{name}{written}>{body}</{name}>" if body else f"<{name}{written}/>"


def text(x: float, y: float, content: str, *, anchor: str = "start", **attributes: Attribute) -> str:
    """A line of text; `anchor` is start, middle or end."""
    return element("text", escape(content), x=x, y=y, text_anchor=None if anchor == "start" else anchor, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: Attribute) -> str:
    """A line in the colour of text."""
    return element("path", d=path([(x1, y1), (x2, y2)]), **{"stroke": "currentColor", **attributes})


def rect(x: float, y: float, width: float, height: float, **attributes: Attribute) -> str:
    """A rectangle."""
    return element("rect", x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), **attributes)


def path(points: Iterable[tuple[float, float]]) -> str:
    """The `d` of a polyline."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def dots(points: Iterable[tuple[float, float]], colour: str, size: float, opacity: float) -> str:
    """Many dots as one path of round ends."""
    d = "".join(f"M{number(x)} {number(y)}h0" for x, y in points)
    if not d:
        return ""
    return element(
        "path", d=d, stroke=colour, stroke_width=size, stroke_linecap="round", stroke_opacity=opacity, fill="none"
    )


def hatch(id: str, colour: str, *, crossed: bool = False) -> str:
    """A pattern of diagonal lines over a pale ground; `fill="url(#id)"` draws with it."""
    d = "M-1 1l2-2M0 6l6-6M5 7l2-2" + ("M-1 5l2 2M0 0l6 6M5-1l2 2" if crossed else "")
    return element(
        "pattern",
        element("rect", width=6, height=6, fill=colour, fill_opacity=0.25),
        element("path", d=d, stroke=colour, stroke_width=1.5),
        id=id,
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    )


def document(
    width: float, height: float, id: str, title: str, about: str, *parts: str, paper: str | None = None
) -> str:
    """A whole picture with its name and description; `id` keeps it apart from others on the same page.

    On a page it takes the colours around it; a file of its own needs a colour of the `paper`, a light one.
    """
    ground = "" if paper is None else rect(0, 0, width, height, fill=paper)
    return element(
        "svg",
        element("title", escape(title), id=f"{id}-title"),
        element("desc", escape(about), id=f"{id}-desc"),
        ground,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{id}-title {id}-desc",
        font_family=FONT,
        font_size=12,
        fill="currentColor",
        color=None if paper is None else INK,
    )


@dataclass(frozen=True, slots=True)
class Linear:
    """Values low…high onto coordinates start…end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        span = self.high - self.low
        return self.start + (value - self.low) / span * (self.end - self.start) if span else self.start

    def ticks(self, about: int = 5) -> list[float]:
        """Round values at even steps of 1, 2 or 5 times a power of ten."""
        span = self.high - self.low
        raw = span / about
        # Below the smallest normal number, a power of ten may come out as 0.
        if not raw >= sys.float_info.min:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        near = span * 1e-9
        values = (index * step for index in range(first, last + 1))
        return [value for value in values if self.low - near <= value <= self.high + near]


@dataclass(frozen=True, slots=True)
class Log:
    """Values low…high, all above 0, onto coordinates start…end by their logarithm."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value; what is below the scale is drawn at its start."""
        value = max(value, self.low)
        span = math.log(self.high / self.low)
        return self.start + math.log(value / self.low) / span * (self.end - self.start) if span else self.start

    def ticks(self, about: int = 5) -> list[float]:
        """Powers of ten, with 2 and 5 times them where these are few."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1, 2, 5) if last - first <= about / 2 else (1,)
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        return [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]


def time_axis(scale: Linear | Log, y: float, top: float, name: str) -> str:
    """A horizontal axis of seconds, with faint lines up to `top`."""
    marks = [
        line(scale(tick), y + 4, scale(tick), top, stroke_opacity=0.2)
        + text(scale(tick), y + 16, clock(tick), anchor="middle", font_size=SMALL)
        for tick in scale.ticks(8)
    ]
    named = text((scale.start + scale.end) / 2, y + 31, name, anchor="middle", font_size=SMALL)
    return element("g", line(scale.start, y, scale.end, y), *marks, named)


def value_axis(scale: Linear | Log, x: float, right: float, *, times: bool, about: int = 5) -> str:
    """A vertical axis with faint lines up to `right`: of seconds, or of plain numbers."""
    marks = [
        line(x, scale(tick), right, scale(tick), stroke_opacity=0.2)
        + text(x - 6, scale(tick) + 4, clock(tick) if times else three(tick), anchor="end", font_size=SMALL)
        for tick in scale.ticks(about)
    ]
    return element("g", *marks)


def clock(seconds: float) -> str:
    """A time at an axis."""
    return duration(seconds) if seconds else "0"


def legend(x: float, y: float, entries: Sequence[tuple[str, str]]) -> str:
    """Swatches, 22 × 10 at the origin each, with their names in a row."""
    parts = []
    for swatch, name in entries:
        parts.append(element("g", swatch, transform=f"translate({number(x)} {number(y - 9)})"))
        parts.append(text(x + 27, y, name, font_size=SMALL))
        x += 27 + 5.8 * len(name) + 16
    return element("g", *parts)
