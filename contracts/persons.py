"""What the intake says of persons who may be one: suspected, judged, merged, taken apart; and
with which systems a person is shared.
"""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from contracts.base import Event, Sealed
from contracts.bounds import Actor, Remark, Sentence
from contracts.values import MatchKind

Matches = Annotated[list[MatchKind], Field(max_length=10)]


class DuplicateSuspected(Event):
    """Two persons may be one: what they have in common, never its value."""

    type = "fr.aiguillage.intake.person.duplicate-suspected.v1"
    person_id: UUID
    other_id: UUID
    matched_on: Matches


class DuplicateDismissed(Event):
    """An adviser found that two persons are not one."""

    type = "fr.aiguillage.intake.person.duplicate-dismissed.v1"
    person_id: UUID
    other_id: UUID
    dismissed_by: Actor


class MergeReason(Sealed):
    """Why two persons were found to be one."""

    reason: Remark


class PersonMerged(Event):
    """A person is the same as another: an alias from here on, nothing is moved."""

    type = "fr.aiguillage.intake.person.merged.v1"
    person_id: UUID
    into: UUID
    merged_by: Actor
    matched_on: Matches = []
    sealed: MergeReason | None = None


class PersonUnmerged(Event):
    """They were two after all."""

    type = "fr.aiguillage.intake.person.unmerged.v1"
    person_id: UUID
    from_id: UUID
    unmerged_by: Actor


class SharedSealed(Sealed):
    """With which system, as it is spelt in what it sends, and why."""

    source: Sentence
    reason: Remark | None = None


class PersonShared(Event):
    """Another system may speak of the person from here on, as those that brought them may."""

    type = "fr.aiguillage.intake.person.shared.v1"
    person_id: UUID
    shared_by: Actor
    sealed: SharedSealed | None = None
