"""What the audit answers about a person's data; the log's answers are ``contracts.audit``."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from contracts.audit import PathwayAsOf, TimelineItem
from contracts.base import Answered
from contracts.erasure import ErasureReason
from contracts.explanation import Candidate, FactUsed


class OpenedItem(TimelineItem):
    """One event of a person, with what was sealed of it."""

    personal: dict[str, Any] | None = Field(
        description="Null where nothing was sealed, or it was erased."
    )


class OpenedPathway(PathwayAsOf):
    """One person's timeline with what is sealed, and the states of cases and referrals."""

    timeline: list[OpenedItem]  # type: ignore[assignment]


class ToldProposal(Answered):
    """A proposal that was made for the person, and why; empty where it was erased."""

    time: datetime
    rules: str | None = Field(description="The name of the rules.")
    rules_digest: str | None
    summary: str | None
    facts: list[FactUsed]
    candidates: list[Candidate]


class ToldDisclosure(Answered):
    """Who received what of the person, and by which agreement."""

    time: datetime
    partner: str | None = Field(description="Its name.")
    partner_id: str | None
    fields: list[str] | None
    referral_id: UUID | None
    agreement_id: UUID | None


class ToldView(Answered):
    """Who looked at the person's data, by their role; at what, and why."""

    time: datetime
    by: str
    view: str
    fields: list[str]
    reason: str | None


class AccessGiven(OpenedPathway):
    """Everything held of a person (RGPD art. 15); colleagues are named by their role."""

    given_at: datetime
    known: dict[str, Any] = Field(description="Identity and facts as stated last.")
    proposals: list[ToldProposal]
    disclosures: list[ToldDisclosure]
    views: list[ToldView]


class ErasureReceipt(Answered):
    """The receipt of an erasure: an entry of the log that can be proved."""

    person_id: UUID
    event_id: UUID
    idx: int = Field(description="Index of the entry.")
    recorded_at: datetime
    reason: ErasureReason
    requested_at: datetime
    destroyed_at: datetime


class ErasureReceipts(Answered):
    """The receipts of a person's erasure, under each of their ids that was erased."""

    receipts: list[ErasureReceipt]
