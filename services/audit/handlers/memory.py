"""What the log's signer remembers having signed, in places that do not go back together.

The database of the log may be restored from an old copy; the keys' database and the published
files are other places, with backups of their own. The signer asks all of them.
"""

from dataclasses import dataclass
from datetime import datetime

from infra.postgres.database import Database
from services.audit.tables.tree import Signed

RECALL = "SELECT size, note FROM signed_logs WHERE origin = $1"
REMEMBER = """
INSERT INTO signed_logs (origin, size, note, signed_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (origin) DO UPDATE
SET size = excluded.size, note = excluded.note, signed_at = excluded.signed_at
WHERE signed_logs.size = $5 AND signed_logs.size < excluded.size
RETURNING size
"""


class OtherSignerError(Exception):
    """The memory is not what was recalled: somebody signs this log from another database."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A checkpoint that was signed, and where that is remembered."""

    place: str
    size: int
    note: bytes


class SignerMemory:
    """One row a log in the keys' database; it never goes back."""

    def __init__(self, vault: Database, origin: str) -> None:
        self._vault = vault
        self._origin = origin

    async def recall(self) -> Remembered | None:
        """What was signed last; None before the first."""
        async with self._vault.transaction() as tx:
            row = await tx.fetchrow(RECALL, self._origin)
        return Remembered("the keys' database", *row) if row else None

    async def remember(self, signed: Signed, after: Remembered | None, at: datetime) -> None:
        """Keep what is about to be given out; committed when this returns.

        ``after``: what `recall` answered. Raises ``OtherSignerError`` if that is no longer so.
        """
        known = after.size if after else None
        async with self._vault.transaction() as tx:
            values = (self._origin, signed.size, signed.note, at, known)
            if await tx.fetchval(REMEMBER, *values) is None:
                raise OtherSignerError("somebody else signed this log in the meantime")
