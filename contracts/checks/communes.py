"""The places of France, one within another: parts of communes → commune → intercommunality
(EPCI) → département → country.

A part is an associated or delegated commune, or a municipal arrondissement: a person who lives
in one lives in the commune. Régions are no zones of data·inclusion, which lists their
départements instead: ``32`` is the Gers.

The lists beside this file come from Etalab's *découpage administratif* (npm
``@etalab/decoupage-administratif`` 6.0.0, year 2026, Licence Ouverte 2.0), made from INSEE's
official geographical code (COG). A code that a merger has withdrawn is no longer in it.
"""

from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("communes.txt")
EPCI = Path(__file__).with_name("epci.txt")
PARTS = Path(__file__).with_name("parts.txt")
FRANCE = frozenset({"france", "99100"})
"""The country: data·inclusion's word, and INSEE's code."""
NO_EPCI = "no-epci"
"""Stands among zones for the intercommunality of a commune of which we know none."""


def commune_exists(code: str) -> bool:
    """Return whether an INSEE code (59459; no postal code) is of a commune, or of a part."""
    return code in _codes()


def commune_of(code: str) -> str:
    """Return the commune that a part lies in (59350 for 59355); another code as it is."""
    return _parents().get(code, code)


def epci_of(code: str) -> str | None:
    """Return the SIREN of a commune's, or a part's, intercommunality; None if unknown."""
    return _members().get(commune_of(code))


def departement_of(code: str) -> str:
    """Return the département of a commune: two characters, three overseas."""
    return code[:3] if code.startswith(("97", "98")) else code[:2]


def zones_of(code: str) -> frozenset[str]:
    """Return every zone that a commune, or a part, lies in; the country among them."""
    commune = commune_of(code)
    within = {code, commune, epci_of(code) or NO_EPCI, departement_of(commune)}
    return FRANCE | within


def zone_exists(code: str) -> bool:
    """Return whether a code is one of the zones that ``zones_of`` may name."""
    return code in FRANCE or code in _codes() or code in _epcis() or code in _departements()


def in_part(zone: str, zones: frozenset[str]) -> bool:
    """Return whether a zone is a part of the commune of residence, perhaps the person's own.

    ``zones``: those of the residence; false if they name a part of the commune.
    """
    commune = commune_of(zone)
    known = any(commune_of(one) == commune != one for one in zones)
    return commune != zone and commune in zones and not known


@cache
def _members() -> dict[str, str]:
    members: dict[str, str] = {}
    for line in _lines(EPCI):
        siren, *groups = line.split()
        for group in groups:
            departement, _, ranges = group.partition(":")
            codes = _of_departement(departement, *ranges.split(","))
            members |= dict.fromkeys(codes, siren)
    return members


@cache
def _parents() -> dict[str, str]:
    lists = (line.split() for line in _lines(PARTS))
    return {part: commune for commune, *parts in lists for part in parts}


@cache
def _codes() -> frozenset[str]:
    return frozenset(code for line in _lines(LIST) for code in _of_departement(*line.split()))


@cache
def _departements() -> frozenset[str]:
    return frozenset(map(departement_of, _codes()))


@cache
def _epcis() -> frozenset[str]:
    return frozenset(_members().values())


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def _of_departement(departement: str, *ranges: str) -> list[str]:
    codes = []
    for first, _, last in (given.partition("-") for given in ranges):
        codes += [f"{departement}{n:03d}" for n in range(int(first), int(last or first) + 1)]
    return codes
