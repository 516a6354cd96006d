"""Standard Webhooks: over ``id.timestamp.body``, v1 HMAC-SHA-256 and v1a Ed25519.

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

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

SigningKey = bytes | Ed25519PrivateKey
CheckingKey = bytes | Ed25519PublicKey

PREFIX, PUBLIC_PREFIX = "whsec_", "whpk_"
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


def new_private_key() -> Ed25519PrivateKey:
    """A random key pair for v1a: whoever checks a message cannot sign one."""
    return Ed25519PrivateKey.generate()


def format_public_key(key: Ed25519PrivateKey) -> str:
    """The public half, as it is given to a partner."""
    return PUBLIC_PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(
    keys: Sequence[SigningKey], webhook_id: str, signed_at: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of a message, with one signature for each secret.

    Raises ``ValueError`` for an id that is empty, not in ASCII, or has a dot.
    """
    if not webhook_id or not webhook_id.isascii() or "." in webhook_id:
        raise ValueError("an id is not empty, in ASCII, and holds no dot")
    timestamp = str(int(signed_at.timestamp()))
    content = _content(webhook_id, timestamp, body)
    return {
        ID: webhook_id,
        TIMESTAMP: timestamp,
        SIGNATURE: " ".join(_signature(key, content) for key in keys),
    }


def verify(
    keys: Sequence[CheckingKey], headers: Mapping[str, str], body: bytes, now: datetime
) -> Verified:
    """Check a message; header names are looked up in lower case.

    Headers are as ASGI servers give them, one character for each byte that came: an id that
    its partner wrote with an accent was signed as bytes, whatever their coding.

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
    return b".".join((webhook_id.encode("latin-1", "replace"), timestamp.encode(), body))


def _signature(key: SigningKey, content: bytes) -> str:
    if isinstance(key, bytes):
        return f"v1,{_mac(key, content).decode()}"
    return f"v1a,{base64.b64encode(key.sign(content)).decode()}"


def _mac(key: bytes, content: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256))


def _matches(keys: Sequence[CheckingKey], header: str, content: bytes) -> bool:
    items = [item.partition(",") for item in header.split()[:MAX_SIGNATURES]]
    shared = [value for scheme, _, value in items if scheme == "v1"]
    paired = [value for scheme, _, value in items if scheme == "v1a"]
    # every key is tried with every signature: how long that takes says nothing of which fits
    matching = 0
    for key in keys:
        if isinstance(key, bytes):
            expected = _mac(key, content)
            matching += sum(
                hmac.compare_digest(expected, value.encode("utf-8", "replace"))
                for value in shared
            )
        else:
            matching += any(_signed_by(key, value, content) for value in paired)
    return matching > 0


def _signed_by(key: Ed25519PublicKey, given: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(given, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True
