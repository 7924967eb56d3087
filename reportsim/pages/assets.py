"""Static files: read once, sent from memory, cached by browsers until their content changes."""

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
    """A static file and the digest in its URL."""

    body: bytes
    content_type: str
    digest: str

    @functools.cached_property
    def gzipped(self) -> bytes:
        """The body, compressed with gzip."""
        return gzip.compress(self.body, mtime=0)


@dataclass(frozen=True, slots=True)
class VendoredFile:
    """The URL of a third-party file and its hash for subresource integrity."""

    url: str
    integrity: str


class Assets:
    """The package's static files, read once, so that no URL reaches the file system."""

    def __init__(self, folder: Traversable, *, reload: bool) -> None:
        """Reads a folder; with `reload` again at each use, for development."""
        self._folder = folder
        self._reload = reload
        self._assets = load_assets(folder)  # type: ignore[arg-type]

    def get(self, name: str) -> Asset | None:
        """A file by its path in the folder."""
        if self._reload:
            self._assets = dict(read_assets(self._folder))
        return self._assets.get(name)

    def url(self, name: str) -> str:
        """The URL of a file, which changes with its content."""
        asset = self.get(name)
        if asset is None:
            raise LookupError(f"there is no static file {name}")
        return f"/static/{asset.digest}/{name}"

    def vendored_file(self, package: str, file: str) -> VendoredFile:
        """A file of a third-party package that vendor.json lists."""
        listed = self.get("vendor/vendor.json")
        for row in json.loads(listed.body) if listed else []:
            if row["name"] == package:
                return VendoredFile(self.url(f"vendor/{package}-{row['version']}/{file}"), row["files"][file])
        raise LookupError(f"there is no vendored package {package}")


@functools.cache
def load_assets(folder: Traversable) -> dict[str, Asset]:
    """The files of a folder, read and compressed once per process, before the event loop serves requests."""
    assets = dict(read_assets(folder))
    for asset in assets.values():
        _ = asset.gzipped
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
    """A static file: immutable under its own digest, revalidated under any other."""
    asset = request.app[ASSETS].get(request.match_info["name"])
    if asset is None:
        raise Problem("not-found", "There is no static file of this name.")
    exact = request.match_info.get("digest") == asset.digest
    accepts_gzip = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    headers = {
        hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if exact else "no-cache",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        hdrs.CONTENT_TYPE: asset.content_type,
    }
    if accepts_gzip:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=asset.gzipped if accepts_gzip else asset.body, headers=headers)


async def send_icon(request: web.Request) -> web.Response:
    """The icon for responses that cannot name one, such as JSON in a browser."""
    request.match_info["name"] = "favicon.svg"
    return await send_asset(request)
