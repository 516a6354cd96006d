"""What a subscription reads from: a table, or a Kafka topic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Message(Generic[E]):
    """One record of a source.

    ``offset`` numbers the records of a partition. ``position`` is the event's own, where it has
    one: a record that a crashed relay published twice has a new offset but its old position.
    ``problem`` says why a record could not be read; then ``event`` is None.
    """

    offset: int
    key: str
    event: E | None
    position: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Batch(Generic[E]):
    """Messages of one partition in order; ``start`` is where the reader stood before them,
    ``end`` where it stands after (they may be further apart than the messages are many)."""

    partition: int
    start: int
    end: int
    messages: Sequence[Message[E]]


class Offsets(Protocol):
    """Where the subscription stands, according to its database."""

    async def next_offset(self, partition: int) -> int: ...


class Source(Protocol[E]):
    """A stream of batches. Only one task uses it at a time (others may ask for ``lag``).

    ``inherits`` names another source of the same events, if there is one: a subscription that
    moves from there to here does not apply again what it had applied there.
    """

    name: str
    inherits: str | None

    async def start(self, offsets: Offsets) -> None:
        """Connect; raises an infrastructure error if the other side is not there."""

    async def fetch(self, limit: int, seconds: float) -> list[Batch[E]]:
        """Wait up to ``seconds`` for up to ``limit`` messages."""
        ...

    async def seek(self, partition: int, offset: int) -> None:
        """Read again from ``offset``."""

    async def lag(self) -> dict[int, int]:
        """Partition → messages not yet fetched."""
        ...

    async def stop(self) -> None:
        """Disconnect; bounded in time."""

    def dump(self, message: Message[E]) -> bytes:
        """What is kept of a message that is parked: never anything personal in clear."""
        ...

    def parse(self, record: bytes) -> E:
        """Read back what ``dump`` kept; raises ``ValueError`` if that is not possible."""
        ...


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """A Kafka record that a stranger produced: nothing about it is known to be right."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
