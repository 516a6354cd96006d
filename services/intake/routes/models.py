"""What the intake answers: to advisers, to whoever answers for data, and to systems."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from contracts.base import Answered
from contracts.erasure import ErasureReason
from contracts.fields import Facts, Identity
from services.intake.model.retention import Step


class Suspicion(Answered):
    """Two persons who may be one."""

    person_id: UUID = Field(description="The younger.")
    other_id: UUID
    matched_on: list[str] = Field(description="What is the same of both; never the value.")
    since: datetime


class Suspicions(Answered):
    """Who may be whom, oldest suspicion first."""

    duplicates: list[Suspicion]


class Merged(Answered):
    """Under which id a person goes on; the other leads there too."""

    person_id: UUID
    into: UUID


class Unmerged(Answered):
    """From whom a person was taken apart again."""

    person_id: UUID
    from_id: UUID = Field(alias="from")


class Profile(Answered):
    """Identity and facts of a person: what was stated."""

    person_id: UUID
    identity: Identity
    facts: Facts


class ErasureProgress(Answered):
    """How far the erasure of one id of a person is."""

    person_id: UUID
    state: Literal["fenced", "forgetting", "erased"] = Field(
        description="No key is opened any more; keys are destroyed; every service forgot."
    )
    reason: ErasureReason
    requested_at: datetime
    destroyed_at: datetime | None
    erased_at: datetime | None


class Erasures(Answered):
    """The erasure of a person, under every id that they were known by."""

    erasures: list[ErasureProgress]


class RetentionStep(Answered):
    """What is due of one id, on account of the last contact under any of the person's."""

    person_id: UUID
    step: Step
    last_contact_on: date


class RetentionPreview(Answered):
    """What retention would do: how many of each step, and the first of them."""

    archive: int
    erase: int
    due: list[RetentionStep] = Field(description="Oldest contact first, at most ``limit``.")


class RefusedRecord(Answered):
    """A record that was refused: where it is, and why. Nothing of its text but its id."""

    id: str | None = Field(description="That the event names; only by `source`.")
    topic: str
    partition: int
    offset: int
    reason: str = Field(description="As the problem type that HTTP would have answered.")
    fields: list[str] = Field(description="Those at fault; `*` for unknown names.")
    refused_at: AwareDatetime


class RefusedRecords(Answered):
    """The newest first, at most 500; they are kept for 30 days unless set otherwise."""

    records: list[RefusedRecord]
