"""Reads request bodies within bounds of size and time, and decompresses them."""

import asyncio
import zlib
from typing import Final

from aiohttp import hdrs, web

from reportsim.core.problems import Problem

MAX_BODY_BYTES: Final = 64 * 1024
ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})
READ_TIMEOUT_S: Final = 10.0


async def read_json(request: web.Request) -> bytes:
    """The bytes of a JSON body, empty when there is none.

    Raises:
        Problem: 400, 408, 413 or 415.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ENCODINGS:
        raise Problem(
            "unsupported-media-type",
            "Send the body uncompressed, or as gzip.",
            headers={hdrs.ACCEPT_ENCODING: "gzip, deflate"},
        )
    raw = await read_body(request)
    if raw and (request.content_type != "application/json" or not is_utf8(request.charset)):
        raise Problem(
            "unsupported-media-type", "Send application/json in UTF-8.", headers={"Accept-Post": "application/json"}
        )
    return raw


def is_utf8(charset: str | None) -> bool:
    """Whether a charset parameter is UTF-8 or missing."""
    return charset is None or charset.lower() in {"utf-8", "utf8"}


async def read_body(request: web.Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The bytes of the body, within bounds of size and time."""
    if (request.content_length or 0) > max_bytes:
        raise body_too_large(max_bytes)
    try:
        if request.content.is_eof():
            raw = await request.read()
        else:
            async with asyncio.timeout(READ_TIMEOUT_S):
                raw = await request.read()
    except TimeoutError:
        raise Problem(
            "request-timeout", "The body did not arrive in time.", headers={hdrs.CONNECTION: "close"}
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise body_too_large(max_bytes) from None
    except web.RequestPayloadError:
        raise undecodable_body() from None
    if len(raw) > max_bytes:
        raise body_too_large(max_bytes)
    return decode(raw, request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower(), max_bytes)


def decode(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decompresses a body, at most to its maximum size.

    Raises:
        Problem: 400 if it is not in that encoding, 413 if it is too large.
    """
    if not raw or encoding not in {"gzip", "deflate"}:
        return raw
    # Some clients send raw deflate data, without the header of zlib.
    if encoding == "gzip":
        window_bits = zlib.MAX_WBITS | 16
    elif raw[0] & 0x0F == zlib.DEFLATED:
        window_bits = zlib.MAX_WBITS
    else:
        window_bits = -zlib.MAX_WBITS
    content = b""
    try:
        while raw:
            stream = zlib.decompressobj(window_bits)
            content += stream.decompress(raw, max_bytes + 1 - len(content))
            if len(content) > max_bytes:
                raise body_too_large(max_bytes)
            if not stream.eof:
                raise undecodable_body()
            raw = stream.unused_data
    except zlib.error:
        raise undecodable_body() from None
    return content


def undecodable_body() -> Problem:
    """The 400 for a body that is not in the encoding of its headers."""
    return Problem(
        "malformed-request", "The body cannot be decoded as its headers say.", headers={hdrs.CONNECTION: "close"}
    )


def body_too_large(max_bytes: int) -> Problem:
    """The 413; it closes the connection, since the rest of the body is not read."""
    return Problem("too-large", f"The body may have at most {max_bytes:,} bytes.", headers={hdrs.CONNECTION: "close"})
