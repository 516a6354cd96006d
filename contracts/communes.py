"""Which communes exist: INSEE codes of this year, delegated and associated ones included; and
to which intercommunality (EPCI, by its SIREN) each belongs.

The lists beside this file come from Etalab's *découpage administratif* (npm
``@etalab/decoupage-administratif`` 6.0.0, year 2026, Licence Ouverte 2.0), as ranges by
département. A code that a merger has withdrawn is no longer in it.
"""

from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("communes.txt")
EPCI = Path(__file__).with_name("epci.txt")


def commune_exists(code: str) -> bool:
    """Whether an INSEE code (59459; not a postal code) is that of a commune."""
    return code in _codes()


def epci_of(code: str) -> str | None:
    """The SIREN of a commune's intercommunality; None if it has none, or is not known."""
    return _members().get(code)


@cache
def _members() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in EPCI.read_text().splitlines():
        if not line.startswith("#"):
            siren, *groups = line.split()
            for group in groups:
                departement, _, ranges = group.partition(":")
                codes = _of_departement(departement, *ranges.split(","))
                found |= dict.fromkeys(codes, siren)
    return found


@cache
def _codes() -> frozenset[str]:
    lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return frozenset(code for line in lines for code in _of_departement(*line.split()))


def _of_departement(departement: str, *ranges: str) -> list[str]:
    codes = []
    for first, _, last in (given.partition("-") for given in ranges):
        codes += [f"{departement}{n:03d}" for n in range(int(first), int(last or first) + 1)]
    return codes
