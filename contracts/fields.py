"""The registry of what may be known of a person: one entry a field.

Labels, columns of partners' tables, explanations, checks of rules and examples derive from the
entries. Which partner may get a field stands in ``contracts.kinds``. A registry that
contradicts itself fails on import. How to add a fact: docs/howto/add-a-fact.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from contracts import statements
from contracts.base import Strict
from contracts.kinds import KINDS, Kind
from contracts.numbers import FranceTravailNumber, Phone
from contracts.statements import FREE_TEXT, Dated
from contracts.types import Email, ShortText
from contracts.values import PartnerKind

NEVER: Final = None
"""Instead of a column: the field is never disclosed to a partner."""
NOT_KNOWN: Final = "unknown"
"""A value by which a statement says that nothing is known."""


class Section(IntEnum):
    """Parts of a sheet about a person, in order; fields stand in them as they are declared."""

    PERSON = 1
    CONTACT = 2
    WORK = 3
    SUPPORT = 4
    REQUEST = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One field: its French name, its place, and its heading in the tables of partners.

    ``values``: French for each code that it may hold. ``explained``: its name in explanations
    to the person, if that is another one. ``examples``: values of invented persons.
    """

    label: str
    section: Section
    column: str | None
    values: Mapping[str, str] = field(default_factory=dict)
    explained: str | None = None
    examples: tuple[str, ...] = ()


class Identity(Strict):
    """Who the person is. Always sealed; a NIR is refused in every field."""

    family_name: Annotated[ShortText | None, Entry("Nom", Section.PERSON, "nom")] = None
    given_name: Annotated[ShortText | None, Entry("Prénom", Section.PERSON, "prenom")] = None
    phone: Annotated[Phone | None, Entry("Téléphone", Section.CONTACT, "telephone")] = None
    email: Annotated[Email | None, Entry("Courriel", Section.CONTACT, "courriel")] = None
    address: Annotated[ShortText | None, Entry("Adresse", Section.CONTACT, NEVER)] = None
    france_travail_number: Annotated[
        FranceTravailNumber | None,
        Entry("Numéro France Travail", Section.REQUEST, "numero_france_travail"),
    ] = None


class Facts(Strict):
    """What is known about the person, each statement with its source. Always sealed."""

    birth_date: Annotated[
        statements.DatedBirthDate | None,
        Entry("Date de naissance", Section.PERSON, "date_naissance"),
    ] = None
    commune: Annotated[
        statements.DatedCommune | None,
        Entry(
            "Commune (code Insee)",
            Section.CONTACT,
            "commune_insee",
            explained="Commune",
        ),
    ] = None
    situation: Annotated[
        statements.DatedSituation | None,
        Entry(
            "Situation",
            Section.WORK,
            "situation",
            values={
                "job-seeker": "En recherche d'emploi",
                "in-school": "Scolarisé",
                "in-training": "En formation",
                "in-employment": "En emploi",
                "inactive": "Sans activité",
            },
            examples=("job-seeker", "inactive", "in-training"),
        ),
    ] = None
    registered_with_france_travail_since: Annotated[
        statements.DatedRegistration | None,
        Entry("Inscription à France Travail", Section.WORK, NEVER),
    ] = None
    minimum_benefit: Annotated[
        statements.DatedBenefit | None,
        Entry(
            "Minimum social",
            Section.SUPPORT,
            "minimum_social",
            values={"rsa": "RSA", "ass": "ASS", "aah": "AAH", "none": "Aucun"},
            examples=("rsa", "none"),
        ),
    ] = None
    recognised_disability: Annotated[
        statements.SensitiveDisability | None,
        Entry(
            "Reconnaissance de handicap",
            Section.SUPPORT,
            "rqth",
            explained="Handicap reconnu (avec votre accord)",
        ),
    ] = None
    priority_neighbourhood: Annotated[
        statements.DatedNeighbourhood | None,
        Entry(
            "Quartier prioritaire",
            Section.SUPPORT,
            NEVER,
            values={"yes": "Oui", "no": "Non", "unknown": "Inconnu"},
        ),
    ] = None
    study_level: Annotated[
        statements.DatedStudyLevel | None,
        Entry(
            "Niveau d'études",
            Section.WORK,
            "niveau_etudes",
            values={
                "none": "Aucun",
                "cap-bep": "CAP ou BEP",
                "bac": "Bac",
                "bac+2": "Bac + 2",
                "bac+3-or-more": "Bac + 3 ou plus",
            },
            examples=("none", "cap-bep", "bac"),
        ),
    ] = None
    mobility: Annotated[
        statements.DatedMobility | None,
        Entry(
            "Mobilité",
            Section.SUPPORT,
            NEVER,
            values={
                "none": "Aucun",
                "public-transport": "Transports en commun",
                "own-vehicle": "Véhicule personnel",
            },
        ),
    ] = None
    project: Annotated[
        statements.DatedProject | None,
        Entry("Projet", Section.REQUEST, "projet"),
    ] = None

    def with_newer(self, stated: "Facts", *, corrects: bool = False) -> "Facts":
        """Return these facts after others were stated.

        Of two about the same thing, that which was true later counts, whichever was said first;
        what corrects always does.
        """
        newer = {
            name: fact
            for name in stated.model_fields_set
            if (fact := getattr(stated, name)) is not None
            and (corrects or not _older(fact, getattr(self, name)))
        }
        return self.model_copy(update=newer)


def _older(fact: Dated[Any], known: Dated[Any] | None) -> bool:
    return bool(known and known.as_of and fact.as_of and fact.as_of < known.as_of)


NEED_NOTE: Final = Entry("Précision sur le besoin", Section.REQUEST, "precision_besoin")
"""Not known of the person, but said of one need; disclosed as the fields are."""


def _entry_of(model: type[Strict], name: str) -> Entry:
    for entry in model.model_fields[name].metadata:
        if isinstance(entry, Entry):
            return entry
    raise RuntimeError(f"contracts/fields.py: {model.__name__}.{name} has no Entry")


DECLARED: Final[Mapping[str, Entry]] = {
    **{name: _entry_of(Identity, name) for name in Identity.model_fields},
    **{name: _entry_of(Facts, name) for name in Facts.model_fields},
    "need_note": NEED_NOTE,
}
"""Every field by its name, in the order of the models."""
FIELDS: Final[Mapping[str, Entry]] = dict(
    sorted(DECLARED.items(), key=lambda item: item[1].section)
)
"""Every field by its name, in the order of sheets and tables."""


def value_of(fact: str) -> FieldInfo:
    """Return how the statement of a fact declares its value."""
    statement, _none = get_args(Facts.model_fields[fact].annotation)
    value: FieldInfo = statement.model_fields["value"]
    return value


def codes_of(fact: str) -> tuple[Any, ...]:
    """Return every value that a fact may have; none for those of numbers, days and texts."""
    declared: Any = value_of(fact).annotation
    if get_origin(declared) is Literal:
        return get_args(declared)
    if declared is bool:
        return (True, False)
    if isinstance(declared, type) and issubclass(declared, Enum):
        return tuple(map(str, declared))
    return ()


RULE_FACTS: Final = tuple(
    name for name in Facts.model_fields if FREE_TEXT not in value_of(name).metadata
)
"""Facts that rules may look at and explanations show: never what was said in free words."""


def faults(fields: Mapping[str, Entry], kinds: Mapping[PartnerKind, Kind]) -> list[str]:
    """Return what is missing or contradictory between fields and kinds; empty if nothing is."""
    disclosed = {name for kind in kinds.values() for name in kind.may_get}
    unknown = sorted(disclosed - fields.keys())
    problems = [f"{name}: some kind may get it, but it has no entry" for name in unknown]
    french: dict[str, str] = {}
    columns = [entry.column for entry in fields.values()]
    for name, entry in fields.items():
        if (name in disclosed) == (entry.column is NEVER):
            problems.append(f"{name}: some kind in KINDS may get it, or its column is NEVER")
        if entry.column is not NEVER and columns.count(entry.column) > 1:
            problems.append(f"{name}: another field has its column")
        if name in Facts.model_fields and {*entry.values} != {*codes_of(name)} - {True, False}:
            problems.append(f"{name}: values are not those of its type")
        if name in Facts.model_fields and not (codes_of(name) or _is_plain(name)):
            problems.append(f"{name}: a value that no rule can be checked with")
        for code, text in entry.values.items():
            if french.setdefault(code, text) != text:
                problems.append(f"{name}: {code} is called {french[code]} elsewhere")
    return problems


def _is_plain(fact: str) -> bool:
    """Tell numbers, days and texts that have a pattern, or are known to be free."""
    value = value_of(fact)
    if value.annotation is str:
        free = FREE_TEXT in value.metadata
        return free or any(getattr(each, "pattern", None) for each in value.metadata)
    return value.annotation in (int, float, date)


if wrong := faults(FIELDS, KINDS):
    raise RuntimeError("contracts/fields.py: " + "; ".join(wrong))
