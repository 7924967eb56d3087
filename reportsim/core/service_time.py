"""The distributions of service times that `simulate` may ask for: draws, moments, quantiles and tails."""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Any, Final

# Letters of Kendall's notation, as far as it has any.
SYMBOLS: Final = {"fixed": "D", "exponential": "M", "uniform": "U", "lognormal": "LogN", "bimodal": "Bi"}
# The part of an exponential distribution above its bound that can be left out of every theory.
NEGLIGIBLE: Final = 1e-4
STANDARD: Final = NormalDist()
LONGEST_MS: Final = 60_000.0
"""Nothing is held for longer."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The whole time a slot is held, in seconds, and whether the report fails at its end."""

    service_s: float
    fails: bool


def draw(simulate: Mapping[str, Any]) -> Draw:
    """Draws for one request; the same seed gives the same draw, so that a second execution is the same execution."""
    source = Random(simulate["seed"])
    service = simulate.get("service_time")
    seconds = min(draw_service_ms(service, source), LONGEST_MS) / 1000 if service else 0.0
    return Draw(seconds, source.random() < simulate.get("failure_rate", 0))


def draw_service_ms(service: Mapping[str, Any], source: Random) -> float:
    """One service time in milliseconds."""
    match service["distribution"]:
        case "exponential":
            return source.expovariate(1 / service["mean_ms"]) if service["mean_ms"] else 0.0
        case "uniform":
            return source.uniform(service["min_ms"], service["max_ms"])
        case "lognormal":
            if not service["median_ms"]:
                return 0.0
            drawn = source.lognormvariate(math.log(service["median_ms"]), service["sigma"])
            return min(drawn, float(service["max_ms"]))
        case "bimodal":
            slow = source.random() < service["slow_share"]
            return float(service["slow_ms"] if slow else service["fast_ms"])
        case _:
            return float(service["mean_ms"])


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """A distribution of service times, its parameters in milliseconds as the API has them, its answers in seconds.

    None stands for no service time at all: a slot is held for an instant. Nothing is longer than `longest_ms`.
    """

    parameters: Mapping[str, Any] | None
    longest_ms: float = math.inf

    @property
    def symbol(self) -> str:
        """How the distribution is called within a model's name."""
        return SYMBOLS[self.parameters["distribution"]] if self.parameters else "D"

    @property
    def exponential(self) -> bool:
        """Whether theory may take it for an exponential distribution."""
        if not self.parameters or self.parameters["distribution"] != "exponential" or not self.parameters["mean_ms"]:
            return False
        return math.exp(-self.longest_ms / self.parameters["mean_ms"]) < NEGLIGIBLE

    @property
    def mean_s(self) -> float:
        """The mean in seconds."""
        return self._moment(1) / 1000

    @property
    def scv(self) -> float:
        """The squared coefficient of variation: variance over squared mean, 1 for the exponential distribution."""
        mean = self._moment(1)
        return max(self._moment(2) / mean**2 - 1, 0.0) if mean else 0.0

    def _moment(self, order: int) -> float:
        """E[X^order] for order 1 or 2, in milliseconds to that power."""
        if not self.parameters:
            return 0.0
        match self.parameters:
            case {"distribution": "exponential", "mean_ms": mean}:
                return bounded_exponential_moment(mean, self.longest_ms, order)
            case {"distribution": "uniform", "min_ms": low, "max_ms": high}:
                return float((low + high) / 2 if order == 1 else (low * low + low * high + high * high) / 3)
            case {"distribution": "lognormal", "median_ms": median, "sigma": sigma, "max_ms": longest}:
                return bounded_lognormal_moment(median, sigma, min(longest, self.longest_ms), order)
            case {"distribution": "bimodal", "fast_ms": fast, "slow_ms": slow, "slow_share": share}:
                return float(share * slow**order + (1 - share) * fast**order)
            case _:
                return float(self.parameters["mean_ms"] ** order)

    def quantile_s(self, share: float) -> float:
        """The time in seconds that this share (0 < share < 1) of all service times does not exceed."""
        return min(self._quantile_ms(share), self.longest_ms) / 1000

    def _quantile_ms(self, share: float) -> float:
        match self.parameters:
            case None:
                return 0.0
            case {"distribution": "exponential", "mean_ms": mean}:
                return float(-mean * math.log1p(-share))
            case {"distribution": "uniform", "min_ms": low, "max_ms": high}:
                return float(low + share * (high - low))
            case {"distribution": "lognormal", "median_ms": median, "sigma": sigma, "max_ms": longest}:
                return float(min(median * math.exp(sigma * STANDARD.inv_cdf(share)), longest))
            case {"distribution": "bimodal", "fast_ms": fast, "slow_ms": slow, "slow_share": slow_share}:
                # The order of the two is not prescribed.
                low, high, low_share = (fast, slow, 1 - slow_share) if fast <= slow else (slow, fast, slow_share)
                return float(low if share <= low_share else high)
            case parameters:
                return float(parameters["mean_ms"])

    def survival(self, milliseconds: float) -> float:
        """P(S > t) of the distribution, without the bound."""
        match self.parameters:
            case {"distribution": "exponential", "mean_ms": mean}:
                return math.exp(-milliseconds / mean) if mean else 0.0
            case {"distribution": "uniform", "min_ms": low, "max_ms": high}:
                if milliseconds < low:
                    return 1.0
                return (high - milliseconds) / (high - low) if milliseconds < high else 0.0
            case {"distribution": "lognormal", "median_ms": median, "sigma": sigma, "max_ms": longest}:
                if milliseconds >= longest or not median:
                    return 0.0
                if not sigma or milliseconds <= 0:
                    return float(milliseconds < median)
                return 1 - STANDARD.cdf(math.log(milliseconds / median) / sigma)
            case {"distribution": "bimodal", "fast_ms": fast, "slow_ms": slow, "slow_share": share}:
                return float((1 - share) * (fast > milliseconds) + share * (slow > milliseconds))
            case None:
                return 0.0
            case parameters:
                return float(parameters["mean_ms"] > milliseconds)

    def draw_s(self, source: Random) -> float:
        """One service time in seconds, from the function that the server draws with."""
        if not self.parameters:
            return 0.0
        return min(draw_service_ms(self.parameters, source), self.longest_ms) / 1000

    def draws_s(self, count: int, source: Random) -> "array[float]":
        """So many service times in seconds, distributed like `draw_s` but from one stream, and faster."""
        match self.parameters:
            case {"distribution": "exponential", "mean_ms": mean}:
                scale, longest = -mean / 1000, self.longest_ms / 1000
                return array("d", (min(scale * math.log(1 - source.random()), longest) for _ in range(count)))
            case {"distribution": "lognormal", "median_ms": median, "sigma": sigma, "max_ms": most} if median:
                mu, longest = math.log(median / 1000), min(most, self.longest_ms) / 1000
                return array("d", (min(math.exp(source.gauss(mu, sigma)), longest) for _ in range(count)))
            case _:
                return array("d", (self.draw_s(source) for _ in range(count)))


def bounded_exponential_moment(mean: float, longest: float, order: int) -> float:
    """E[min(X, longest)^order] of an exponential X, for order 1 or 2."""
    if not mean or math.isinf(longest):
        return float(order * mean**order)
    beyond = math.exp(-longest / mean)
    if order == 1:
        return mean * (1 - beyond)
    return 2 * mean * mean * (1 - beyond * (1 + longest / mean))


def bounded_lognormal_moment(median: float, sigma: float, longest: float, order: int) -> float:
    """E[min(X, longest)^order] of a lognormal X: the partial expectation below the bound, and the bound beyond it."""
    if not median or not longest:
        return 0.0
    if not sigma:
        return float(min(median, longest) ** order)
    whole = median**order * math.exp((order * sigma) ** 2 / 2)
    if math.isinf(longest):
        return float(whole)
    bound = math.log(longest / median) / sigma
    return float(whole * normal_below(bound - order * sigma) + longest**order * normal_below(-bound))


def normal_below(x: float) -> float:
    """The standard normal distribution function, accurate far below 0 as well."""
    return math.erfc(-x / math.sqrt(2)) / 2
