"""`reportsim benchmark --analyse`: a run's estimates from its samples alone; no service and no database."""

import json
import sys
from collections.abc import Sequence

from reportsim.benchmark.conclusion import conclude_from_samples
from reportsim.benchmark.results.csv_reader import CsvError, RecordedRun, read_samples
from reportsim.cli.benchmark.tables import show_analysis
from reportsim.cli.console import open_console

MALFORMED = 2


def analyse_files(paths: Sequence[str], *, as_json: bool) -> int:
    """Prints the result of each file; returns the exit code, which is 2 where one of them cannot be read."""
    code = 0
    for path in paths:
        try:
            run = read_file(path)
        except (CsvError, OSError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            print(f"reportsim: {path}: {problem}", file=sys.stderr)
            code = MALFORMED
            continue
        result = conclude_from_samples(run)
        if as_json:
            print(json.dumps({"file": path, **result}, ensure_ascii=False), flush=True)
        else:
            show_analysis(open_console(), path, result)
    return code


def read_file(path: str) -> RecordedRun:
    """The samples in a file, or from standard input for `-`.

    Raises:
        CsvError: It is malformed.
        OSError: It cannot be read.
    """
    try:
        if path == "-":
            return read_samples(sys.stdin)
        with open(path, encoding="utf-8-sig", newline="") as file:
            return read_samples(file)
    except UnicodeDecodeError as error:
        raise CsvError(1, f"the file is not UTF-8: {error.reason}") from None
