"""Our signatures beside those of two other implementations, and against forgers."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra.delivery.webhook.signature import (
    SignatureError,
    StaleTimestampError,
    format_public_key,
    format_secret,
    new_private_key,
    new_secret,
    parse_secret,
    sign,
    verify,
)

ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = parse_secret(SECRET)


def test_signature_is_that_of_the_published_vector():
    assert sign([KEY], ID, AT, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("package", [standardwebhooks.Webhook, svix.webhooks.Webhook])
@pytest.mark.parametrize("body", [BODY, '{"name": "Zoé"}'.encode(), b"{}"])
def test_other_packages_accept_what_we_sign(package, body: bytes):
    secret = new_secret()
    headers = sign([secret], ID, datetime.now(UTC), body)
    package(format_secret(secret)).verify(body, headers)


@pytest.mark.parametrize("package", [standardwebhooks.Webhook, svix.webhooks.Webhook])
def test_we_accept_what_other_packages_sign(package):
    text = '{"name": "Zoé"}'
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(int(AT.timestamp())),
        "webhook-signature": package(SECRET).sign(ID, AT, text),
    }
    verified = verify([KEY], headers, text.encode(), AT)
    assert (verified.webhook_id, verified.signed_at) == (ID, AT)


def test_any_live_secret_verifies_and_all_of_them_sign():
    old, new = new_secret(), new_secret()
    headers = sign([new, old], ID, AT, BODY)
    assert len(headers["webhook-signature"].split()) == 2
    assert verify([old], headers, BODY, AT).webhook_id == ID
    assert verify([new_secret(), new], headers, BODY, AT).webhook_id == ID
    with pytest.raises(SignatureError):
        verify([new_secret()], headers, BODY, AT)


def test_moment_is_signed_whatever_its_time_zone():
    from zoneinfo import ZoneInfo

    paris = AT.astimezone(ZoneInfo("Europe/Paris"))
    assert sign([KEY], ID, paris, BODY) == sign([KEY], ID, AT, BODY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", "1614265331"),
        ("webhook-signature", "v1,AAAAM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ],
)
def test_tampered_header_is_refused(name: str, value: str):
    headers = sign([KEY], ID, AT, BODY) | {name: value}
    with pytest.raises(SignatureError):
        verify([KEY], headers, BODY, AT)


def test_tampered_body_is_refused():
    with pytest.raises(SignatureError):
        verify([KEY], sign([KEY], ID, AT, BODY), BODY + b" ", AT)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_refused(missing: str):
    headers = sign([KEY], ID, AT, BODY)
    del headers[missing]
    with pytest.raises(SignatureError):
        verify([KEY], headers, BODY, AT)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_five_minutes_either_way_are_tolerated(seconds: int):
    now = AT + timedelta(seconds=seconds)
    assert verify([KEY], sign([KEY], ID, AT, BODY), BODY, now).webhook_id == ID


@pytest.mark.parametrize("seconds", [-301, 301])
def test_older_or_from_the_future_is_stale_only_if_the_signature_is_right(seconds: int):
    now, headers = AT + timedelta(seconds=seconds), sign([KEY], ID, AT, BODY)
    with pytest.raises(StaleTimestampError):
        verify([KEY], headers, BODY, now)
    with pytest.raises(SignatureError) as caught:
        verify([new_secret()], headers, BODY, now)
    assert caught.type is SignatureError


def test_no_secret_verifies_nothing():
    with pytest.raises(SignatureError):
        verify([], sign([KEY], ID, AT, BODY), BODY, AT)
    with pytest.raises(SignatureError):
        verify([], sign([], ID, AT, BODY), BODY, AT)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "webhook-id": st.text(),
            "webhook-timestamp": st.text() | st.integers().map(str),
            "webhook-signature": st.text() | st.text().map("v1,".__add__),
        },
    ),
    st.binary(),
)
def test_whatever_a_stranger_sends_is_a_signature_error(headers, body: bytes):
    with pytest.raises(SignatureError):
        verify([KEY], headers, body, AT)


@pytest.mark.parametrize("webhook_id", ["", "a.b"])
def test_id_that_would_blur_the_signed_text_is_not_signed(webhook_id: str):
    with pytest.raises(ValueError, match="id"):
        sign([KEY], webhook_id, AT, BODY)


@given(st.binary(min_size=24, max_size=64))
def test_secret_is_read_back_as_written(secret: bytes):
    assert parse_secret(format_secret(secret)) == secret


@pytest.mark.parametrize(
    "text", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_AAAA", "whsec_!!!!",
             "whsec_" + "A" * 88, "whsec_é"]
)  # fmt: skip
def test_secret_that_is_malformed_too_short_or_too_long_is_refused(text: str):
    with pytest.raises(ValueError, match="secret"):
        parse_secret(text)


SEED = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def vector_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(SEED))


def test_published_vector_of_v1a_is_what_we_sign_and_take():
    """Of svix's tests, the only published ones (Standard Webhooks has none of its own)."""
    at, body = datetime.fromtimestamp(1614265330, UTC), b'{"test": 2432232314}'
    headers = sign([vector_key()], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
    assert headers["webhook-signature"] == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+"
        "m7TBAg=="
    )
    assert format_public_key(vector_key()) == PUBLIC
    verify([vector_key().public_key()], headers, body, at)


def test_both_schemes_sign_and_either_is_enough_for_who_knows_one():
    secret, pair, at = new_secret(), new_private_key(), datetime.now(UTC)
    headers = sign([secret, pair], "msg_1", at, b"{}")
    verify([secret], headers, b"{}", at)
    verify([pair.public_key()], headers, b"{}", at)
    standardwebhooks.Webhook(format_secret(secret)).verify("{}", headers)
    svix.webhooks.Webhook(format_secret(secret)).verify("{}", headers)


def test_key_of_one_scheme_does_not_take_the_others_signature():
    secret, pair, at = new_secret(), new_private_key(), datetime.now(UTC)
    with pytest.raises(SignatureError):
        verify([pair.public_key()], sign([secret], "msg_1", at, b"{}"), b"{}", at)
    with pytest.raises(SignatureError):
        verify([secret], sign([pair], "msg_1", at, b"{}"), b"{}", at)


@pytest.mark.parametrize("value", ["v1a,", "v1a,AAAA", "v1a,é", "v1a", "v1a,====", "v2,x", ","])
def test_malformed_pair_signature_is_refused_and_nothing_else(value: str):
    headers = sign([new_secret()], "msg_1", datetime.now(UTC), b"{}")
    headers["webhook-signature"] = value
    with pytest.raises(SignatureError):
        verify([new_private_key().public_key()], headers, b"{}", datetime.now(UTC))
