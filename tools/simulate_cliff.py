"""Simulates the picture of the home page: `python -m tools.simulate_cliff` writes reportsim/static/cliff.json."""

from pathlib import Path
from typing import Final

from reportsim.pages.cliff.document import make_document

FILE: Final = Path(__file__).parents[1] / "reportsim" / "static" / "cliff.json"


if __name__ == "__main__":
    FILE.write_bytes(make_document().as_json())
