"""That the plug was pulled in a race."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PulledPlug:
    """When the plug was pulled, in seconds on some clock, and for how long the workers stood still."""

    at_s: float
    frozen_s: float

    def since(self, start_s: float) -> "PulledPlug":
        """The same on a clock that starts at a moment; what was pulled before counts as pulled then."""
        return PulledPlug(max(self.at_s - start_s, 0.0), self.frozen_s)

    def as_json(self) -> dict[str, Any]:
        """As the API has it."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def find_pulled_plug(result: Mapping[str, Any]) -> PulledPlug | None:
    """The plug that was pulled in a run; results of older versions and of other services say nothing of it."""
    plug = result.get("plug")
    return PulledPlug(**plug) if plug else None
