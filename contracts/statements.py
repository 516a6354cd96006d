"""Statements about the person: a value, where it comes from, since when it is known.

One class for each, so that schemas and generated clients have a name for it.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints

from contracts.base import Strict
from contracts.types import BirthDate, PastDay, StatedDay, Words
from contracts.values import Evidence, FactSource, Situation

T = TypeVar("T")
FREE_TEXT = StringConstraints(min_length=1, max_length=4000)
FreeText = Annotated[Words, FREE_TEXT]
Commune = Annotated[str, StringConstraints(pattern=r"^([0-9]{2}|2[AB])[0-9]{3}$")]
"""INSEE code of a commune (59459), not a postal code; existence is checked by the intake."""


class Dated(Strict, Generic[T]):
    """A statement about the person: its value, where it comes from, since when it is known."""

    value: T
    source: FactSource = FactSource.DECLARED
    as_of: StatedDay | None = Field(
        None, description="Day the statement was true; default: the contact's."
    )


class Sensitive(Dated[T]):
    """A statement that may only be kept with the person's explicit agreement (RGPD art. 9)."""

    agreement: Evidence = Field(description="How the person agreed that this is recorded.")


class DatedBirthDate(Dated[BirthDate]):
    """The day of birth."""


class DatedCommune(Dated[Commune]):
    """The commune of residence (INSEE code)."""


class DatedSituation(Dated[Situation]):
    """The situation towards employment."""


class DatedRegistration(Dated[PastDay]):
    """Since which day the person is registered with France Travail."""


class DatedBenefit(Dated[Literal["rsa", "ass", "aah", "none"]]):
    """The minimum benefit that the person receives."""


class DatedNeighbourhood(Dated[Literal["yes", "no", "unknown"]]):
    """Whether the person lives in a priority neighbourhood (QPV)."""


class DatedStudyLevel(Dated[Literal["none", "cap-bep", "bac", "bac+2", "bac+3-or-more"]]):
    """The highest level of studies."""


class DatedMobility(Dated[Literal["none", "public-transport", "own-vehicle"]]):
    """How the person gets about."""


class DatedProject(Dated[FreeText]):
    """What the person wants to do, in words."""


class SensitiveDisability(Sensitive[bool]):
    """Whether the person is recognised as a disabled worker (RQTH)."""
