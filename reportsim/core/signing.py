"""Signatures of callbacks, as Standard Webhooks 1.0 defines them (HMAC-SHA256, scheme ``v1``).

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

import base64
import binascii
import functools
import hashlib
import hmac
import re
import secrets as entropy
from collections.abc import Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = range(24, 65)

MOST_SIGNATURES: Final = 16

_TIMESTAMP = re.compile(r"(?:0|[1-9][0-9]{0,18})", re.ASCII)
_MESSAGE_ID = re.compile(r"[!-\-/-~]+")


def new_secret() -> str:
    """Makes a signing secret: ``whsec_`` and the base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(entropy.token_bytes(32)).decode()


def parse_secret(text: str) -> bytes:
    """Reads a secret as `new_secret` writes it, with or without base64 padding, into its 24 to 64 bytes.

    Raises ValueError for another form or length; the message never repeats the secret.
    """
    encoded = text.removeprefix(PREFIX)
    if encoded == text:
        raise ValueError(f"a webhook secret starts with {PREFIX}")
    bare = encoded.rstrip("=")
    try:
        key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise ValueError(f"a webhook secret is {PREFIX} and standard base64") from None
    if len(key) not in SECRET_BYTES:
        raise ValueError(f"a webhook secret has 24 to 64 bytes, this one has {len(key)}")
    return key


@functools.lru_cache(10_000)
def hash_client(secret: str, address: str) -> bytes:
    """A client's address as it is stored: equal on all replicas that share a secret, and not reversible without it."""
    key = hashlib.sha256(b"client " + secret.encode()).digest()
    return hashlib.blake2b(address.encode(), key=key, digest_size=16).digest()


def sign(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Signs one attempt: the value of ``webhook-signature``, one ``v1,…`` for each secret, in their order.

    `timestamp` is the attempt's Unix time in seconds, `body` the bytes as sent. Several secrets serve
    rotation: a receiver accepts a message when any signature fits. Raises ValueError without a secret, and
    for an id that has a dot, a blank or anything beyond printable ASCII: the dot separates what is signed.
    """
    if not secrets:
        raise ValueError("signing needs at least one secret")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError("a webhook-id is printable ASCII without blanks and dots")
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join([f"v1,{_signature(secret, signed)}" for secret in secrets])


def _signature(secret: bytes, signed: bytes) -> str:
    made = _begun(secret).copy()
    made.update(signed)
    return binascii.b2a_base64(made.digest(), newline=False).decode()


@functools.lru_cache(MOST_SIGNATURES)
def _begun(secret: bytes) -> hmac.HMAC:
    """A signature before its message: half of the work, and the same each time."""
    return hmac.new(secret, digestmod=hashlib.sha256)


def is_signed_by(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes) -> bool:
    """Says whether any secret made a signature among those of a message, however old it is; never raises.

    `headers` are looked up by their names in lower case.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (secrets and _MESSAGE_ID.fullmatch(message_id) and _TIMESTAMP.fullmatch(timestamp)):
        return False
    made = sign(secrets, message_id, int(timestamp), body).split(" ")
    given = headers.get("webhook-signature", "").split(" ")[:MOST_SIGNATURES]
    return any(hmac.compare_digest(own.encode(), other.encode()) for own in made for other in given)


def headers(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Builds the three headers of one attempt; arguments and errors as of `sign`."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, message_id, timestamp, body),
    }
