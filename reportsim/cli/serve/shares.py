"""What each process of a service gets of the settings that are for the whole service."""

from dataclasses import replace

from reportsim.cli.errors import CommandError
from reportsim.core.database_address.url import parse_database_url
from reportsim.settings import Settings
from reportsim.store.pool import LEAST_CONNECTIONS, MOST_CONNECTIONS


def check_shares(settings: Settings, count: int) -> None:
    """Refuses more processes than there are worker slots: each needs one."""
    if settings.workers < count:
        raise CommandError(
            f"--processes {count} needs a worker slot for each: set REPORTSIM_WORKERS to {count} or more"
            f" (it is {settings.workers})"
        )


def share_settings(settings: Settings, index: int, count: int) -> Settings:
    """The settings of one process: its part of what the service may have at once, and everything else as it is."""
    address = parse_database_url(settings.database_url or "")
    connections = settings.pool_size or address.connections or MOST_CONNECTIONS
    return replace(
        settings,
        workers=settings.workers // count + (index < settings.workers % count),
        sync_max=-(-settings.sync_max // count),
        connections_max=-(-settings.connections_max // count),
        callback_rate=settings.callback_rate / count,
        reports_max_mb=max(settings.reports_max_mb // count, 1),
        pool_size=max(connections // count, LEAST_CONNECTIONS),
    )
