"""What a subscription reads from: a table, or a Kafka topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

E = TypeVar("E")
PLACE_ONLY = b""
"""What is kept of a parked message where its place must do."""


@dataclass(frozen=True, slots=True)
class Message(Generic[E]):
    """One record of a source.

    ``offset`` numbers the records of a partition. ``position`` is the event's own, where it has
    one: a record that a crashed relay published twice has a new offset but its old position.
    ``problem`` says why a record could not be read; then ``event`` is None. ``author`` is who
    caused it, from outside; none: nobody did.
    """

    offset: int
    key: str
    event: E | None
    position: int | None = None
    problem: str | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True)
class Batch(Generic[E]):
    """Messages of one partition in order; ``start`` is where the reader stood before them,
    ``end`` where it stands after (they may be further apart than the messages are many)."""

    partition: int
    start: int
    end: int
    messages: Sequence[Message[E]]


class ReadAgainError(ValueError):
    """A parked message cannot be read again; the text says why, without its content."""


class Offsets(Protocol):
    """Where the subscription stands, according to its database."""

    async def next_offset(self, partition: int) -> int: ...


class Source(Protocol[E]):
    """A stream of batches. Only one task uses it at a time (others may ask how far it goes).

    ``inherits`` names another source of the same events, if there is one: a subscription that
    moves from there to here does not apply again what it had applied there.
    """

    name: str
    inherits: str | None
    first: int
    """The lowest offset that there can be."""

    async def start(self, offsets: Offsets) -> None:
        """Connect; raises an infrastructure error if the other side is not there."""

    async def fetch(self, limit: int, seconds: float) -> list[Batch[E]]:
        """Wait up to ``seconds`` for up to ``limit`` messages."""
        ...

    async def seek(self, partition: int, offset: int) -> None:
        """Read again from ``offset``."""

    async def ends(self) -> dict[int, int]:
        """Partition → the offset after its last message, asked of the other side, bounded.

        Of all partitions, whoever reads them. Raises an infrastructure error if the other side
        does not answer.
        """
        ...

    async def oldest(self, standing: Mapping[int, int]) -> datetime | None:
        """When the oldest message from these offsets on (by partition) was written."""
        ...

    async def stop(self) -> None:
        """Disconnect; bounded in time."""

    def dump(self, message: Message[E]) -> bytes:
        """What is kept of a parked event: never anything personal in clear."""
        ...

    def parse(self, record: bytes) -> E:
        """Read back what ``dump`` kept; raises ``ValueError`` if that is not possible."""
        ...

    async def again(self, tx: AsyncConnection, source: str, partition: int, offset: int) -> E:
        """Read one message anew, of which no more than the place is kept.

        ``source`` may be the one that this one ``inherits`` from. Raises ``ValueError`` if it
        still cannot be read, or is no longer there.
        """
        ...


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """A Kafka record that a stranger produced: nothing about it is known to be right."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
