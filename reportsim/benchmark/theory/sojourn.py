"""How long customers stay, from the states that they find: exact, by uniformisation (A. Jensen, 1953).

A Markov chain in continuous time is a chain in discrete time whose steps come with a Poisson process: everything is a
sum over the number of steps, each weighed by its Poisson probability.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Final

# Poisson terms farther out than this many standard deviations (and as many steps) add nothing to a double.
FAR: Final = 10.0
# A part of the customers that no longer matters.
DUST: Final = 1e-15


def poisson_window(mean: float) -> tuple[int, list[float]]:
    """The Poisson probabilities that matter: the first number of steps, and the probabilities from it on."""
    reach = FAR * math.sqrt(mean) + FAR
    first, last = max(int(mean - reach), 0), int(mean + reach) + 1
    mode = int(mean)
    peak = math.exp(mode * math.log(mean) - mean - math.lgamma(mode + 1)) if mean else 1.0
    up, down = [peak], []
    for number in range(mode + 1, last + 1):
        up.append(up[-1] * mean / number)
    below = peak
    for number in range(mode, first, -1):
        below *= number / mean
        down.append(below)
    weights = down[::-1] + up
    total = math.fsum(weights)
    return first, [weight / total for weight in weights]


class Sojourn:
    """P(sojourn > t) in a first-come first-served queue with exponential service and, if wanted, patience."""

    def __init__(self, seen: Sequence[float], workers: int, mean_s: float, patience_s: float = math.inf) -> None:
        """`seen[n]` is the probability that an arriving customer is let in and finds n others in the system.

        `patience_s` is the mean of an exponential patience on the wait. The sojourn of who leaves ends then.
        """
        let_in = math.fsum(seen)
        self._waiting = [share / let_in for share in seen[workers:]]
        self._serving = math.fsum(seen[:workers]) / let_in
        self._finish = 1 / mean_s
        self._forward = workers / mean_s
        self._leave = 1 / patience_s
        # Every customer ahead may leave as well as the customer in question.
        self._steps_per_s = self._forward + (len(self._waiting) + 1) * self._leave
        self._present = [1.0]
        self._gone = 0
        self._behind = [*itertools.accumulate(reversed(self._waiting), initial=0.0)][::-1]

    def tail(self, t: float) -> float:
        """P(sojourn > t), t in seconds."""
        if t <= 0:
            return self._present[0]
        first, weights = poisson_window(self._steps_per_s * t)
        while len(self._present) < first + len(weights) and self._present[-1] > DUST:
            self._step()
        present = self._present[first : first + len(weights)]
        return math.fsum(weight * share for weight, share in zip(weights, present, strict=False))

    def _step(self) -> None:
        """One step of the discrete chain: waiting customers move forward or leave, served ones stay or finish."""
        scale = 1 / self._steps_per_s
        first = self._waiting[self._gone] if self._gone < len(self._waiting) else 0.0
        self._serving += first * self._forward * scale - self._serving * self._finish * scale
        if self._leave:
            self._move_or_leave(self._forward * scale, self._leave * scale)
            self._present.append(math.fsum(self._waiting) + self._serving)
        else:
            # Without patience every step moves everyone forward.
            self._gone += 1
            self._present.append(self._behind[min(self._gone, len(self._waiting))] + self._serving)

    def _move_or_leave(self, forward: float, leave: float) -> None:
        moves = [share * (forward + k * leave) for k, share in enumerate(self._waiting)]
        ahead = len(moves)
        self._waiting = [
            share * ((ahead - k) * leave) + moved
            for k, (share, moved) in enumerate(zip(self._waiting, [*moves, 0.0][1:], strict=True))
        ]
