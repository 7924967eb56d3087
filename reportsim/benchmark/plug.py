"""The plug of a service that was started for demonstration, to be pulled in the middle of a race.

Workers stand still, and all of this process's sessions on the database end. Whatever goes on afterwards is the same
recovery as from any other outage; the run only waits for it, and its result says that this is no measurement.
"""

import logging
import time
from typing import Final

from reportsim.benchmark.active_run import ActiveRun
from reportsim.benchmark.pulled_plug import PulledPlug
from reportsim.core.problems import Problem
from reportsim.engine.engine import Engine
from reportsim.store.pool import terminate_sessions

log = logging.getLogger(__name__)

FROZEN_S: Final = 2.0


class Plug:
    """Cuts one process off from its workers and its database, once in each race."""

    def __init__(self, engine: Engine, dsn: str, sessions: str) -> None:
        """Belongs to an engine whose sessions have a name; `dsn` leads to the same database."""
        self._engine = engine
        self._dsn = dsn
        self._sessions = sessions

    async def pull(self, run: ActiveRun) -> None:
        """Freezes the workers for two seconds and ends the sessions.

        Raises:
            Problem: The run is no race, has no requests under way, or has had its plug pulled.
        """
        if not run.plan.together or not run.has_load:
            raise Problem("conflict", "The plug can be pulled while the requests of a race are under way.")
        if run.plug is not None:
            raise Problem("conflict", "The plug has been pulled in this race.")
        run.plug = PulledPlug(time.monotonic(), FROZEN_S)
        self._engine.freeze.begin(FROZEN_S)
        ended = await terminate_sessions(self._dsn, self._sessions)
        log.warning("the plug was pulled: %d database sessions ended, workers stand still for %g s", ended, FROZEN_S)
