"""What a system gets for an event that was taken: ids of what came of it, never a value."""

from datetime import datetime
from uuid import UUID

from contracts.base import Contract
from contracts.values import Thematique


class CreatedNeed(Contract):
    """A need that an event opened."""

    need_id: UUID
    case_id: UUID
    thematique: Thematique


class LeftOut(Contract):
    """A field of identity that could not be taken: which, and why; never what it held."""

    field: str
    reason: str


class Receipt(Contract):
    """What was created from one event; a repeat of the event gets the same receipt.

    ``left_out``: what was not taken of the person's identity, for it is badly written; send it
    again with the person's facts.
    """

    id: str
    source: str
    type: str
    person_id: UUID
    contact_id: UUID | None = None
    needs: list[CreatedNeed] = []
    agreements: list[UUID] = []
    left_out: list[LeftOut] = []
    recorded_at: datetime
