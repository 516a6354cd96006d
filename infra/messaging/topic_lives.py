"""Where a subscription stands in the life of a topic that it meets (docs/adr/0022)."""

from infra.messaging.sources.base import Life
from infra.postgres.transaction import Transaction
from infra.workers.alarms import raise_alarm

TOPIC = "topic"
"""Kind of the alarms about a topic."""


async def begin_life(
    tx: Transaction, subscription: str, source: str, partition: int, life: Life
) -> int:
    """Where to read on: the start of a life that the offset row does not know yet."""
    row = await tx.fetchrow(
        "UPDATE offsets o SET identity = $4, next = "
        "CASE WHEN o.identity = $4 THEN o.next ELSE $5 END FROM offsets was "
        "WHERE (o.subscription, o.source, o.partition) = ($1, $2, $3) "
        "AND (was.subscription, was.source, was.partition) = ($1, $2, $3) "
        "RETURNING o.next, was.identity IS DISTINCT FROM $4 "
        "AND was.identity IS NOT NULL AS other",
        subscription, source, partition, life.identity, life.start,
    )  # fmt: skip
    assert row is not None  # locked before
    if row["other"] and life.alarm:
        await raise_alarm(tx, TOPIC, f"{source} {partition}", life.alarm)
    return int(row["next"])
