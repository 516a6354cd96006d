"""Bodies of messages, made from the stored event at each send.

The sealed part is opened then and not before: what is kept of a message dies with the person's
key, and an agreement that has ended meanwhile keeps it from leaving.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from contracts.referrals import DeadlinePassed, ReferralCancelled, ReferralRequested
from contracts.registry import parse_event
from infra.vault import PersonKey
from infra.webhooks.sender import Outcome, Outgoing, Sent
from services.partners.model import (
    compose_cancellation,
    compose_reminder,
    compose_request,
    expired,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Composer:
    """What one set of messages is made with: keys of persons, secrets of endpoints, today."""

    answer_url: str
    persons: Mapping[UUID, PersonKey]
    secrets: Mapping[UUID, list[bytes]]
    now: datetime

    def compose(self, row: Any) -> Outgoing | Sent:
        """The message, or why there is none: one that fails must not hold up the others."""
        if expired(row["agreed_until"], self.now.date()):
            return Sent(Outcome.PERMANENT, "agreement-expired")
        if row["person_id"] not in self.persons:
            return Sent(Outcome.PERMANENT, "person-erased")
        if row["endpoint_id"] not in self.secrets:
            return Sent(Outcome.PERMANENT, "no-secret")
        try:
            return self._outgoing(row)
        except Exception as error:
            log.error("message not composed", error=type(error).__name__)
            return Sent(Outcome.PERMANENT, "not-composed")

    def _outgoing(self, row: Any) -> Outgoing:
        secrets = self.secrets[row["endpoint_id"]]
        return Outgoing(
            row["url"], webhook_id(row), self.body(row), secrets, row["traceparent"]
        )

    def body(self, row: Any) -> bytes:
        """The message's JSON: the same bytes whenever it is made."""
        event, at = parse_event(row["event_type"], row["data"]), row["occurred_at"]
        if isinstance(event, ReferralRequested):
            return compose_request(event, self.fields(row), at, self.answer_url)
        if isinstance(event, DeadlinePassed):
            return compose_reminder(event, at, self.answer_url)
        assert isinstance(event, ReferralCancelled)
        return compose_cancellation(event, row["partner_id"], row["service_id"], at)

    def fields(self, row: Any) -> dict[str, Any]:
        """What the partner may learn of the person."""
        if not row["sealed"]:
            return {}
        person = self.persons[row["person_id"]]
        clear = person.unseal(row["event_id"], row["event_type"], row["sealed"])
        fields: dict[str, Any] = orjson.loads(clear)["fields"]
        return fields


def webhook_id(row: Any) -> str:
    """The message's id: the same over all attempts, channels and redeliveries."""
    return f"dlv_{row['delivery_id'].hex}"
