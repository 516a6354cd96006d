"""The conditions of a service itself: zone, ages, publics; and how far it is. Pure."""

from collections.abc import Mapping, Set
from typing import Any

from contracts.checks.communes import FRANCE, NO_EPCI, in_part, zones_of
from contracts.explanation import Condition
from services.referrals.model.rules import FAILED, MATCHED, UNKNOWN, Weights

_MADE: dict[tuple[str, str], Condition] = {
    (code, result): Condition(code=code, result=result)
    for code in ("in-zone", "service-age", "publics")
    for result in (MATCHED, FAILED, UNKNOWN)
}


def _condition(code: str, holds: bool | None) -> Condition:
    return _MADE[code, UNKNOWN if holds is None else MATCHED if holds else FAILED]


def in_zone(zone: tuple[str, ...], zones: frozenset[str] | None) -> Condition:
    """data·inclusion ``zone_eligibilite``: communes and their parts, EPCI, départements, the
    country; empty: everywhere. A commune whose EPCI we do not know may lie in any; whoever
    lives in a commune may live in any part of it."""
    if not zone:
        return _condition("in-zone", True)
    if zones is None:
        return _condition("in-zone", None)
    inside = not zones.isdisjoint(zone)
    unsure = NO_EPCI in zones and any(len(z) == 9 for z in zone)
    unsure = unsure or any(in_part(z, zones) for z in zone)
    return _condition("in-zone", True if inside else None if unsure else False)


MOST_ZONES = 12


def nearest_zones(zone: tuple[str, ...], zones: Set[str]) -> list[str]:
    """Return as many of a service's zones as ``in_zone`` needs to judge again.

    The person's come first, then those of several communes: some services list hundreds.
    """
    own = frozenset(zones)
    return sorted(zone, key=lambda z: (z not in own and not in_part(z, own), len(z) != 9, z))[
        :MOST_ZONES
    ]


def in_age(bounds: tuple[int | None, int | None], age: int | None) -> tuple[Condition, ...]:
    """Judge whether an age lies within bounds, both included; none: no condition."""
    low, high = bounds
    if low is None and high is None:
        return ()
    if age is None:
        return (_condition("service-age", None),)
    inside = (low is None or age >= low) and (high is None or age <= high)
    return (_condition("service-age", inside),)


def _is(name: str, *values: Any) -> Any:
    def holds(facts: Mapping[str, Any]) -> bool | None:
        value = facts.get(name)
        return None if value is None else value in values

    return holds


def _age(low: int, high: int) -> Any:
    return lambda facts: None if facts.get("age") is None else low <= facts["age"] <= high


def _job_seeker(facts: Mapping[str, Any]) -> bool | None:
    """Somebody who seeks work or is registered; of others it is asked, but for pupils."""
    if facts.get("situation") == "job-seeker" or facts.get("registered_months") is not None:
        return True
    return False if facts.get("situation") == "in-school" else None


_PUBLICS: dict[str, Any] = {
    "jeunes": _age(13, 30),
    "seniors": _age(50, 200),
    "actifs": _is("situation", "job-seeker", "in-employment", "in-training"),
    "demandeurs-emploi": _job_seeker,
    "etudiants": _is("situation", "in-school", "in-training"),
    "beneficiaires-des-minimas-sociaux": _is("minimum_benefit", "rsa", "ass", "aah"),
    "personnes-en-situation-de-handicap": _is("recognised_disability", True),
    "residents-qpv-frr": _is("priority_neighbourhood", "yes"),
}
"""data·inclusion publics that the facts can tell; of the others nothing is concluded."""


def in_publics(publics: tuple[str, ...], facts: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Judge whether the person belongs to one of a service's publics (data·inclusion: OR)."""
    if not publics or any(public not in _PUBLICS for public in publics):
        return ()
    results = {_PUBLICS[public](facts) for public in publics}
    holds = True if True in results else None if None in results else False
    return (_condition("publics", holds),)


def distance_of(place: str | None, zones: frozenset[str] | None, weights: Weights) -> float:
    """Return the distance's weight: EPCI, département, or further; 0 if near or not known."""
    if place is None or zones is None or place in zones:
        return 0.0
    near = zones_of(place) & zones - FRANCE - {NO_EPCI}
    if any(len(zone) == 9 for zone in near):
        return weights.same_epci
    return weights.same_department if near else weights.further
