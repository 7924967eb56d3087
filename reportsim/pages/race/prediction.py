"""The race as the event simulation predicts it, before anything runs."""

from collections.abc import Sequence
from typing import Final

from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.theory.simulation import simulate
from reportsim.core.model import Mode
from reportsim.pages.filters import duration
from reportsim.pages.race.controls import RaceControls
from reportsim.pages.race.model import NONE, Attempt, Race, RaceRequest, RaceSide, last_ms

# The time that a 202 or a callback is assumed to take before a race has measured it on this machine.
ACCEPT_MS: Final = 4.0


def predict_race(controls: RaceControls, waits_s: Sequence[float], measured_ms: float | None = None) -> Race:
    """Simulates the race with the same service times that the server will draw.

    `measured_ms` is the time that a 202 took in the newest race, and a callback.
    """
    accept_ms = ACCEPT_MS if measured_ms is None else measured_ms
    services_s = make_schedule(controls.plan).services
    flow = simulate([0.0] * len(services_s), services_s, workers=controls.workers)
    sides = []
    for mode in Mode:
        requests = [
            predict_request(controls, mode, number, 1000 * start, 1000 * end, waits_s, accept_ms)
            for number, (start, end) in enumerate(zip(flow.starts, flow.ends, strict=True), 1)
        ]
        sides.append(RaceSide(mode=mode, requests=requests, now=last_ms(requests)))
    took = duration(accept_ms)
    basis = f"A 202 and a callback each take {took} here, as in the newest race."
    if measured_ms is None:
        basis = f"A 202 and a callback are assumed to take {took} each, until a race has measured it here."
    return Race(sides=sides, predicted=True, basis=basis)


def predict_request(
    controls: RaceControls,
    mode: Mode,
    number: int,
    started: float,
    ended: float,
    waits_s: Sequence[float],
    accept_ms: float,
) -> RaceRequest:
    """One request of one side, given when the worker starts and ends."""
    timeout_ms = 1000 * controls.client_timeout_s
    if mode is Mode.SYNC:
        gave_up = ended > timeout_ms
        disconnected = min(ended, timeout_ms)
        result = NONE if gave_up else ended
        return RaceRequest(
            number=number,
            mode=mode,
            disconnected=disconnected,
            started=started,
            ended=ended,
            result=result,
            gave_up=gave_up,
        )
    last_wait = waits_s[-1] if waits_s else 0.0
    waits = [*waits_s, *[last_wait] * controls.callback_failures][: controls.callback_failures]
    attempts, at = [], ended
    for wait in waits:
        attempts.append(Attempt(start=at, end=at + accept_ms, delivered=False))
        at += accept_ms + 1000 * wait
    attempts.append(Attempt(start=at, end=at + accept_ms, delivered=True))
    return RaceRequest(
        number=number,
        mode=mode,
        disconnected=accept_ms,
        started=started,
        ended=ended,
        result=at + accept_ms,
        attempts=attempts,
    )
