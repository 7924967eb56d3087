"""All benchmarks, one after the other: `python -m benchmarks`, or `python -m benchmarks NAME ...` for some.

Those that need what is not installed here say so and are left out.
"""

import runpy
import sys
from typing import Final

BENCHMARKS: Final = ("reports", "accept", "engine", "peers", "http", "callbacks", "simulation", "instrument", "faults")


def main(names: list[str]) -> int:
    """Runs some benchmarks, or all."""
    missing = []
    failed = False
    for name in names or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        sys.argv = [f"benchmarks/{name}.py"]
        try:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        except (ModuleNotFoundError, FileNotFoundError) as error:
            print(f"left out: {error}")
            missing.append(name)
        except SystemExit as end:
            failed |= bool(end.code)
    return int(failed or len(missing) == len(names or BENCHMARKS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
