"""How a service's table stands on its topic: which topic, since when, how far.

Marks of readers belong to one generation of one topic. Without a generation the relay begins a
new one: it notes where the topic ends, and publishes again from the first event. That is how a
topic is repaired, and what follows when a database was put back (docs/adr/0022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from contracts.registry import SERVICES
from infra.messaging.sources.base import SourceBrokenError
from infra.messaging.topic_ids import FoundTopic
from infra.postgres.database import role_of
from infra.postgres.ddl import script
from infra.postgres.transaction import Transaction


def create_publication(schema: str, role: str) -> None:
    """The table, of one row at most; every reader of the topic reads it."""
    readers = ", ".join(role_of(service) for service in SERVICES)
    script(
        f"""
        CREATE TABLE {schema}.publication (
          one        boolean PRIMARY KEY DEFAULT true CHECK (one),
          generation uuid,              -- null: the relay begins another one
          topic_id   uuid,
          starts     bigint[] NOT NULL, -- by partition: where the generation begins
          lasts      bigint[] NOT NULL, -- by partition: position of the last event published
          since      timestamptz NOT NULL DEFAULT now()
        );
        GRANT SELECT, INSERT, UPDATE ON {schema}.publication TO {role};
        GRANT SELECT ON {schema}.publication TO {readers};
        """
    )


@dataclass(frozen=True, slots=True)
class Publication:
    """One generation of a topic."""

    generation: UUID
    topic_id: UUID
    starts: tuple[int, ...]

    def start(self, partition: int) -> int:
        """Where it begins in a partition; one that the relay does not use begins at 0."""
        return self.starts[partition] if partition < len(self.starts) else 0

    def require(self, current: FoundTopic | None, topic: str, service: str) -> FoundTopic:
        """The topic of this generation; raises ``SourceBrokenError`` for any other."""
        if current is None or current.topic_id != self.topic_id:
            what = "is gone" if current is None else "was deleted and made again"
            raise SourceBrokenError(f"{topic} {what}: aiguillage republish {service}")
        return current


async def read_publication(tx: Transaction, service: str) -> Publication | None:
    """How a service is published now; None: a relay has yet to begin."""
    row = await tx.fetchrow(
        f"SELECT generation, topic_id, starts FROM {service}.publication "
        "WHERE generation IS NOT NULL"
    )
    return (
        Publication(row["generation"], row["topic_id"], tuple(row["starts"])) if row else None
    )


async def partitions_before(tx: Transaction) -> int | None:
    """How many partitions the topic has had so far; waits for whoever begins a generation."""
    await tx.execute(
        "INSERT INTO publication (starts, lasts) VALUES ('{}', '{}') ON CONFLICT DO NOTHING"
    )
    starts = await tx.fetchval("SELECT starts FROM publication FOR UPDATE")
    return len(starts) or None


async def begin_generation(tx: Transaction, topic_id: UUID, ends: Sequence[int]) -> Publication:
    """From now on the topic holds the whole table, after ``ends``; the relay starts again."""
    made = Publication(uuid4(), topic_id, tuple(ends))
    await tx.execute(
        "UPDATE publication SET generation = $1, topic_id = $2, starts = $3, lasts = $4, "
        "since = now()",
        made.generation,
        topic_id,
        list(ends),
        [0] * len(ends),
    )
    await tx.execute("UPDATE offsets SET next = 0, position = 0 WHERE subscription = 'relay'")
    return made


async def read_lasts(tx: Transaction, generation: UUID) -> list[int] | None:
    """Position of the last event in each partition; None if the generation has ended."""
    lasts: list[int] | None = await tx.fetchval(
        "SELECT lasts FROM publication WHERE generation = $1 FOR UPDATE", generation
    )
    return lasts


async def keep_lasts(tx: Transaction, lasts: Sequence[int]) -> None:
    """What ``read_lasts`` answers from now on."""
    await tx.execute("UPDATE publication SET lasts = $1", list(lasts))


async def end_generation(tx: Transaction) -> None:
    """Let the relay publish everything again, in a generation of its own."""
    await tx.execute("UPDATE publication SET generation = NULL")
