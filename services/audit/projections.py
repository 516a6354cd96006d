"""A person's pathway in one piece, folded from the log; and the read table beside the log."""

from contextlib import aclosing
from typing import Any
from uuid import UUID

from infra.base.clock import rfc3339
from infra.keys.vault import Vault
from infra.postgres.transaction import Transaction
from infra.privacy.restrictions import apply_restrictions
from infra.readmodels.read_tables import ReadTables
from infra.readmodels.rebuild import fold
from services.audit.handlers.replay import AsOf, Log, Replay, item
from services.audit.model.replay import Of, Subject

MAX_ENTRIES = 10_000
"""Entries of one person in one piece; beyond, ask as of an earlier moment, or replay."""


class PathwayTooLongError(Exception):
    """The person has more than ``MAX_ENTRIES`` entries."""


async def read_pathway(log: Log, person_id: UUID, as_of: AsOf) -> dict[str, Any]:
    """Return a person's timeline and states as of then (``contracts.audit.PathwayAsOf``).

    Raises ``UnknownSubjectError`` and ``PathwayTooLongError``.
    """
    replay = Replay(log, Subject(Of.PERSON, str(person_id)), as_of)
    timeline: list[dict[str, Any]] = []
    async with aclosing(log.pages(await replay.span())) as pages:
        async for page in pages:
            timeline += [item(seen) for seen in await replay.seen(page)]
            if len(timeline) > MAX_ENTRIES:
                raise PathwayTooLongError
    return {
        "person_id": str(person_id),
        "at": as_of.before - 1,
        "as_of": rfc3339(as_of.moment) if as_of.moment else None,
        "timeline": timeline,
        **replay.fold.report(),
    }


async def _fill(tx: Transaction, _: Vault) -> int:
    return await fold(tx, "intake", apply_restrictions, "rights")


READ_TABLES = ReadTables("audit", ("limits",), _fill)
"""Tables kept beside the log; the log itself is nobody's read table."""
