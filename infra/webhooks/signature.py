"""Standard Webhooks v1: HMAC-SHA-256 over ``id.timestamp.body``.

Bytes in, several secrets at once (all live ones sign; any of them verifies), the clock given.
Whatever a stranger sends, ``verify`` answers or raises ``SignatureError``, nothing else.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

PREFIX = "whsec_"
SECRET_BYTES = 32
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
TOLERANCE_SECONDS = 300
MAX_ID = 256
MAX_SIGNATURES = 16
"""Items of one ``webhook-signature`` header that are looked at."""

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


class SignatureError(Exception):
    """The message is not signed with any of the secrets, or its headers are malformed."""


class StaleTimestampError(SignatureError):
    """The signature is right, but the message is too old, or from the future."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A message whose signature is right: its id, and when it was signed."""

    webhook_id: str
    signed_at: datetime


def new_secret() -> bytes:
    """A random secret."""
    return secrets.token_bytes(SECRET_BYTES)


def format_secret(secret: bytes) -> str:
    """A secret as it is given to a partner."""
    return PREFIX + base64.b64encode(secret).decode()


def parse_secret(text: str) -> bytes:
    """Undo ``format_secret``; raises ``ValueError`` unless it holds 24 to 64 bytes."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a secret begins with {PREFIX}")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a secret is base64") from error
    if not LEAST_SECRET_BYTES <= len(secret) <= MOST_SECRET_BYTES:
        raise ValueError(f"a secret has {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes")
    return secret


def sign(
    keys: Sequence[bytes], webhook_id: str, signed_at: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of a message, with one signature for each secret.

    Raises ``ValueError`` for an id that the signed text could not hold (empty, or with a dot).
    """
    if not webhook_id or "." in webhook_id:
        raise ValueError("an id is not empty and holds no dot")
    timestamp = str(int(signed_at.timestamp()))
    content = _content(webhook_id, timestamp, body)
    return {
        ID: webhook_id,
        TIMESTAMP: timestamp,
        SIGNATURE: " ".join(f"v1,{_mac(key, content).decode()}" for key in keys),
    }


def verify(
    keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime
) -> Verified:
    """Check a message; header names are looked up in lower case.

    Raises ``StaleTimestampError`` only if the signature is right, so that nobody without a
    secret learns anything from it; ``SignatureError`` for everything else.
    """
    webhook_id, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    if not webhook_id or "." in webhook_id or len(webhook_id) > MAX_ID:
        raise SignatureError("malformed id")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise SignatureError("malformed timestamp")
    content = _content(webhook_id, timestamp, body)
    if not _matches(keys, headers.get(SIGNATURE, ""), content):
        raise SignatureError("no signature matches")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise StaleTimestampError("timestamp out of tolerance")
    return Verified(webhook_id, datetime.fromtimestamp(int(timestamp), UTC))


def _content(webhook_id: str, timestamp: str, body: bytes) -> bytes:
    return b".".join((webhook_id.encode("utf-8", "replace"), timestamp.encode(), body))


def _mac(key: bytes, content: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256))


def _matches(keys: Sequence[bytes], header: str, content: bytes) -> bool:
    given = [
        item[3:].encode("utf-8", "replace")
        for item in header.split()[:MAX_SIGNATURES]
        if item.startswith("v1,")
    ]
    expected = [_mac(key, content) for key in keys]
    found = [hmac.compare_digest(e, g) for e in expected for g in given]
    return any(found)
