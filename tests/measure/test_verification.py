"""Signatures of callbacks: what others have signed holds, and nothing else does."""

import hashlib
import hmac
from collections.abc import Callable

import pytest
from standardwebhooks import Webhook

from reportsim.measure.target.verification import TOLERANCE_S, Scheme, Verification

SECRET = "whsec_" + "QUJD" * 8
BODY = b'{"state": "ok"}'
NOW = 1_800_000_000
Signed = Callable[[], tuple[Verification, dict[str, str], bytes]]


def standard_webhooks() -> tuple[Verification, dict[str, str], bytes]:
    """As the library of the standard signs."""
    from datetime import UTC, datetime

    signature = Webhook(SECRET).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": signature}
    return Verification.from_text(Scheme.STANDARD_WEBHOOKS, SECRET), headers, BODY


def github() -> tuple[Verification, dict[str, str], bytes]:
    """The example of GitHub's documentation."""
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    verification = Verification.from_text(Scheme.GITHUB, "It's a Secret to Everybody")
    return verification, {"x-hub-signature-256": f"sha256={digest}"}, b"Hello, World!"


def stripe() -> tuple[Verification, dict[str, str], bytes]:
    """As Stripe's documentation says, with a second signature of another secret."""
    digest = hmac.new(SECRET.encode(), f"{NOW}.".encode() + BODY, hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={NOW},v0={'1' * 64},v1={'0' * 64},v1={digest}"}
    return Verification.from_text(Scheme.STRIPE, SECRET), headers, BODY


@pytest.mark.parametrize("signed", [standard_webhooks, github, stripe])
def test_a_signature_holds_for_its_body_its_headers_and_its_secret(signed: Signed) -> None:
    verification, headers, body = signed()
    assert verification.holds(headers, body, NOW)
    assert not verification.holds(headers, body + b" ", NOW)
    assert not verification.holds({}, body, NOW)
    for name, value in headers.items():
        changed = value[:-1] + ("0" if value[-1] != "0" else "1")
        assert not verification.holds({**headers, name: changed}, body, NOW)
        assert not verification.holds({**headers, name: "ÿ" + value}, body, NOW)
    other = Verification.from_text(verification.scheme, "whsec_" + "REVG" * 8)
    assert not other.holds(headers, body, NOW)


@pytest.mark.parametrize("signed", [standard_webhooks, stripe])
@pytest.mark.parametrize("away", [-TOLERANCE_S - 1, TOLERANCE_S + 1])
def test_an_old_signature_is_none(signed: Signed, away: int) -> None:
    verification, headers, body = signed()
    assert verification.holds(headers, body, NOW + away // 2)
    assert not verification.holds(headers, body, NOW + away)
