"""What the intake says of persons who may be one: suspected, judged, merged, taken apart; and
with which systems a person is shared.
"""

from uuid import UUID

from contracts.base import Event, Sealed
from contracts.values import MatchKind


class DuplicateSuspected(Event):
    """Two persons may be one: what they have in common, never its value."""

    type = "fr.aiguillage.intake.person.duplicate-suspected.v1"
    person_id: UUID
    other_id: UUID
    matched_on: list[MatchKind]


class DuplicateDismissed(Event):
    """An adviser found that two persons are not one."""

    type = "fr.aiguillage.intake.person.duplicate-dismissed.v1"
    person_id: UUID
    other_id: UUID
    dismissed_by: str


class MergeReason(Sealed):
    """Why two persons were found to be one."""

    reason: str


class PersonMerged(Event):
    """A person is the same as another: an alias from here on, nothing is moved."""

    type = "fr.aiguillage.intake.person.merged.v1"
    person_id: UUID
    into: UUID
    merged_by: str
    matched_on: list[MatchKind] = []
    sealed: MergeReason | None = None


class PersonUnmerged(Event):
    """They were two after all."""

    type = "fr.aiguillage.intake.person.unmerged.v1"
    person_id: UUID
    from_id: UUID
    unmerged_by: str


class SharedSealed(Sealed):
    """With which system, as it is spelt in what it sends, and why."""

    source: str
    reason: str | None = None


class PersonShared(Event):
    """Another system may speak of the person from here on, as those that brought them may."""

    type = "fr.aiguillage.intake.person.shared.v1"
    person_id: UUID
    shared_by: str
    sealed: SharedSealed | None = None
