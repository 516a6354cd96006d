"""What became of deliveries that were sent: columns to store, and the events that say so."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from contracts.base import Event
from contracts.partners import DeliveryDeadLettered, DeliveryFailed, DeliverySucceeded
from contracts.values import MessageKind
from infra.delivery.webhook.sender import Outcome, Sent
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending
from services.partners.handlers.compose import LeasedRow
from services.partners.model.delivery import blames_address, taken_over


@dataclass(frozen=True, slots=True)
class Leased:
    """A delivery that this process sends now; ``tries``: since it was last asked for."""

    delivery_id: UUID
    lease: UUID
    referral_id: UUID
    person_id: UUID
    partner_id: str
    message: MessageKind
    channel: str
    attempts: int
    tries: int
    traceparent: str | None
    sent_at: datetime

    @classmethod
    def of(cls, row: LeasedRow, lease: UUID, now: datetime) -> Self:
        """Return what is remembered of a row while it is on its way."""
        return cls(
            delivery_id=row.delivery_id,
            lease=lease,
            referral_id=row.referral_id,
            person_id=row.person_id,
            partner_id=row.partner_id,
            message=row.message,
            channel=row.channel,
            attempts=row.attempts,
            tries=row.attempts - row.tries_before,
            traceparent=row.traceparent,
            sent_at=now,
        )


class NextChannel(NamedTuple):
    """The address that takes a delivery over (``NEXT_CHANNELS``); none: a human does."""

    delivery_id: UUID
    service_id: str
    message: str
    from_channel: str
    endpoint_id: UUID | None
    to_channel: str | None


@dataclass(slots=True)
class Verdict:
    """What a result means for a delivery. ``state``: the one it gets, unless it changed."""

    leased: Leased
    endpoint_id: UUID
    sent: Sent
    state: str
    next_attempt_at: datetime | None
    duration_ms: int = 0
    moved: NextChannel | None = None

    def move_on(self, following: NextChannel, now: datetime) -> None:
        """Leave the delivery to the partner's next channel, at last to a human."""
        self.moved, self.state = following, "manual"
        if following.endpoint_id:
            self.state, self.next_attempt_at = "pending", now

    def blames_address(self) -> bool:
        """Whether the failure says something of the address."""
        failed = self.sent.outcome is Outcome.RETRY
        return failed and blames_address(self.leased.message, self.sent.status)

    def stored(self) -> tuple[Any, ...]:
        """Return the columns of ``RECORD``, in its order."""
        return (
            self.leased.delivery_id,
            self.leased.lease,
            self.state,
            self.next_attempt_at,
            self.sent.error,
            self.sent.status,
            self.moved and self.moved.endpoint_id,
            self.endpoint_id,
            self.leased.attempts,
            self.sent.outcome,
            self.leased.sent_at,
            self.duration_ms,
            self.sent.external_id,
        )

    def pending(self) -> Iterable[Pending]:
        """Return the event that says so, if it is one: of failures in a row the first is."""
        leased = self.leased
        if (event := self._event()) is None:
            return []
        meta = EventMetadata(
            origin=f"partner:{leased.partner_id}", traceparent=leased.traceparent
        )
        return [Pending(f"delivery-{leased.delivery_id}", [event], leased.person_id, meta)]

    def _event(self) -> Event | None:
        leased, error = self.leased, self.sent.error or "unknown"
        about: dict[str, Any] = {
            "delivery_id": leased.delivery_id,
            "referral_id": leased.referral_id,
            "partner_id": leased.partner_id,
            "message": leased.message,
        }
        if self.state == "succeeded":
            return DeliverySucceeded(**about, attempts=leased.attempts, channel=leased.channel)
        if self.state == "dead":
            return DeliveryDeadLettered(**about, attempts=leased.attempts, error=error)
        if self.moved:
            return taken_over(self.moved._asdict() | about, error)
        if leased.tries > 1:
            return None
        return DeliveryFailed(**about, error=error, channel=leased.channel)
