"""What the audit service answers: the log, its proofs, and pathways."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from contracts.base import Contract
from contracts.values import (
    Author,
    BusinessStatus,
    CaseStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
    Thematique,
)

Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
Note = Annotated[str, Field(description="A signed checkpoint (C2SP tlog-checkpoint).")]


class LogKey(Contract):
    """A key that checkpoints are or were signed with (C2SP signed-note verifier key)."""

    vkey: str
    algorithm: str = Field(description="`ed25519` or `ml-dsa-44`.")
    since: datetime = Field(alias="from")
    until: datetime | None = Field(description="It signs nothing after that.")


class LogWitness(Contract):
    """Somebody who cosigns checkpoints: how far it got, and whether it contradicts us."""

    name: str
    vkey: str
    size: int | None = Field(description="Entries under its last cosignature.")
    alarm: str | None


class LogDescription(Contract):
    """The log's name, its keys and witnesses, its size, and how much of it is signed."""

    origin: str
    vkey: str = Field(description="The Ed25519 key that signs now, and goes on signing.")
    keys: list[LogKey] = Field(description="All that ever signed, oldest first.")
    witnesses: list[LogWitness]
    size: int
    signed_size: int | None
    root: Base64 | None = Field(description="Root under the newest checkpoint.")
    refusal: str | None = Field(description="Why nothing more is signed: call the operator.")


class SignedCheckpoint(Contract):
    """One checkpoint that was signed."""

    size: int
    note: Note


class Checkpoints(Contract):
    """Signed checkpoints, oldest first."""

    checkpoints: list[SignedCheckpoint]


class Entry(Contract):
    """One entry of the log, with what it commits to and the salts that show it."""

    idx: int
    entry: Base64 = Field(description="The bytes that are hashed: commitments, nothing else.")
    leaf_hash: Base64
    position: int = Field(description="Position among the events of its service.")
    header: str = Field(
        description=(
            "Who, what and when, as the JSON text that is committed to: service, id, stream, "
            "version, type, person, occurred_at, recorded_at, actor."
        )
    )
    data: str = Field(description="The clear part: the JSON text that is committed to.")
    sealed: Base64 | None = Field(description="The personal part as stored, encrypted.")
    salt: Base64 = Field(description="32 bytes that hide header and data in the entry.")
    sealed_salt: Base64 | None = Field(
        description="32 bytes that hide the sealed part in the entry; destroyed with it."
    )


class Entries(Contract):
    """A page of the log."""

    entries: list[Entry]
    next: str | None = Field(description="Path of the next page, where this one is full.")


class EntrySpan(Contract):
    """Entries ``start`` to ``stop``, the latter excluded."""

    start: int
    stop: int


class InclusionProof(Contract):
    """Proof that an entry is in the log of ``size`` entries (RFC 9162 §2.1.3)."""

    index: int
    size: int
    leaf_hash: Base64
    proof: list[Base64]
    root: Base64
    checkpoint: Note | None = Field(description="Given where it is the newest one's size.")


class ConsistencyProof(Contract):
    """Proof that a log extends a smaller one (RFC 9162 §2.1.4)."""

    from_size: int = Field(alias="from")
    to_size: int = Field(alias="to")
    from_root: Base64
    to_root: Base64
    proof: list[Base64]
    checkpoint: Note | None = Field(description="Given where it is the newest one's size.")


class CaseState(Contract):
    """One case, as its events say."""

    status: CaseStatus
    thematique: Thematique
    need_id: UUID
    urgent: bool = False
    proposal_id: UUID | None = None
    exhausted: str | None = None
    outcome: str | None = None


class ReferralState(Contract):
    """One referral, as its events say."""

    status: ReferralStatus
    business_status: BusinessStatus | None = None
    case_id: UUID
    partner_id: str
    partner_kind: PartnerKind
    service_id: str
    proposal_id: UUID | None = None
    attempt: int = 1
    replaces: UUID | None = None
    confirmed_by: str | None = None
    agreement_id: UUID | None = None
    author: Author | None = None
    on_behalf_of: Author | None = None
    reason: Reason | None = None
    outcome: str | None = None
    appointment_at: datetime | None = None


class TimelineItem(Contract):
    """One event of a person, as it stands in the log."""

    idx: int
    person_id: UUID | None = Field(description="Under which id it was recorded.")
    time: datetime = Field(description="When it happened.")
    recorded_at: datetime
    type: str
    sentence: str = Field(description="The event in French, from its clear part alone.")
    service: str
    actor: str
    data: dict[str, Any]
    sealed: bool = Field(description="Whether there is a personal part, still encrypted.")
    erased: bool = Field(description="Whether there was one, and it was erased.")


class PathwayAsOf(Contract):
    """One person's timeline, and the states of their cases and referrals as of then."""

    person_id: UUID
    persons: list[UUID] = Field(description="All ids of the person: two records were merged.")
    at: int = Field(description="Index of the last entry that was looked at.")
    as_of: datetime | None = None
    timeline: list[TimelineItem]
    cases: dict[UUID, CaseState]
    referrals: dict[UUID, ReferralState]
    entries: int = Field(description="How many entries were folded.")
    erased: int = Field(description="How many of them had a personal part that was erased.")
    unread: int = Field(description="How many of them nobody here can read.")


class StateChange(Contract):
    """One value that differs between two states."""

    path: str = Field(description="Where: `cases/ID/status`.")
    before: Any
    after: Any


class ReplayLine(Contract):
    """One line of a replay: one of these."""

    entry: TimelineItem | None = None
    change: StateChange | None = None
    next: int | None = Field(None, description="From where to go on, if the answer is cut.")
    size: int | None = Field(None, description="Up to where the log is read.")
    state: dict[str, Any] | None = Field(
        None, description="The states as of then (how-to: audit offline)."
    )
