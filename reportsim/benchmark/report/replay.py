"""A finished run as one HTML file that plays it: the picture of the report, uncovered as time passes.

At most `ROWS` requests of each side are drawn and counted, which bounds the file, whatever the run.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from markupsafe import Markup

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.pulled_plug import find_pulled_plug
from reportsim.benchmark.report.charts.gantt import Stretch, choose_stretch, draw_stretch, left
from reportsim.benchmark.report.page import describe_plan, describe_title, template_environment
from reportsim.benchmark.report.style import STYLE, hash_source
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.results.verdict import (
    SideOutcome,
    describe_distrust,
    describe_plug,
    describe_race,
    split_verdict,
)
from reportsim.core.number_format import duration

REPLAY_STYLE: Final = f"""{STYLE}
.player{{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem 1rem;margin-top:1rem}}
.player[hidden]{{display:none}}
.player input{{flex:1 1 12rem;min-width:0;min-height:1.5rem;accent-color:light-dark(#0b5cad,#6cb6ff)}}
.player output{{min-width:4.5rem;font-variant-numeric:tabular-nums}}
.player :is(button,select){{font:inherit;color:inherit;padding:.25rem .75rem;min-height:2.25rem;border-radius:.4rem;
border:1px solid light-dark(#6b7580,#8b96a2);background:light-dark(#f6f8fa,#171d24)}}
.player button{{min-width:5.5rem}}
:focus-visible{{outline:3px solid light-dark(#0b5cad,#6cb6ff);outline-offset:2px}}
.scores{{margin:1rem 0 0;overflow-x:auto}}
.scores table{{font-size:1rem}}
.scores td{{font-weight:600;white-space:nowrap}}
.scores :is(th,td){{padding-inline-end:.6rem}}
.scores .lost:not(.none){{color:light-dark(#b3261e,#ff8f87)}}
@media (max-width:30rem){{
.scores table{{width:100%;font-size:.8125rem}}
.scores :is(th,td){{padding-inline-end:.3rem}}
.scores :is(th,td):last-child{{padding-inline-end:0}}
}}
@media print{{.player{{display:none}}}}
"""
SPEEDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
# What a replay should take.
SHORTEST_S: Final = 2.0
LONGEST_S: Final = 15.0
ENDED_AT_CLIENT: Final = frozenset(
    {Outcome.CLIENT_TIMEOUT, Outcome.REFUSED, Outcome.SHED, Outcome.HTTP_4XX, Outcome.HTTP_5XX}
)


@functools.cache
def replay_script() -> str:
    """The script of the file."""
    return (resources.files("reportsim") / "static" / "replay.js").read_text(encoding="utf-8")


def replay_policy() -> str:
    """The policy of the file: nothing from elsewhere, and just its own style and script."""
    style, script = hash_source(REPLAY_STYLE), hash_source(replay_script())
    return f"default-src 'none'; style-src {style}; script-src {script}; img-src data:"


@dataclass(frozen=True, slots=True)
class RecordedSide:
    """The moments of the requests of one side, in seconds on the axis of the picture; None: it did not happen."""

    name: str
    sent: list[float]
    gone: list[float]
    """The client's connection ended."""
    result: list[float | None]
    lost: list[float | None]
    """It was certain that no result would come."""
    gave_up: int

    @property
    def outcome(self) -> SideOutcome:
        """What the side came to."""
        return SideOutcome(
            offered=len(self.sent),
            results=sum(moment is not None for moment in self.result),
            gave_up=self.gave_up,
            connected_s=sum(gone - sent for sent, gone in zip(self.sent, self.gone, strict=True)),
        )

    @property
    def without_result(self) -> int:
        """How many clients were left without a result."""
        return sum(moment is not None for moment in self.lost)

    @property
    def connected_text(self) -> str:
        """For how long clients were connected."""
        return duration(self.outcome.connected_s) if self.outcome.connected_s else "0 s"

    @property
    def moments(self) -> dict[str, Any]:
        """The moments to a tenth of a millisecond, for the script."""
        columns: dict[str, Sequence[float | None]] = {
            "sent": self.sent,
            "gone": self.gone,
            "result": self.result,
            "lost": self.lost,
        }
        return {
            "name": self.name,
            **{
                name: [None if moment is None else round(moment, 4) for moment in column]
                for name, column in columns.items()
            },
        }


def html_replay(
    plan: Plan,
    result: Mapping[str, Any],
    samples: Mapping[str, Samples],
    *,
    id: str | None = None,
    finished_at: str | None = None,
) -> str:
    """The whole file; `id` and `finished_at` are shown as they are given."""
    sides = [samples[side.name] for side in plan.sides]
    stretch = choose_stretch(plan, *sides)
    recorded = [record_side(plan, side, stretch) for side in sides]
    length_s = stretch.x.high - stretch.x.low
    return (
        template_environment()
        .get_template("replay.html")
        .render(
            policy=replay_policy(),
            style=Markup(REPLAY_STYLE),
            script=Markup(replay_script()),
            title=describe_title(plan),
            facts=describe_plan(plan),
            about=" · ".join(part for part in (f"run {id}" if id else "", finished_at) if part),
            verdict=describe_outcome(plan, result, recorded),
            distrust=describe_distrust(result),
            sides=recorded,
            offered=len(sides[0]),
            stretch=stretch,
            picture=Markup(draw_stretch(plan, stretch, *sides, plug=find_pulled_plug(result))),
            axis={
                "start": round(stretch.x.low, 4),
                "end": round(stretch.x.high, 4),
                "left": stretch.x.start,
                "right": stretch.x.end,
            },
            length=duration(length_s),
            speeds=SPEEDS,
            speed=choose_speed(length_s),
        )
    )


def describe_outcome(plan: Plan, result: Mapping[str, Any], recorded: list[RecordedSide]) -> list[str]:
    """What the run came to, in sentences."""
    if plan.together:
        first, second = recorded
        plug = find_pulled_plug(result)
        sentences = split_verdict(describe_race(first.outcome, second.outcome))
        return [*([describe_plug(plug)] if plug else []), *sentences]
    return split_verdict(result["verdict"])


def choose_speed(length_s: float) -> float:
    """The speed closest to that of the run at which a replay takes neither a moment nor too long."""
    fitting = [speed for speed in SPEEDS if SHORTEST_S <= length_s / speed <= LONGEST_S]
    extreme = SPEEDS[0] if length_s < SHORTEST_S else SPEEDS[-1]
    return min(fitting, key=lambda speed: abs(math.log(speed)), default=extreme)


def record_side(plan: Plan, side: Samples, stretch: Stretch) -> RecordedSide:
    """The moments of the requests that are drawn."""
    indices = stretch.indices
    sent = [side.due[index] if math.isnan(side.sent[index]) else side.sent[index] for index in indices]
    gone = [
        begun if math.isnan(end := left(plan, side, index)) else max(end, begun)
        for begun, index in zip(sent, indices, strict=True)
    ]
    return RecordedSide(
        name=side.side,
        sent=sent,
        gone=gone,
        result=[side.result[index] if side.resolved(index) else None for index in indices],
        lost=[lost_at(side, index, end, stretch.x.high) for index, end in zip(indices, gone, strict=True)],
        gave_up=sum(side.outcomes[index] == Outcome.CLIENT_TIMEOUT for index in indices),
    )


def lost_at(side: Samples, index: int, gone: float, end: float) -> float | None:
    """When it was certain that a request had no result; the end of the picture where nothing else said so."""
    if side.resolved(index):
        return None
    if side.outcomes[index] in ENDED_AT_CLIENT:
        return gone
    return end if math.isnan(side.result[index]) else side.result[index]
