"""Running the server as another user than root, who needs access to its folders and programs."""

import pwd
from pathlib import Path
from typing import Final

from reportsim.store.embedded_postgres.processes import run_program

ROOT_RUNS_AS: Final = "pgserver"


def choose_owner(folder: Path) -> pwd.struct_passwd:
    """Choose the user that runs the server instead of root: the folder's owner, or a user created for it."""
    if folder.exists() and (uid := folder.stat().st_uid):
        return pwd.getpwuid(uid)
    if all(entry.pw_name != ROOT_RUNS_AS for entry in pwd.getpwall()):
        run_program(["useradd", "--system", ROOT_RUNS_AS])
    return pwd.getpwnam(ROOT_RUNS_AS)


def open_for_traversal(path: Path) -> None:
    """Add the execute permission to the folders above a path that lack it, not the read permission."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def open_for_reading(package: Path) -> None:
    """Make the wheel's own files readable, when they were installed under a umask that made them private."""
    if package.stat().st_mode & 0o005 == 0o005:
        return
    for tree in package.parent.glob(f"{package.name}*"):
        for path in (tree, *tree.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | (0o005 if mode & 0o100 else 0o004))
