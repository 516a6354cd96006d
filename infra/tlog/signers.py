"""Private keys that sign checkpoints: plain, or with the time (C2SP tlog-cosignature)."""

from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from infra.base.clock import Clock
from infra.tlog.cosignature import note_message, pack, tree_message
from infra.tlog.note import COSIGNATURE, ED25519, ML_DSA_44, Checkpoint, Signature, Signer, VKey


class NoteSigner(Protocol):
    """A named private key."""

    vkey: VKey

    def signature(self, text: str) -> Signature: ...


class Cosigner:
    """A key that signs a checkpoint with the time at which it does.

    ``kind`` is `COSIGNATURE` (Ed25519) or `ML_DSA_44`; ``seed`` has 32 bytes in both
    (RFC 8032 §5.1.5, FIPS 204 §5.1). Raises NoteError on a name signed-note forbids, KeyError
    on another kind and ValueError on a seed of another length.
    """

    __slots__ = ("_clock", "_sign", "vkey")

    def __init__(self, name: str, seed: bytes, kind: int, clock: Clock) -> None:
        """Derive the key pair; the seed itself is not kept."""
        public, self._sign = _MAKERS[kind](name, seed)
        self.vkey = VKey(name, public, kind)
        self._clock = clock

    def signature(self, text: str) -> Signature:
        """This key's signature over a checkpoint, as of now; NoteError if it is not one."""
        checkpoint = Checkpoint.parse(text)
        timestamp = int(self._clock().timestamp())
        value = pack(timestamp, self._sign(timestamp, text, checkpoint))
        return Signature(self.vkey.name, self.vkey.key_id, value)


_Sign = Callable[[int, str, Checkpoint], bytes]


def _ed25519(name: str, seed: bytes) -> tuple[bytes, _Sign]:
    private = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(timestamp: int, text: str, checkpoint: Checkpoint) -> bytes:
        return private.sign(note_message(timestamp, text))

    return private.public_key().public_bytes_raw(), sign


def _ml_dsa_44(name: str, seed: bytes) -> tuple[bytes, _Sign]:
    private = MLDSA44PrivateKey.from_seed_bytes(seed)

    def sign(timestamp: int, text: str, checkpoint: Checkpoint) -> bytes:
        tree = (checkpoint.origin, checkpoint.size, checkpoint.root)
        return private.sign(tree_message(name, timestamp, *tree))

    return private.public_key().public_bytes_raw(), sign


_MAKERS = {COSIGNATURE: _ed25519, ML_DSA_44: _ml_dsa_44}


def signer(name: str, seed: bytes, kind: int, clock: Clock) -> NoteSigner:
    """The private key of any kind, from its seed; errors as `Signer` and `Cosigner`."""
    return Signer(name, seed) if kind == ED25519 else Cosigner(name, seed, kind, clock)
