"""Whoever of the staff looks at something personal leaves a trace before seeing it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.rights import VIEWED, ReasonSealed
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending, Writer
from infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class View:
    """A display of something personal: of whom, which display, which fields, and why."""

    person_id: UUID
    name: str
    fields: Sequence[str] = ()
    reason: str | None = None


async def log_access(
    tx: Transaction, writer: Writer, views: Iterable[View], meta: EventMetadata
) -> None:
    """Append an event for each; what is shown is shown after the commit.

    Raises ``PersonErasedError`` where a reason would have to be sealed for an erased person.
    """
    viewed = VIEWED[writer.store.service]
    await writer.write(
        tx,
        [
            Pending(
                f"viewed-{view.person_id}",
                [
                    viewed(
                        person_id=view.person_id,
                        viewer=meta.actor,
                        view=view.name,
                        fields=sorted(view.fields),
                        sealed=ReasonSealed(reason=view.reason) if view.reason else None,
                    )
                ],
                view.person_id,
                meta,
            )
            for view in views
        ],
    )
