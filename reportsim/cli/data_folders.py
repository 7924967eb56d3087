"""The data folder of a command: there, and writable, before anything is started."""

import tempfile
from pathlib import Path

from reportsim.cli.errors import CommandError
from reportsim.settings import Settings


def make_data_folders(settings: Settings) -> None:
    """Makes the data folder and that of the reports, closed to other users, and checks that files can be written."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.reports_dir.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.reports_dir) as probe:
            probe.write(bytes(1 << 12))
    except OSError as error:
        raise CommandError(unusable(settings.data_dir, error)) from None


def unusable(folder: Path, error: OSError) -> str:
    """Why a data folder cannot be used, and what to do."""
    where = error.filename if error.filename is not None else folder
    shown = str(where) if len(str(where)) <= 200 else f"{str(where)[:200]}…"
    reason = error.strerror or str(error)
    return f"REPORTSIM_DATA_DIR: {shown!r}: {reason}: name a folder that this user may write to"
