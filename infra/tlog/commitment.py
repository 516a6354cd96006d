"""Commitments: what an entry of the log states of an event without telling it.

A plain digest of something that can be guessed tells it: a few hundred thousand guesses open
every entry. So each part of an event is committed to together with 32 random bytes, its salt:
who has the salt and the part can show that they belong to the entry, who has not learns
nothing, whatever they guess (docs/adr/0007, docs/adr/0023).
"""

import hashlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

SALT_BYTES = 32
DOMAIN = b"aiguillage-commitment-1\0"
HEADER, DATA, SEALED = b"header\0", b"data\0", b"sealed\0"
"""The parts of an event. Their names keep one part from passing for another."""


def begun(part: bytes) -> "hashlib._Hash":
    """Return the state of SHA-256 after domain and name of the part."""
    return sha256(DOMAIN + part)


_BEGUN = {part: begun(part) for part in (HEADER, DATA, SEALED)}


def commitment(part: bytes, salt: bytes, content: bytes) -> bytes:
    """SHA-256 over domain, part, salt (32 bytes), the content's length in 8 bytes, content.

    Raises ValueError for a salt of another length: what is hidden is hidden by the salt alone.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    state = _BEGUN[part].copy()
    state.update(salt + len(content).to_bytes(8, "big"))
    state.update(content)
    return state.digest()


class Opening(NamedTuple):
    """Contents that an entry commits to: parts of an event, and the salts that show it.

    ``salts``: that of header and data; after it that of the sealed part, if there is one.
    ``sealed`` is empty where there never was one, or it was erased. All four are empty where
    nothing was handed out.
    """

    salts: bytes
    header: bytes
    data: bytes
    sealed: bytes

    def differs(self, entry: Mapping[str, Any]) -> str | None:
        """Return the name of the first part that is not what an entry states, or None.

        Raises KeyError or TypeError if the entry does not state it as entries do.
        """
        salt, sealed_salt = self.salts[:SALT_BYTES], self.salts[SALT_BYTES:]
        if (len(salt), len(sealed_salt)) != (SALT_BYTES, SALT_BYTES if self.sealed else 0):
            return "salt"
        if commitment(HEADER, salt, self.header).hex() != entry["header"]:
            return "header"
        if commitment(DATA, salt, self.data).hex() != entry["data"]:
            return "data"
        gone = entry["sealed"]
        if self.sealed and commitment(SEALED, sealed_salt, self.sealed).hex() != gone:
            return "sealed"
        return None
