"""What timestamped signatures of checkpoints sign (C2SP tlog-cosignature).

Such a signature says: as of a time, this is the largest tree of the log that the signer has
seen, and it extends every one that the signer has seen before.
"""

MAX_TIMESTAMP = 2**63 - 1
"""Latest time a cosignature may state, in seconds since the epoch."""

_TIMESTAMP_BYTES = 8
_LABEL = b"subtree/v1\n\0"


def pack(timestamp: int, signature: bytes) -> bytes:
    """The value that stands in a signature line; ValueError on a time that cannot be stated."""
    return _time(timestamp).to_bytes(_TIMESTAMP_BYTES, "big") + signature


def unpack(value: bytes) -> tuple[int, bytes]:
    """Time and bare signature from a signature line's value; ValueError if there is no time."""
    if len(value) <= _TIMESTAMP_BYTES:
        raise ValueError("a cosignature begins with its time")
    return _time(int.from_bytes(value[:_TIMESTAMP_BYTES], "big")), value[_TIMESTAMP_BYTES:]


def note_message(timestamp: int, text: str) -> bytes:
    """What an Ed25519 cosignature signs: a header, the time, the whole note text."""
    return f"cosignature/v1\ntime {_time(timestamp)}\n{text}".encode()


def tree_message(cosigner: str, timestamp: int, origin: str, size: int, root: bytes) -> bytes:
    """What an ML-DSA-44 cosignature of a checkpoint signs: names, time, and the tree alone.

    Extension lines of a checkpoint are not covered. Raises ValueError on a name or an origin
    of more than 255 bytes.
    """
    number = _time(timestamp).to_bytes(8, "big")
    span = bytes(8) + size.to_bytes(8, "big")  # from the first leaf: the tree, no other subtree
    return _LABEL + _prefixed(cosigner) + number + _prefixed(origin) + span + root


def _time(timestamp: int) -> int:
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise ValueError(f"a cosignature cannot state the time {timestamp}")
    return timestamp


def _prefixed(name: str) -> bytes:
    encoded = name.encode()
    if not 1 <= len(encoded) <= 255:
        raise ValueError("a name in an ML-DSA-44 cosignature has 1 to 255 bytes")
    return bytes([len(encoded)]) + encoded
