"""Our records on Kafka are known by a code that only this hub can make.

Whoever may write to a broker may write to our topics; a reader believes a record only with an
HMAC-SHA-256 over everything that is read of it, over the partition that it was sent to, and
over the generation of the topic (docs/adr/0022).
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from infra.keys.key_ring import KeyRing
from infra.keys.vault import keyed_digest

MAC = "ce_mac"
GENERATION, PREVIOUS, ABSENT = "ce_generation", "ce_previous", "ce_absent"


class NotAuthenticError(ValueError):
    """A record that this hub did not make, or not for this place; says nothing of its text."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a relay says of a record besides its event.

    ``previous``: the position before it in its partition, so that a hole shows. ``absent``:
    data and sealed part did not fit; the table has them.
    """

    generation: UUID
    previous: int
    absent: bool = False

    def headers(self) -> list[tuple[str, bytes]]:
        """As they travel."""
        found = [
            (GENERATION, str(self.generation).encode()),
            (PREVIOUS, str(self.previous).encode()),
        ]
        return [*found, (ABSENT, b"1")] if self.absent else found


class RecordKey:
    """Makes and checks the codes of records.

    Its key derives from the hub's index key, which every process has and which never changes.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._key = ring.index.derive("kafka-records")

    async def ready(self) -> None:
        """Make sure that the index key is this hub's; raises ``KeyUnavailableError``."""
        await self._ring.keys()

    def sign(
        self, partition: int, value: bytes, headers: list[tuple[str, bytes]], stamp: Stamp
    ) -> list[tuple[str, bytes]]:
        """A record's headers with its stamp and code, for one partition."""
        stamped = [*headers, *stamp.headers()]
        return [*stamped, (MAC, self.code(partition, value, stamped))]

    def code(
        self, partition: int, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
    ) -> bytes:
        """The code of a record, as its header carries it; ``ce_`` headers are part of it."""
        named = {n: t or b"" for n, t in headers if n.startswith("ce_") and n != MAC}
        framed = [part for n in sorted(named) for part in (n.encode(), named[n])]
        return keyed_digest(
            self._key, b"record 1", str(partition).encode(), value or b"", *framed
        ).hex().encode()  # fmt: skip

    def verify(
        self, partition: int, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
    ) -> Stamp:
        """What our relay says of a record; raises ``NotAuthenticError`` if it is not its."""
        given = list(headers)
        named = dict(given)
        code = named.get(MAC)
        if not code:
            raise NotAuthenticError("without a code of this hub")
        if not hmac.compare_digest(code, self.code(partition, value, given)):
            raise NotAuthenticError("its code is not this hub's, or of another place")
        return Stamp(
            UUID((named[GENERATION] or b"").decode()),
            int(named[PREVIOUS] or b""),
            ABSENT in named,
        )
