"""A bundle of entries at once: what ``audit.vouched`` says of each, in a third of the time.

A check of a long log spends its time here. What does not hold is not named: then the entries
are looked at one by one.
"""

import hashlib
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import compress
from typing import Annotated, NamedTuple

import msgspec

from infra.tlog.audit import MAX_VERSION
from infra.tlog.merkle import HASH_SIZE

Digest = Annotated[str, msgspec.Meta(min_length=2 * HASH_SIZE, max_length=2 * HASH_SIZE)]

_LEAF, _NODE, _PART = sha256(b"\0"), sha256(b"\1"), sha256()


class _Said(msgspec.Struct, gc=False):
    """What is checked of an entry whose form is the one that the hub writes."""

    service: str
    stream: str
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    data_sha256: Digest
    sealed_sha256: Digest | None


_said = msgspec.json.Decoder(_Said).decode


class AllVouched(NamedTuple):
    """What many entries say: stream and version of each; how many lack a sealed part."""

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


def all_vouched(
    entries: Sequence[bytes], data: Sequence[bytes], sealed: Sequence[bytes]
) -> AllVouched | None:
    """What entries say, if all of it is there and holds; None where something might not."""
    if not (all(data) and all(map(bytes.isascii, entries))):
        return None
    try:
        said = [_said(entry) for entry in entries]
    except (msgspec.MsgspecError, ValueError):
        return None
    wanted = [entry.sealed_sha256 for entry in said]
    there = list(compress(sealed, sealed))
    theirs = [digest for digest in compress(wanted, sealed) if digest]
    if not (
        len(there) == len(theirs)
        and _digests(_PART, data).hex() == "".join([entry.data_sha256 for entry in said])
        and _digests(_PART, there).hex() == "".join(theirs)
    ):
        return None
    versions = [(f"{entry.service}\n{entry.stream}", entry.version) for entry in said]
    return AllVouched(versions, len(wanted) - wanted.count(None) - len(there))


def _digests(begun: "hashlib._Hash", parts: Iterable[bytes]) -> bytes:
    """SHA-256 of each part after what was begun: a copied state spares setting one up."""
    copy, digests = begun.copy, []
    for part in parts:
        state = copy()
        state.update(part)
        digests.append(state.digest())
    return b"".join(digests)
