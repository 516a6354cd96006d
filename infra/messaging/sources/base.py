"""What a subscription reads from: a table, or a Kafka topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from infra.postgres.transaction import Transaction

E = TypeVar("E")
PLACE_ONLY = b""
"""What is kept of a parked message where its place must do."""
UNREADABLE, FOREIGN, GONE = "unreadable-records", "foreign-records", "records-gone"
"""Kinds of alarms about records."""


class SourceBrokenError(ConnectionError):
    """Reading on would skip events, or take what is none: stop, until a human has repaired it.

    The text becomes an alarm; it says what is wrong and names the verb, and nothing personal.
    """


@dataclass(frozen=True, slots=True)
class Life:
    """Which life of a topic a reader meets: offsets of another one mean nothing in this one.

    ``start``: where it begins. ``alarm``: raised for a reader that had stood in another.
    """

    identity: UUID
    start: int
    alarm: str = ""


@dataclass(frozen=True, slots=True)
class Message(Generic[E]):
    """One record of a source.

    ``offset`` numbers the records of a partition. ``position`` is the event's own, where it has
    one: a record that a crashed relay published twice has a new offset but its old position.
    ``problem`` says why a record could not be read; then ``event`` is None, and ``alarm`` is
    the kind of the alarm to be raised. ``author`` is who caused it, from outside; none: nobody
    did. ``previous`` is the position of the event before it in its partition: if that was not
    applied, something is missing. ``absent``: the event's data did not travel,
    ``Source.complete`` fetches it.
    """

    offset: int
    key: str
    event: E | None
    position: int | None = None
    problem: str | None = None
    author: str | None = None
    alarm: str = ""
    previous: int = 0
    absent: bool = False


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

    async def next_offset(self, partition: int, life: Life | None = None) -> int:
        """The first offset not handled yet: the start of ``life`` if it stood in another."""
        ...

    async def pass_over(self, partition: int, first: int) -> None:
        """Go on at ``first``, for what was before is gone: an alarm counts it, once."""
        ...

    async def raise_alarm(self, kind: str, subject: str, detail: str) -> None:
        """Tell humans what the source met."""
        ...


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

    async def complete(
        self, tx: Transaction, messages: Sequence[Message[E]]
    ) -> Sequence[Message[E]]:
        """Messages as they are to be handled, in the transaction that applies them.

        Raises an infrastructure error if they do not hold any more.
        """
        ...

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

    async def again(self, tx: Transaction, source: str, partition: int, offset: int) -> E:
        """Read one message anew, of which no more than the place is kept.

        ``source`` may be the one that this one ``inherits`` from. Raises ``ValueError`` if it
        still cannot be read, or is no longer there.
        """
        ...


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """A Kafka record that a stranger produced: nothing about it is known to be right.

    ``size`` in bytes, with key and headers; one that is too large has nothing else.
    """

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    size: int = 0
