"""What the events of a hub, or of one partner, amount to in numbers. Pure.

Some are states that ``pathway.evolve`` folds, counted in the end; some happened on the way:
contacts, deliveries, disclosures, silences, answers and how long they took. Nothing here is
about one person, and nothing needs a sealed part.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from contracts import intake, partners, persons, referrals
from contracts.days import local_day
from contracts.values import DeadlineStep, Reason
from services.audit.model.pathway import Data, Pathway, Referral
from services.audit.model.steps import Steps

DELIVERIES = {
    partners.DeliverySucceeded.type: "succeeded",
    partners.DeliveryFailed.type: "failed",
    partners.DeliveryDeadLettered.type: "dead_lettered",
    partners.DeliveryRedelivered.type: "redelivered",
    partners.DeliveryChannelChanged.type: "channel_changed",
    partners.DeliveryManual.type: "manual",
}
PERSONS = {
    intake.PersonRegistered.type: "registered",
    persons.PersonMerged.type: "merged",
    persons.PersonUnmerged.type: "unmerged",
}
AGREEMENTS = {
    intake.AgreementGiven.type: "given",
    intake.AgreementWithdrawn.type: "withdrawn",
}
ANSWERS = {
    partners.AnswerReceived.type: "received",
    partners.AnswerLate.type: "late",
    referrals.AnswerRefused.type: "refused",
}
NO_RESPONSE = Reason.NO_RESPONSE.value
UNKNOWN = "unknown"
"""The partner of a referral that the log never proposed."""


@dataclass(slots=True)
class Tally:
    """What happened with partners: with all of them, or with one."""

    deliveries: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)
    silences: Counter[str] = field(default_factory=Counter)
    disclosures: int = 0
    fields: int = 0

    def report(self) -> dict[str, Any]:
        """As JSON; ``median_days``: from request to the first yes or no, in calendar days."""
        return {
            "answers": {
                **_named(self.answers, ANSWERS.values()),
                "first": self.days.total(),
                "median_days": median(self.days),
            },
            "deliveries": _named(self.deliveries, DELIVERIES.values()),
            "disclosures": {"made": self.disclosures, "fields": self.fields},
            "silences": _named(self.silences, (*DeadlineStep, "cancelled")),
        }


@dataclass(slots=True)
class Statistics:
    """The counts of a hub, or of the part of its log that is looked at."""

    persons: Counter[str] = field(default_factory=Counter)
    contacts: Counter[str] = field(default_factory=Counter)
    agreements: Counter[str] = field(default_factory=Counter)
    needs: int = 0
    activities: int = 0
    all: Tally = field(default_factory=Tally)
    partners: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    waiting: dict[str, date] = field(default_factory=dict)

    def report(self, pathway: Pathway) -> dict[str, Any]:
        """As JSON, with the states that the same events led to."""
        by_partner: defaultdict[str, list[Referral]] = defaultdict(list)
        for referral in pathway.referrals.values():
            by_partner[referral.partner_id].append(referral)
        return {
            "persons": _named(self.persons, PERSONS.values()),
            "contacts": dict(self.contacts),
            "needs": self.needs,
            "activities": self.activities,
            "agreements": _named(self.agreements, AGREEMENTS.values()),
            "cases": _cases(pathway),
            "referrals": _referrals(pathway.referrals.values()),
            **self.all.report(),
            "by_partner": {
                name: {
                    "referrals": _referrals(by_partner[name]),
                    **self.partners[name].report(),
                }
                for name in {*by_partner, *self.partners}
            },
        }


class Counted(NamedTuple):
    """An event with what is needed to count it: the states after it, and when it happened."""

    type: str
    data: Data
    occurred_at: str
    pathway: Pathway

    def tallies(self, statistics: Statistics) -> tuple[Tally, Tally]:
        """Where it counts: with all partners, and with the one it names or its referral's."""
        named = self.data.get("partner_id")
        if named is None:
            referral = self.pathway.referrals.get(self.data["referral_id"])
            named = referral.partner_id if referral else UNKNOWN
        return statistics.all, statistics.partners[named]


STEPS = Steps[Statistics, Counted]()


def count(
    statistics: Statistics, pathway: Pathway, event_type: str, data: Data, occurred_at: str
) -> None:
    """Count one more event, after ``evolve`` has taken it into the pathway.

    Raises KeyError, TypeError or ValueError if its data lack what it says.
    """
    if step := STEPS.get(event_type):
        step(statistics, Counted(event_type, data, occurred_at, pathway))


def median(days: Counter[int]) -> float | None:
    """The median of counted values; between the two in the middle, their mean."""
    total = days.total()
    if not total:
        return None
    ordered = sorted(days.items())
    return (_at(ordered, (total - 1) // 2) + _at(ordered, total // 2)) / 2


def _at(ordered: list[tuple[int, int]], place: int) -> int:
    for value, times in ordered:
        if place < times:
            return value
        place -= times
    raise IndexError(place)


def _referrals(sent: Collection[Referral]) -> dict[str, Any]:
    return {
        "total": len(sent),
        "by_status": dict(Counter(referral.status for referral in sent)),
        "by_reason": dict(Counter(referral.reason for referral in sent if referral.reason)),
    }


def _cases(pathway: Pathway) -> dict[str, Any]:
    thematiques: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in pathway.cases.values():
        thematiques[case.thematique][case.status] += 1
    return {
        "total": len(pathway.cases),
        "exhausted": sum(case.exhausted is not None for case in pathway.cases.values()),
        "by_status": dict(Counter(case.status for case in pathway.cases.values())),
        "by_thematique": {name: dict(each) for name, each in thematiques.items()},
    }


def _named(counter: Counter[str], names: Iterable[str]) -> dict[str, int]:
    """Every name, also those that never happened."""
    return {str(name): counter[str(name)] for name in names}


@STEPS.on(intake.ContactRecorded.type)
def _contact(statistics: Statistics, event: Counted) -> None:
    statistics.contacts[event.data["mode"]] += 1


@STEPS.on(intake.NeedExpressed.type)
def _need(statistics: Statistics, event: Counted) -> None:
    statistics.needs += 1


@STEPS.on(intake.ActivityAttended.type)
def _activity(statistics: Statistics, event: Counted) -> None:
    statistics.activities += 1


@STEPS.on(*PERSONS)
def _person(statistics: Statistics, event: Counted) -> None:
    statistics.persons[PERSONS[event.type]] += 1


@STEPS.on(*AGREEMENTS)
def _agreement(statistics: Statistics, event: Counted) -> None:
    statistics.agreements[AGREEMENTS[event.type]] += 1


@STEPS.on(*DELIVERIES)
def _delivery(statistics: Statistics, event: Counted) -> None:
    for tally in event.tallies(statistics):
        tally.deliveries[DELIVERIES[event.type]] += 1


@STEPS.on(partners.DisclosureMade.type)
def _disclosure(statistics: Statistics, event: Counted) -> None:
    fields = len(event.data["fields"])
    for tally in event.tallies(statistics):
        tally.disclosures += 1
        tally.fields += fields


@STEPS.on(referrals.DeadlinePassed.type)
def _silence(statistics: Statistics, event: Counted) -> None:
    step = event.data["step"]
    for tally in event.tallies(statistics):
        tally.silences[step] += 1


@STEPS.on(*ANSWERS)
def _answer(statistics: Statistics, event: Counted) -> None:
    for tally in event.tallies(statistics):
        tally.answers[ANSWERS[event.type]] += 1


@STEPS.on(referrals.ReferralRequested.type)
def _requested(statistics: Statistics, event: Counted) -> None:
    day = date.fromisoformat(event.data["requested_on"])
    statistics.waiting[event.data["referral_id"]] = day


@STEPS.on(referrals.ReferralAccepted.type, referrals.ReferralRejected.type)
def _decided(statistics: Statistics, event: Counted) -> None:
    requested_on = statistics.waiting.pop(event.data["referral_id"], None)
    if requested_on is not None:
        answered_on = local_day(datetime.fromisoformat(event.occurred_at))
        for tally in event.tallies(statistics):
            tally.days[(answered_on - requested_on).days] += 1


@STEPS.on(referrals.ReferralCancelled.type)
def _cancelled(statistics: Statistics, event: Counted) -> None:
    statistics.waiting.pop(event.data["referral_id"], None)
    if event.data.get("reason") == NO_RESPONSE:
        for tally in event.tallies(statistics):
            tally.silences["cancelled"] += 1
