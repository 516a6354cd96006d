"""Features that tell one person from others, however they were spelt. Pure.

What comes out is only ever kept as a keyed digest (a blind index): the intake can say that two
persons may be one without being able to say who they are.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from contracts.base import Event
from contracts.fields import Facts, Identity
from contracts.intake import FactsStated, PersonIdentified, PersonRegistered
from contracts.values import MatchKind

_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "đ": "d", "ł": "l"})


@dataclass(frozen=True, slots=True)
class Profile:
    """Identity and facts of a person: of two statements about one field, the newer."""

    identity: Identity = field(default_factory=Identity)
    facts: Facts = field(default_factory=Facts)

    def names(self) -> list[str]:
        """Return the names of the known fields, sorted."""
        known = self.identity.model_dump(exclude_none=True)
        return sorted(known | self.facts.model_dump(exclude_none=True))


def profile(events: Iterable[Event]) -> Profile:
    """Fold a person's events, opened, into what is known today."""
    known = Profile()
    for event in events:
        match event:
            case PersonRegistered() | PersonIdentified() if event.sealed:
                given = event.sealed.identity.model_dump(exclude_none=True)
                known = replace(known, identity=known.identity.model_copy(update=given))
            case FactsStated() if event.sealed:
                facts = known.facts.with_newer(event.sealed.facts, corrects=event.corrects)
                known = replace(known, facts=facts)
    return known


def features(person: Profile) -> dict[MatchKind, str]:
    """Return the texts to compare, by kind; what is not known is absent.

    Names are compared together with the birth date, in either order. A France Travail number
    counts with the birth date too: then it is an identifier on which two systems agree.
    """
    identity, birth_date = person.identity, person.facts.birth_date
    born = birth_date.value if birth_date else None
    texts = {}
    names = sorted(filter(None, (plain(identity.family_name), plain(identity.given_name))))
    if len(names) == 2 and born:
        texts[MatchKind.NAME_AND_BIRTH_DATE] = f"{'|'.join(names)}|{born}"
    if identity.phone:
        texts[MatchKind.PHONE] = identity.phone
    if identity.email:
        texts[MatchKind.EMAIL] = identity.email.casefold()
    if identity.france_travail_number and born:
        number = identity.france_travail_number
        texts[MatchKind.FRANCE_TRAVAIL_NUMBER] = f"{number}|{born}"
    return texts


def plain(text: str | None) -> str:
    """Return a name without accents, case, spaces, hyphens and apostrophes."""
    folded = (text or "").casefold().translate(_LIGATURES)
    letters = unicodedata.normalize("NFKD", folded)
    return "".join(c for c in letters if c.isalnum() and not unicodedata.combining(c))
