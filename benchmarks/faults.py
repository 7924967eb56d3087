"""What faults cost: the figures that the fault tests measure on the way, gathered: `python -m benchmarks.faults`.

Take-over after kill -9, recovery after a crash of the database, the way out under load, a thousand event streams.
Beside each figure that was aimed at stands the limit; one that is missed, or not found, makes the exit code 1.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
SEEN = {
    "two replicas": "tests/faults/test_two_servers.py",
    "one sees the other": "tests/engine/test_replication.py::TestWhatOneDoes::test_is_shown_on_a_page_of_the_other",
    "through a pooler": "tests/engine/test_pooler.py::test_changes_are_polled_for_and_that_is_said_once",
    "the database crashes": "tests/faults/test_database_restart.py",
    "SIGTERM under load": "tests/faults/test_stopping.py::test_nobody_notices_but_for_being_sent_elsewhere",
    "event streams": "tests/faults/test_streams.py",
    "kill -9, ten times": "tests/faults/test_mixed_kill.py",
}


@dataclass(frozen=True)
class Limit:
    """A figure that a test prints, and what it may be at most."""

    name: str
    pattern: str
    most: float
    unit: str

    def judge(self, text: str) -> tuple[bool, str]:
        """Whether the worst of all such figures is within the limit, and how that is said."""
        found = [float(figure) for figure in re.findall(self.pattern, text)]
        if not found:
            return False, f"{self.name}: no figure (limit {self.most:g} {self.unit}): MISSED"
        worst = max(found)
        kept = worst <= self.most
        return kept, f"{self.name}: {worst:g} {self.unit} (limit {self.most:g}): {'kept' if kept else 'MISSED'}"


# The leases of the servers under test are a second long.
LEASE_S: Final = 1.0
LIMITS: Final = {
    "two replicas": [Limit("taken over within a lease and 2 s", r"all ended ([\d.]+) s after", LEASE_S + 2, "s")],
    "one sees the other": [Limit("shown on the other's page", r"after at most ([\d.]+) s", 1.0, "s")],
    "event streams": [
        Limit("lag of those who read, p99", r"p99 (\d+) ms", 100, "ms"),
        Limit("growth of the memory", r"([+-][\d.]+) MB until", 20, "MB"),
        Limit("gone after its client", r"forgotten after ([\d.]+) s", 1.0, "s"),
    ],
}
# What pytest says by itself: its dots, and its last line.
OF_PYTEST = re.compile(r"[.sxFE]*(\s*\[ *\d+%\])?|\d+ (passed|failed|skipped).*")


def main() -> int:
    """Runs the tests and prints what they say, beside their limits; a failure is printed whole."""
    failed = False
    for name, test in SEEN.items():
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", test]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(f"{name}:")
        lines = done.stdout.splitlines()
        kept = lines if done.returncode else [line for line in lines if not OF_PYTEST.fullmatch(line)]
        print("\n".join(f"  {line}" for line in kept), flush=True)
        judged = [limit.judge(done.stdout) for limit in LIMITS.get(name, [])]
        for _, said in judged:
            print(f"  {said}", flush=True)
        failed = failed or done.returncode != 0 or not all(kept for kept, _ in judged)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
