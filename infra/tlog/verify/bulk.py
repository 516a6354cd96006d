"""A bundle of entries at once: what ``checks.vouched`` says of each, in a third of the time.

A check of a long log spends its time here. What does not hold is not named: then the entries
are looked at one by one.
"""

import hashlib
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import compress
from typing import Annotated, NamedTuple

import msgspec

from infra.tlog.checks import MAX_VERSION
from infra.tlog.commitment import DATA, HEADER, SALT_BYTES, SEALED, Opening, begun
from infra.tlog.merkle import HASH_SIZE

Digest = Annotated[str, msgspec.Meta(min_length=2 * HASH_SIZE, max_length=2 * HASH_SIZE)]

_LEAF, _NODE = sha256(b"\0"), sha256(b"\1")
_HEADER, _DATA, _SEALED = begun(HEADER), begun(DATA), begun(SEALED)


class _Entry(msgspec.Struct, gc=False):
    """Fields checked of an entry whose form is the one that the hub writes."""

    header: Digest
    data: Digest
    sealed: Digest | None


class _Header(msgspec.Struct, gc=False):
    """Fields checked of a header whose form is the one that the hub writes."""

    service: str
    stream: str
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]


_entry = msgspec.json.Decoder(_Entry).decode
_header = msgspec.json.Decoder(_Header).decode


class AllVouched(NamedTuple):
    """Contents of many entries: stream and version of each; how many lack a sealed part."""

    versions: list[tuple[str, int]]
    erased: int


def leaf_hashes(entries: Iterable[bytes]) -> bytes:
    """The leaf hashes of entries, as a tile of level 0 holds them."""
    return _digests(_LEAF, entries)


def tile_root(data: bytes) -> bytes:
    """The root over the hashes of a full tile."""
    while len(data) > HASH_SIZE:
        pairs = range(0, len(data), 2 * HASH_SIZE)
        data = _digests(_NODE, [data[at : at + 2 * HASH_SIZE] for at in pairs])
    return data


def all_vouched(entries: Sequence[bytes], openings: Sequence[Opening]) -> AllVouched | None:
    """Return what entries say, if all of it is there and holds; else None."""
    salts, headers, data, sealed = zip(*openings, strict=True)
    lengths = [SALT_BYTES + SALT_BYTES * bool(part) for part in sealed]
    if not (
        all(headers)
        and all(data)
        and all(map(bytes.isascii, entries))
        and all(map(bytes.isascii, headers))
        and [len(salt) for salt in salts] == lengths
    ):
        return None
    try:
        stated = [_entry(entry) for entry in entries]
        names = [_header(header) for header in headers]
    except (msgspec.MsgspecError, ValueError):
        return None
    wanted = [entry.sealed for entry in stated]
    theirs = [digest for digest in compress(wanted, sealed) if digest]
    there = list(compress(sealed, sealed))
    clear = [salt[:SALT_BYTES] for salt in salts]
    hiding = [salt[SALT_BYTES:] for salt in compress(salts, sealed)]
    if not (
        len(there) == len(theirs)
        and _commitments(_HEADER, clear, headers) == "".join([entry.header for entry in stated])
        and _commitments(_DATA, clear, data) == "".join([entry.data for entry in stated])
        and _commitments(_SEALED, hiding, there) == "".join(theirs)
    ):
        return None
    versions = [(f"{name.service}\n{name.stream}", name.version) for name in names]
    return AllVouched(versions, len(wanted) - wanted.count(None) - len(there))


def _commitments(begun: "hashlib._Hash", salts: Iterable[bytes], parts: Iterable[bytes]) -> str:
    """``commitment`` of each part with its salt, in hexadecimal, one after the other."""
    framed = zip(salts, parts, strict=True)
    items = [b"%b%b%b" % (salt, len(part).to_bytes(8), part) for salt, part in framed]
    return _digests(begun, items).hex()


def _digests(begun: "hashlib._Hash", parts: Iterable[bytes]) -> bytes:
    """SHA-256 of each part after what was begun: a copied state spares setting one up."""
    copy, digests = begun.copy, []
    for part in parts:
        state = copy()
        state.update(part)
        digests.append(state.digest())
    return b"".join(digests)
