"""Static files: read once, sent from memory, kept by browsers for as long as their content stays."""

import functools
import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import hdrs, web

from reportsim.core.problems import Problem

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """A static file as it is sent, and the digest that its URL carries."""

    body: bytes
    content_type: str
    digest: str

    @functools.cached_property
    def zipped(self) -> bytes:
        """The body as most browsers want it."""
        return gzip.compress(self.body, mtime=0)


@dataclass(frozen=True, slots=True)
class Vendored:
    """Where a page gets a file of others, and the hash that its browser holds it against."""

    url: str
    integrity: str


class Assets:
    """The package's static files, read once: no URL ever reaches the file system."""

    def __init__(self, folder: Traversable, *, fresh: bool) -> None:
        """Reads a folder; `fresh` reads it again at each use, for those who work on it."""
        self._folder = folder
        self._fresh = fresh
        self._assets = loaded(folder)  # type: ignore[arg-type]

    def get(self, name: str) -> Asset | None:
        """A file by its path in the folder."""
        if self._fresh:
            self._assets = dict(read_assets(self._folder))
        return self._assets.get(name)

    def url(self, name: str) -> str:
        """The URL of a file, which changes with its content."""
        asset = self.get(name)
        if asset is None:
            raise LookupError(f"there is no static file {name}")
        return f"/static/{asset.digest}/{name}"

    def vendored(self, package: str, file: str) -> "Vendored":
        """A file of a package that others made, as vendor.json lists it."""
        listed = self.get("vendor/vendor.json")
        for row in json.loads(listed.body) if listed else []:
            if row["name"] == package:
                return Vendored(self.url(f"vendor/{package}-{row['version']}/{file}"), row["files"][file])
        raise LookupError(f"there is no vendored package {package}")


@functools.cache
def loaded(folder: Traversable) -> dict[str, Asset]:
    """The files of a folder, read and compressed once by a process: at its start, where nobody waits for the loop."""
    assets = dict(read_assets(folder))
    for asset in assets.values():
        _ = asset.zipped
    return assets


ASSETS: Final = web.AppKey("ASSETS", Assets)


def read_assets(folder: Traversable, prefix: str = "") -> Iterable[tuple[str, Asset]]:
    """Every file below a folder, by path."""
    for item in folder.iterdir():
        if item.is_dir():
            yield from read_assets(item, f"{prefix}{item.name}/")
        else:
            body = item.read_bytes()
            kind = TYPES.get(item.name.rpartition(".")[2], "application/octet-stream")
            digest = hashlib.sha256(body).hexdigest()[:12]
            yield prefix + item.name, Asset(body, kind, digest)


async def send_asset(request: web.Request) -> web.Response:
    """A static file: kept for ever under its own digest, asked for again under any other."""
    asset = request.app[ASSETS].get(request.match_info["name"])
    if asset is None:
        raise Problem("not-found", "There is no such file.")
    exact = request.match_info.get("digest") == asset.digest
    zipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    headers = {
        hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if exact else "no-cache",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        hdrs.CONTENT_TYPE: asset.content_type,
    }
    if zipped:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=asset.zipped if zipped else asset.body, headers=headers)


async def send_icon(request: web.Request) -> web.Response:
    """The icon, for pages that cannot name one, like JSON in a browser."""
    request.match_info["name"] = "favicon.svg"
    return await send_asset(request)
