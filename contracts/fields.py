"""What is known of a person: identity and facts."""

from typing import Any

from contracts.base import Strict
from contracts.numbers import FranceTravailNumber, Phone
from contracts.statements import (
    Dated,
    DatedBenefit,
    DatedBirthDate,
    DatedCommune,
    DatedMobility,
    DatedNeighbourhood,
    DatedProject,
    DatedRegistration,
    DatedSituation,
    DatedStudyLevel,
    SensitiveDisability,
)
from contracts.types import Email, ShortText


class Identity(Strict):
    """Who the person is. Always sealed; a NIR is refused in every field."""

    family_name: ShortText | None = None
    given_name: ShortText | None = None
    phone: Phone | None = None
    email: Email | None = None
    address: ShortText | None = None
    france_travail_number: FranceTravailNumber | None = None


class Facts(Strict):
    """What is known about the person, each statement with its source. Always sealed."""

    birth_date: DatedBirthDate | None = None
    commune: DatedCommune | None = None
    situation: DatedSituation | None = None
    registered_with_france_travail_since: DatedRegistration | None = None
    minimum_benefit: DatedBenefit | None = None
    recognised_disability: SensitiveDisability | None = None
    priority_neighbourhood: DatedNeighbourhood | None = None
    study_level: DatedStudyLevel | None = None
    mobility: DatedMobility | None = None
    project: DatedProject | None = None

    def with_newer(self, stated: "Facts", *, corrects: bool = False) -> "Facts":
        """These facts after others were stated: of two about the same thing, that which was
        true later counts, whichever was said first; what puts something right always does."""
        newer = {
            name: fact
            for name in stated.model_fields_set
            if (fact := getattr(stated, name)) is not None
            and (corrects or not _older(fact, getattr(self, name)))
        }
        return self.model_copy(update=newer)


def _older(fact: Dated[Any], known: Dated[Any] | None) -> bool:
    return bool(known and known.as_of and fact.as_of and fact.as_of < known.as_of)
