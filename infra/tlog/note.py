"""Signed notes and log checkpoints (C2SP signed-note and tlog-checkpoint).

Three kinds of keys: Ed25519, and the timestamped Ed25519 and ML-DSA-44 of tlog-cosignature.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from infra.tlog.cosignature import note_message, tree_message, unpack
from infra.tlog.merkle import HASH_SIZE

ED25519 = 0x01
"""Signature type byte of plain Ed25519 (signed-note, "Signature types")."""

COSIGNATURE = 0x04
"""Signature type byte of a timestamped Ed25519 cosignature of a checkpoint."""

ML_DSA_44 = 0x06
"""Signature type byte of a timestamped ML-DSA-44 cosignature of a checkpoint's tree."""

ALGORITHMS = {ED25519: "ed25519", COSIGNATURE: "ed25519-cosignature", ML_DSA_44: "ml-dsa-44"}
"""Name of each kind of key."""

_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}

MAX_SIGNATURES = 128
"""Signature lines read before a note is refused (signed-note asks for at least 16)."""

MAX_SIZE = 2**63 - 1
"""Largest tree size a checkpoint may state, in leaves: what a signed 64-bit column holds."""

_DASH = "\N{EM DASH} "
_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+(.+)")


class NoteError(ValueError):
    """A malformed or untrustworthy note, key or checkpoint; the message says why."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: key name, 4-byte key id, and the bytes the key's algorithm made."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it stands in a note, newline included."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.value)}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line without its newline; NoteError if it is not a signature line."""
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        raw = from_base64(encoded)
        if not line.startswith(_DASH) or len(raw) < 5:
            raise NoteError("a signature line is malformed")
        return cls(_require_name(name), raw[:4], raw[4:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text (ending in a newline) and its signatures, none of them checked yet."""

    text: str
    signatures: tuple[Signature, ...]

    def format(self) -> bytes:
        """The note as UTF-8 bytes; NoteError if the text cannot stand in a note."""
        lines = "".join(signature.line() for signature in self.signatures)
        return f"{_require_text(self.text)}\n{lines}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Split a note at its last empty line (signed-note, "Format").

        Raises NoteError if it is not UTF-8, holds control characters, has no signature or
        more than `MAX_SIGNATURES`, or has a malformed signature line.
        """
        try:
            whole = _require_text(data.decode())
        except UnicodeDecodeError as error:
            raise NoteError("the note is not UTF-8") from error
        text, separator, tail = whole.rpartition("\n\n")
        lines = tail.removesuffix("\n").split("\n")
        if not separator or not tail:
            raise NoteError("the note has no signature")
        if len(lines) > MAX_SIGNATURES:
            raise NoteError(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(map(Signature.parse, lines)))


@dataclass(frozen=True, slots=True)
class VKey:
    """A public key to check notes with: its name, its bytes, and the kind of its signatures.

    Raises NoteError on a name signed-note forbids, an unknown kind, or a key of another length.
    """

    name: str
    public: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        """Refuse what no signature line could refer to."""
        _require_name(self.name)
        wanted = _KEY_BYTES.get(self.kind)
        if wanted is None:
            raise NoteError("the verifier key is of a kind that is not known")
        if len(self.public) != wanted:
            kind = ALGORITHMS[self.kind]
            raise NoteError(f"a key of {kind} has {wanted} bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that name this key, with its name, in signature lines."""
        return key_id(self.name, self.kind, self.public)

    @property
    def algorithm(self) -> str:
        """Name of this kind of key."""
        return ALGORITHMS[self.kind]

    def encode(self) -> str:
        """Text to publish: ``name+key id in hex+base64(kind || public key)``."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Inverse of `encode`; NoteError if malformed, of no known kind, or with a wrong id."""
        parts = _VKEY.fullmatch(text)
        if parts is None:
            raise NoteError("a verifier key reads name+key id+key")
        raw = from_base64(parts[3])
        key = cls(parts[1], raw[1:], raw[0] if raw else 0)
        if key.key_id.hex() != parts[2]:
            raise NoteError("the id of the verifier key does not match the key")
        return key

    def made(self, signature: Signature) -> bool:
        """Whether a signature line claims to be this key's."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def check(self, text: str, signature: Signature) -> None:
        """Raise NoteError unless ``signature`` is this key's over ``text``.

        An ML-DSA-44 key vouches for the first three lines of a checkpoint alone.
        """
        try:
            if self.kind == ED25519:
                plain = Ed25519PublicKey.from_public_bytes(self.public)
                plain.verify(signature.value, text.encode())
                return
            timestamp, value = unpack(signature.value)
            if self.kind == COSIGNATURE:
                timed = Ed25519PublicKey.from_public_bytes(self.public)
                timed.verify(value, note_message(timestamp, text))
                return
            seen = Checkpoint.parse(text)
            message = tree_message(self.name, timestamp, seen.origin, seen.size, seen.root)
            MLDSA44PublicKey.from_public_bytes(self.public).verify(value, message)
        except (InvalidSignature, ValueError) as error:
            raise NoteError(f"the signature of {self.name} is wrong") from error


class Signer:
    """A named Ed25519 private key, from its 32-byte seed (RFC 8032 §5.1.5).

    Raises NoteError on a name signed-note forbids and ValueError on a seed of another length.
    """

    __slots__ = ("_private", "vkey")

    def __init__(self, name: str, seed: bytes) -> None:
        """Derive the key pair; the seed itself is not kept."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.vkey = VKey(name, self._private.public_key().public_bytes_raw())

    def signature(self, text: str) -> Signature:
        """This key's signature over ``text``; NoteError if it cannot stand in a note."""
        value = self._private.sign(_require_text(text).encode())
        return Signature(self.vkey.name, self.vkey.key_id, value)

    def sign(self, text: str) -> bytes:
        """A note of ``text`` signed by this key; NoteError if it cannot stand in a note."""
        return Note(text, (self.signature(text),)).format()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its origin, its size in leaves and its 32-byte root.

    Raises NoteError on an origin that is not one printable line, a size outside 0 to
    `MAX_SIZE`, or a root of another length.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse what the text form could not say."""
        if not self.origin or "\n" in self.origin or _FORBIDDEN.search(self.origin):
            raise NoteError("the origin of a checkpoint is one line without control characters")
        if not 0 <= self.size <= MAX_SIZE:
            raise NoteError(f"a checkpoint cannot have the size {self.size}")
        if len(self.root) != HASH_SIZE:
            raise NoteError(f"a root has {HASH_SIZE} bytes, not {len(self.root)}")

    def body(self) -> str:
        """The note text to sign (tlog-checkpoint, "Note text"), without extension lines."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a note text; extension lines are tolerated and dropped, NoteError otherwise."""
        lines = text.removesuffix("\n").split("\n")
        if not text.endswith("\n") or len(lines) < 3 or "" in lines:
            raise NoteError("a checkpoint has three or more lines, none of them empty")
        origin, size, root = lines[:3]
        if not _DECIMAL.fullmatch(size):
            raise NoteError("the size of a checkpoint is not a plain decimal number")
        return cls(origin, int(size), from_base64(root))


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """First 4 bytes of SHA-256(name || newline || type byte || key) (signed-note)."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def verify(note: bytes, vkeys: Iterable[VKey]) -> str:
    """Return the text of a note signed by at least one of ``vkeys``.

    Signatures by unknown keys are ignored; a wrong one by a known key refuses the whole note
    (signed-note, "Signatures").  Raises NoteError if malformed, refused, or not signed by any.
    """
    known: dict[tuple[str, bytes], VKey] = {}
    for key in vkeys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise NoteError(f"two verifier keys are both {key.name}+{key.key_id.hex()}")

    parsed = Note.parse(note)
    relevant = [line for line in parsed.signatures if (line.name, line.key_id) in known]
    if not relevant:
        raise NoteError("no known key signed the note")
    for line in relevant:
        known[line.name, line.key_id].check(parsed.text, line)
    return parsed.text


def open_checkpoint(note: bytes, vkeys: Iterable[VKey], origin: str) -> Checkpoint:
    """Return the checkpoint of log ``origin`` in a verified note.

    Raises NoteError as `verify` and `Checkpoint.parse`, or if it is another log's: the same
    key may serve several logs.
    """
    checkpoint = Checkpoint.parse(verify(note, vkeys))
    if checkpoint.origin != origin:
        raise NoteError("the checkpoint is of another log")
    return checkpoint


def _require_name(name: str) -> str:
    odd = "+" in name or any(map(str.isspace, name)) or _FORBIDDEN.search(name)
    if not name or odd:
        raise NoteError("a key name is not empty and has no space, plus or control character")
    return name


def _require_text(text: str) -> str:
    if not text.endswith("\n"):
        raise NoteError("the text of a note ends with a newline")
    if _FORBIDDEN.search(text):
        raise NoteError("a note has no control characters but newlines")
    return text


def to_base64(data: bytes) -> str:
    """Standard base64, as all formats of C2SP use it."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """Inverse of `to_base64`; NoteError on any other spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NoteError("a value is not base64") from error
    # Only one spelling per value, so that two different notes never mean the same thing.
    if to_base64(raw) != text:
        raise NoteError("a value is not canonical base64")
    return raw
