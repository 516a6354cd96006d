"""Retention of a person's data: in use, then archived, then erased. Pure.

CNIL, délibération 2023-095 (social support): two years in use from the last contact. CASF
R263-8 (parcours insertion emploi): two years more in an archive with restricted access.
Whoever has something open with the hub is in use, whenever they were last here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from uuid import UUID

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Periods:
    """Months in use from the last contact, and months archived after them."""

    active: int = 24
    archived: int = 24

    @classmethod
    def parse(cls, text: str) -> "Periods":
        """Read ``24+24``; raises ``ValueError`` for anything else."""
        active, plus, archived = text.partition("+")
        if not plus or not active.isdigit() or not archived.isdigit() or int(active) < 1:
            raise ValueError("give months in use and months archived: 24+24")
        return cls(int(active), int(archived))


@dataclass(frozen=True, slots=True)
class Policy:
    """The periods of the hub, and of sites that have their own."""

    usual: Periods = Periods()
    sites: Mapping[str, Periods] = field(default_factory=dict)

    @classmethod
    def parse(cls, usual: str, sites: str) -> "Policy":
        """Read ``24+24`` and ``site=12+12,other=36+12``; raises ``ValueError``."""
        pairs = (item.partition("=") for item in sites.split(",") if item.strip())
        own = {name.strip(): Periods.parse(text.strip()) for name, _, text in pairs}
        return cls(Periods.parse(usual), own)

    def of(self, site: str | None) -> Periods:
        """Return the periods of the site where the person was last."""
        return self.sites.get(site or "", self.usual)

    def latest(self, today: date) -> tuple[date, date]:
        """Return (archive_before, erase_before): contacts after these dates are not due today.

        Periods end on the same day of a month: the days are a little late rather than early.
        """
        every = [self.usual, *self.sites.values()]
        use = min(periods.active for periods in every)
        stay = min(periods.active + periods.archived for periods in every)
        return _before(today, use), _before(today, stay)


def _before(today: date, months: int) -> date:
    return months_after(today, -months) + timedelta(days=3)


class Step(StrEnum):
    """What is due."""

    ARCHIVE = "archive"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class Stay:
    """One id of a person: the last contact that the hub knows of, its site, and what is open.

    ``root``: the id under which the same person's ids are one. ``held``: a need, a case or a
    referral of this id is open.
    """

    person_id: UUID
    root: UUID
    last_contact_on: date
    site: str | None
    archived: bool
    held: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """A step that is due for one id, on account of the last contact under any of them."""

    person_id: UUID
    step: Step
    last_contact_on: date


def due(stays: Iterable[Stay], policy: Policy, today: date) -> list[Due]:
    """Return the steps that are due, oldest contact first; of one person, all ids together."""
    persons: dict[UUID, list[Stay]] = {}
    for stay in stays:
        persons.setdefault(stay.root, []).append(stay)
    steps: list[Due] = []
    for group in persons.values():
        last = max(group, key=lambda stay: stay.last_contact_on)
        periods, on = policy.of(last.site), last.last_contact_on
        if any(stay.held for stay in group):
            continue
        if months_after(on, periods.active + periods.archived) <= today:
            steps += [Due(stay.person_id, Step.ERASE, on) for stay in group]
        elif months_after(on, periods.active) <= today:
            steps += [Due(s.person_id, Step.ARCHIVE, on) for s in group if not s.archived]
    return sorted(steps, key=lambda item: (item.last_contact_on, item.person_id))


def months_after(day: date, months: int) -> date:
    """Return the same day so many months later, or the last day of a shorter month."""
    years, month = divmod(day.month - 1 + months, MONTHS)
    year, month = day.year + years, month + 1
    following = date(year + month // MONTHS, month % MONTHS + 1, 1)
    return date(year, month, min(day.day, (following - date(year, month, 1)).days))
