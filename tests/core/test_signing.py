"""What we sign, the library that receivers use accepts, and nothing else."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from reportsim.core.signing import headers, new_secret, parse_secret, sign

KEYS = st.binary(min_size=24, max_size=64)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="."), min_size=1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def now() -> int:
    return int(datetime.now(UTC).timestamp())


@given(KEYS, IDS, st.integers(0, 2**31), TEXTS)
def test_signatures_are_those_of_the_library(key: bytes, message_id: str, timestamp: int, body: str) -> None:
    theirs = Webhook(key).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body)
    assert sign([key], message_id, timestamp, body.encode()) == theirs


@given(st.lists(KEYS, min_size=1, max_size=4, unique=True), IDS, TEXTS)
def test_the_library_verifies_with_any_of_the_secrets(keys: list[bytes], message_id: str, body: str) -> None:
    sent = headers(keys, message_id, now(), body.encode())
    for key in keys:
        Webhook(key).verify(body, sent, json_parse=False)


@given(KEYS, KEYS, TEXTS)
def test_another_secret_or_body_is_not_verified(key: bytes, other: bytes, body: str) -> None:
    sent = headers([key], "msg_1", now(), body.encode())
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body + " ", sent, json_parse=False)
    if key != other:
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(body, sent, json_parse=False)


def test_the_example_of_the_specification_holds() -> None:
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_carry_what_was_signed() -> None:
    assert headers([b"k" * 32], "msg_1", 1700000000, b"{}") == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": sign([b"k" * 32], "msg_1", 1700000000, b"{}"),
    }


def test_the_body_is_signed_as_bytes_whatever_they_are() -> None:
    assert sign([b"k" * 32], "msg_1", 1, b"\xff\x00%s") != sign([b"k" * 32], "msg_1", 1, b"\xff\x00%d")


def test_every_secret_signs_in_its_order() -> None:
    first, second = b"a" * 32, b"b" * 32
    expected = f"{sign([first], 'msg', 1, b'')} {sign([second], 'msg', 1, b'')}"
    assert sign([first, second], "msg", 1, b"") == expected


def test_signing_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        sign([], "msg_1", 1, b"")


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\n", "ü", "a\x00", "\x7f"])
def test_an_id_that_would_blur_what_is_signed_is_an_error(message_id: str) -> None:
    with pytest.raises(ValueError, match="webhook-id"):
        sign([b"k" * 32], message_id, 1, b"")


class TestSecrets:
    def test_a_new_secret_has_32_random_bytes(self) -> None:
        assert len(parse_secret(new_secret())) == 32
        assert new_secret() != new_secret()

    @given(KEYS)
    def test_are_read_with_and_without_padding(self, key: bytes) -> None:
        text = "whsec_" + base64.b64encode(key).decode()
        assert parse_secret(text) == parse_secret(text.rstrip("=")) == key

    @pytest.mark.parametrize("size", [0, 1, 23, 65, 100])
    def test_have_24_to_64_bytes(self, size: int) -> None:
        with pytest.raises(ValueError, match=f"24 to 64 bytes, this one has {size}"):
            parse_secret("whsec_" + base64.b64encode(b"k" * size).decode())

    @pytest.mark.parametrize(
        "text",
        [
            *("", "whsec_!", "WHSEC_" + "A" * 44, "A" * 44, " whsec_" + "A" * 44, "whsec_" + "A" * 44 + "\n"),
            *(
                "whsec_" + "A" * 20 + " " + "A" * 24,
                "whsec_" + "-_" * 22,
                "whsec_" + "ü" * 44,
                "whsec_" + "A" * 45,
            ),
            *("whsec_" + "A" * 20 + "==" + "A" * 22, "whpk_" + "A" * 44, "whsec_whsec_" + "A" * 44),
        ],
    )
    def test_in_another_form_are_an_error_that_does_not_repeat_them(self, text: str) -> None:
        with pytest.raises(ValueError, match="webhook secret") as caught:
            parse_secret(text)
        assert "A" * 20 not in str(caught.value)
