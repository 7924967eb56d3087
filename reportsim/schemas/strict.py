"""The base of all schemas that load client input."""

from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, pre_load

from reportsim.core.problems import MOST_ERRORS


class Strict(Schema):
    """A schema that refuses unknown fields."""

    class Meta:
        """marshmallow's options."""

        unknown = RAISE

    @pre_load
    def check_names(self, data: Any, **_: Any) -> Any:
        """Refuses many unknown names at once, since marshmallow takes quadratic time for them."""
        if self.unknown == RAISE and isinstance(data, Mapping) and len(data) > MOST_ERRORS:
            known = {field.data_key or name for name, field in self.load_fields.items()}
            unknown = [name for name in data if name not in known]
            if len(unknown) >= MOST_ERRORS:
                errors = {name: ["Unknown field."] for name in unknown[: MOST_ERRORS - 1]}
                raise ValidationError(
                    {**errors, "_schema": [f"And {len(unknown) - len(errors):,} more unknown fields."]}
                )
        return data
