"""Folding a log, or what of it concerns one person, case, referral or partner. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from services.audit.model import partner as partners
from services.audit.model import pathway, statistics
from services.audit.model.partner import Partner, evolve_partner
from services.audit.model.pathway import Data, Pathway, evolve
from services.audit.model.statistics import Statistics, count

READ_TYPES = frozenset({*pathway.STEPS, *statistics.STEPS, *partners.STEPS})
"""Types of events that a fold reads; the data of others need not even be parsed."""


class Of(StrEnum):
    """What is replayed: the states of everybody, one of them, or the numbers."""

    ALL = "all"
    STATISTICS = "statistics"
    PERSON = "person"
    CASE = "case"
    REFERRAL = "referral"
    PARTNER = "partner"


class Subject(NamedTuple):
    """What is replayed, and which one."""

    of: Of = Of.ALL
    id: str = ""

    @property
    def is_one(self) -> bool:
        """Whether it is one of many, so that not every entry concerns it."""
        return self.of not in (Of.ALL, Of.STATISTICS)


@dataclass(slots=True)
class Concern:
    """Which entries are about the subject.

    ``persons``: the ids that a person is known by. Of a case or a partner, referrals are
    learned on the way: a referral is proposed before anything else is said of it.
    """

    subject: Subject
    persons: Collection[str] = ()
    referrals: set[str] = field(default_factory=set)

    def about(self, person: str | None, data: Data) -> bool:
        """Whether an entry concerns the subject."""
        of, wanted = self.subject
        if not self.subject.is_one:
            return True
        if of is Of.PERSON:
            return person in self.persons
        referral = data.get("referral_id")
        if of is Of.REFERRAL:
            return bool(referral == wanted)
        named = data.get("case_id" if of is Of.CASE else "partner_id")
        if named == wanted and isinstance(referral, str):
            self.referrals.add(referral)
        return named == wanted or (named is None and referral in self.referrals)


@dataclass(slots=True)
class Fold:
    """The states after the entries taken so far."""

    subject: Subject
    persons: Collection[str] = ()
    pathway: Pathway = field(default_factory=Pathway)
    statistics: Statistics = field(default_factory=Statistics)
    partner: Partner = field(default_factory=Partner)
    entries: int = 0
    erased: int = 0
    unread: int = 0
    counts: bool = field(init=False)

    def __post_init__(self) -> None:
        """Events are counted where numbers are part of what is replayed."""
        self.counts = self.subject.of in (Of.STATISTICS, Of.PARTNER)

    def take(self, event_type: str, data: Data, occurred_at: str) -> None:
        """Take one more event; KeyError, TypeError or ValueError if it cannot be read."""
        evolve(self.pathway, event_type, data)
        if self.counts:
            count(self.statistics, self.pathway, event_type, data, occurred_at)
            if self.subject.is_one:
                evolve_partner(self.partner, event_type, data)

    def report(self) -> dict[str, Any]:
        """The states of what is replayed, as JSON."""
        counts = {"entries": self.entries, "erased": self.erased, "unread": self.unread}
        match self.subject.of:
            case Of.STATISTICS:
                return {**counts, **self.statistics.report(self.pathway)}
            case Of.PARTNER:
                partner_id = self.subject.id
                numbers = self.statistics.report(self.pathway)["by_partner"]
                named = numbers.get(partner_id, {})
                states = {"partner_id": partner_id, **self.partner.report(), **named}
                return {**counts, **states}
            case Of.PERSON:
                return {**counts, "persons": sorted(self.persons), **self.pathway.states()}
        return {**counts, **self.pathway.states()}
