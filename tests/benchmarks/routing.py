"""Ranking services for a person, with the reasons of each: how fast, and how it grows."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from contracts.values import CapacityStatus, PartnerKind, Situation
from services.referrals.app import RULES
from services.referrals.model.routing import Service, rank
from services.referrals.model.rules import Rules
from tests.benchmarks.measure import Run, compare

JOB = "trouver-un-emploi--repondre-a-des-offres-demploi"
NEAR = "trouver-un-emploi--faire-des-candidatures-spontanees"
PERSONS = 5000
PEER = "ZEN evaluated for every candidate"


def directory(count: int) -> list[Service]:
    """Candidates of every kind, with zones, ages, publics, places, delays and loads."""
    zones = (("245901160",), ("59",), ("59459",), ())
    publics = ((), ("jeunes",), ("demandeurs-emploi", "seniors"))
    return [
        Service(
            f"s{n}", f"p{n}", list(PartnerKind)[n % 10], f"Service {n}",
            (JOB,) if n % 2 else (NEAR,), zones[n % 4], (None, 16, 13)[n % 3],
            (None, 25, None, 29)[n % 4], publics=publics[n % 3],
            code_insee=("59459", "59606", None)[n % 3],
            capacity=(None, *CapacityStatus)[n % 4], delay_days=n % 20, load=n % 30,
        )
        for n in range(count)
    ]  # fmt: skip


def persons(count: int) -> list[dict[str, Any]]:
    """Varied persons, of whom not everything is known."""
    random = Random(59459)
    drawn = [
        {
            "age": random.choice([None, *range(15, 66)]),
            "commune": random.choice(["59459", "59606", "59350", None]),
            "situation": random.choice([None, *(str(s) for s in Situation)]),
            "minimum_benefit": random.choice([None, "rsa", "none"]),
            "recognised_disability": random.choice([None, None, True, False]),
            "registered_months": random.choice([None, *range(40)]),
            "study_level": random.choice([None, "none", "cap-bep", "bac"]),
            "has_project": random.choice([None, True]),
        }
        for _ in range(count)
    ]
    return [{name: v for name, v in one.items() if v is not None} for one in drawn]


async def main() -> None:
    """routing.50, routing.500: rankings per second on one core, verdicts known (warm)."""
    rules = Rules.parse(RULES.read_bytes(), RULES.stem, 1)
    everybody = persons(PERSONS)
    for count, ranked, unshared in ((50, PERSONS, 40), (500, 600, 4)):
        services = directory(count)
        _rank(everybody, services, rules)
        ours = _ranking(everybody[:ranked], services, rules)
        theirs = _unshared(everybody[:unshared], services, rules)
        await compare(f"routing.{count}", ours, PEER, theirs)


def _rank(people: Sequence[Mapping[str, Any]], services: list[Service], rules: Rules) -> int:
    for person in people:
        assert rank(JOB, person, services, rules)
    return len(people)


def _ranking(people: Sequence[Mapping[str, Any]], services: list[Service], rules: Rules) -> Run:
    async def run() -> int:
        return _rank(people, services, rules)

    return run


def _unshared(
    people: Sequence[Mapping[str, Any]], services: list[Service], rules: Rules
) -> Run:
    async def run() -> int:
        for person in people:
            for service in services:
                table = rules.tables[service.kind]
                table.matching([person.get(name) for name in table.fields])
        return len(people)

    return run
