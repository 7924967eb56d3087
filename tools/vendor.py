"""Fetches the vendored assets: `python tools/vendor.py` packs what the two vendor.json list, checks it, and copies it.

The service's own are in reportsim/static/vendor, those of tests in tests/browser/vendor. To take another version, write
it into vendor.json with its integrity (`npm view NAME@VERSION dist.integrity`), and run this: it prints the sha384 of
files that differ from the list, and counts them in its exit code. Commit both.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "reportsim" / "static" / "vendor", ROOT / "tests" / "browser" / "vendor")


def digest(algorithm: str, data: bytes) -> str:
    """A hash as browsers and npm write it."""
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def main() -> int:
    """Fetches every package of both lists."""
    return sum(fetch(folder) for folder in FOLDERS)


def fetch(vendor: Path) -> int:
    """Fetches the packages that a folder lists; the number of files that differ from the list."""
    wrong = 0
    for package in json.loads((vendor / "vendor.json").read_text()):
        with tempfile.TemporaryDirectory() as folder:
            name = f"{package['name']}@{package['version']}"
            packed = subprocess.run(
                ["npm", "pack", "--silent", name], cwd=folder, check=True, capture_output=True, text=True
            ).stdout.split()[-1]
            archive = Path(folder) / packed
            if digest("sha512", archive.read_bytes()) != package["integrity"]:
                raise SystemExit(f"{name}: the archive is not the one that vendor.json names")
            with tarfile.open(archive) as tar:
                for file, expected in package["files"].items():
                    member = tar.extractfile(f"package/{file}")
                    assert member is not None
                    data = member.read()
                    target = vendor / f"{package['name']}-{package['version']}" / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
                    if (found := digest("sha384", data)) != expected:
                        wrong += 1
                        print(f"{target.relative_to(vendor)}: {found}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
