"""Whether a callback is from the service that it says it is from: the three schemes that are in use."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reportsim.core.signing import is_signed_by, parse_secret

# How old a signature may be that has a time; the libraries of both schemes have the same bound.
TOLERANCE_S: Final = 300
MOST_SIGNATURES: Final = 16
SECONDS: Final = re.compile(r"[0-9]{1,12}")


class Scheme(StrEnum):
    """How callbacks are signed."""

    STANDARD_WEBHOOKS = "standard-webhooks"
    GITHUB = "github"
    STRIPE = "stripe"


@dataclass(frozen=True, slots=True)
class Verification:
    """A scheme and its secret."""

    scheme: Scheme
    secret: bytes

    @classmethod
    def from_text(cls, scheme: Scheme, secret: str) -> "Verification":
        """The secret as it is given out.

        Raises:
            ValueError: It has another form; the message never repeats the secret.
        """
        if scheme is Scheme.STANDARD_WEBHOOKS:
            return cls(scheme, parse_secret(secret))
        if not secret:
            raise ValueError("a webhook secret is not empty")
        return cls(scheme, secret.encode())

    def holds(self, headers: Mapping[str, str], body: bytes, now: float) -> bool:
        """Whether a callback has a signature of this secret; `headers` by names in lower case, `now` in Unix time."""
        match self.scheme:
            case Scheme.STANDARD_WEBHOOKS:
                return is_recent(headers.get("webhook-timestamp", ""), now) and is_signed_by(
                    [self.secret], headers, body
                )
            case Scheme.GITHUB:
                return is_same(f"sha256={self._digest(body)}", headers.get("x-hub-signature-256", ""))
            case Scheme.STRIPE:
                return self._holds_stripe(headers.get("stripe-signature", ""), body, now)

    def _holds_stripe(self, header: str, body: bytes, now: float) -> bool:
        pairs = [item.strip().partition("=")[::2] for item in header.split(",")[: MOST_SIGNATURES + 1]]
        moment = next((value for name, value in pairs if name == "t"), "")
        if not is_recent(moment, now):
            return False
        expected = self._digest(f"{moment}.".encode() + body)
        return any(is_same(expected, value) for name, value in pairs if name == "v1")

    def _digest(self, signed: bytes) -> str:
        return hmac.digest(self.secret, signed, hashlib.sha256).hex()


def is_recent(moment: str, now: float) -> bool:
    """Whether a Unix time in seconds is near."""
    return bool(SECONDS.fullmatch(moment)) and abs(int(moment) - now) <= TOLERANCE_S


def is_same(one: str, other: str) -> bool:
    """Whether two signatures are equal, in a time that does not tell how far."""
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
