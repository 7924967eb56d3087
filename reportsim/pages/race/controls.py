"""The controls of the race: the form with its bounds, and the plan that it describes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.workload import Arrivals
from reportsim.core.service_time import LONGEST_MS, ServiceTime
from reportsim.pages.forms import parse_number
from reportsim.pages.race.density_chart import DensityChart, draw_density
from reportsim.pages.service_time_form import DISTRIBUTIONS, service_time
from reportsim.reports.fields import Number, Whole


class RaceForm(Schema):
    """The controls of the race and their bounds; named as in the API where it has the same field."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE

    requests = Whole(load_default=12, validate=validate.Range(2, 24))
    workers = Whole(load_default=3, validate=validate.Range(1, 8))
    distribution = fields.String(load_default="exponential", validate=validate.OneOf(DISTRIBUTIONS))
    mean_ms = Number(load_default=800, validate=validate.Range(50, 5_000))
    sigma = Number(load_default=1.0, validate=validate.Range(0.1, 1.5))
    slow_share = Number(load_default=0.1, validate=validate.Range(0.01, 0.5))
    client_timeout_s = Number(load_default=3, validate=validate.Range(0.2, 30))
    callback_failures = Whole(load_default=0, validate=validate.Range(0, 2))
    seed = Whole(load_default=7, validate=validate.Range(0, 2**31 - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceControls:
    """The values of the controls."""

    requests: int
    workers: int
    distribution: str
    mean_ms: float
    sigma: float
    slow_share: float
    client_timeout_s: float
    callback_failures: int
    seed: int

    @property
    def service_time(self) -> dict[str, Any]:
        """The distribution of service times, as in the API."""
        return service_time(self.distribution, mean_ms=self.mean_ms, sigma=self.sigma, slow_share=self.slow_share)

    @property
    def density_chart(self) -> DensityChart:
        """The density of the service times, with the client time-out."""
        return draw_density(ServiceTime(self.service_time, LONGEST_MS), self.client_timeout_s)

    @property
    def plan(self) -> Plan:
        """The race as a benchmark: one burst, on both sides at once."""
        return Plan(
            rate=self.requests,
            duration_s=1,
            arrivals=Arrivals.BURST,
            together=True,
            callback_failures=self.callback_failures,
            seed=self.seed,
            workers=self.workers,
            service_time=self.service_time,
            client_timeout_s=self.client_timeout_s,
            slo_s=self.client_timeout_s,
        )


def controls_of(plan: Plan) -> RaceControls:
    """The controls with which a race was started."""
    service = plan.service_time or {}
    defaults = read_controls({})
    return RaceControls(
        requests=round(plan.rate),
        workers=plan.workers,
        distribution=service.get("distribution", defaults.distribution),
        mean_ms=float(f"{1000 * plan.service.mean_s:.4g}"),
        sigma=service.get("sigma", defaults.sigma),
        slow_share=service.get("slow_share", defaults.slow_share),
        client_timeout_s=plan.client_timeout_s or defaults.client_timeout_s,
        callback_failures=plan.callback_failures,
        seed=plan.seed,
    )


def read_controls(given: Mapping[str, str]) -> RaceControls:
    """The controls from a form or a query string; missing ones have their default.

    Raises:
        marshmallow.ValidationError: A value is out of its bounds.
    """
    form = RaceForm()
    texts = {name: given[name] for name in form.fields if name in given}
    numbers = {name: parse_number(value) for name, value in texts.items() if name != "distribution"}
    return RaceControls(**form.load({**texts, **numbers}))
