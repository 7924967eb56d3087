"""What faults cost: the figures that the fault tests measure on the way, gathered: `python -m benchmarks.faults`.

Take-over after kill -9, recovery after a crash of the database, the way out under load, a thousand event streams.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEEN = {
    "two replicas": "tests/faults/test_two_servers.py",
    "one sees the other": "tests/engine/test_replicas.py::TestWhatOneDoes::test_is_shown_on_a_page_of_the_other",
    "through a pooler": "tests/engine/test_pooler.py::test_changes_are_polled_for_and_that_is_said_once",
    "the database crashes": "tests/faults/test_database_restart.py",
    "SIGTERM under load": "tests/faults/test_stopping.py::test_nobody_notices_but_for_being_sent_elsewhere",
    "event streams": "tests/faults/test_streams.py",
    "kill -9, ten times": "tests/faults/test_mixed_kill.py",
}
# What pytest says by itself: its dots, and its last line.
OF_PYTEST = re.compile(r"[.sxFE]*(\s*\[ *\d+%\])?|\d+ (passed|failed|skipped).*")


def main() -> int:
    """Runs the tests and prints what they say; a failure is printed whole."""
    failed = 0
    for name, test in SEEN.items():
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", test]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(f"{name}:")
        lines = done.stdout.splitlines()
        kept = lines if done.returncode else [line for line in lines if not OF_PYTEST.fullmatch(line)]
        print("\n".join(f"  {line}" for line in kept), flush=True)
        failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
