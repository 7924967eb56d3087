"""The schema of a distribution of service times."""

import functools
from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from reportsim.reports.fields import Number
from reportsim.schemas.strict import Strict

MAX_SERVICE_MS: Final = 60_000
milliseconds = functools.partial(Number, validate=validate.Range(0, MAX_SERVICE_MS))
share = functools.partial(Number, validate=validate.Range(0, 1))
PARAMETERS_OF_DISTRIBUTION: Final = {
    "fixed": {"mean_ms"},
    "exponential": {"mean_ms"},
    "uniform": {"min_ms", "max_ms"},
    "lognormal": {"median_ms", "sigma", "max_ms"},
    "bimodal": {"fast_ms", "slow_ms", "slow_share"},
}


class ServiceTime(Strict):
    """A distribution of service times, in milliseconds."""

    distribution = fields.String(required=True, validate=validate.OneOf(list(PARAMETERS_OF_DISTRIBUTION)))
    mean_ms = milliseconds()
    min_ms = milliseconds()
    max_ms = milliseconds()
    median_ms = milliseconds()
    sigma = Number(validate=validate.Range(0, 10))
    fast_ms = milliseconds()
    slow_ms = milliseconds()
    slow_share = share()

    @validates_schema(skip_on_field_errors=True)
    def check_parameters(self, data: dict[str, Any], **_: Any) -> None:
        """Each distribution has exactly its own parameters."""
        wanted = PARAMETERS_OF_DISTRIBUTION[data["distribution"]]
        given = data.keys() - {"distribution"}
        errors = {name: ["Missing data for required field."] for name in sorted(wanted - given)}
        errors |= {name: [f"Not a parameter of {data['distribution']}."] for name in sorted(given - wanted)}
        if not errors and data["distribution"] == "uniform" and data["min_ms"] > data["max_ms"]:
            errors["max_ms"] = ["Must not be below min_ms."]
        if errors:
            raise ValidationError(errors)
