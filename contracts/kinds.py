"""The registry of kinds of partner: one entry each, from which all that depends on it derives.

How to add one: docs/howto/add-a-kind-of-partner.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_inclusion.schema.v1 import ReseauPorteur

from contracts.values import PartnerKind

CONTACT = frozenset({"family_name", "given_name", "phone", "email"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Everything that the hub knows of a kind of partner.

    ``label``: its name within a French sentence. ``may_get``: fields that its partners need;
    the most that they may receive, which an agreement can only narrow. ``networks``: names in
    data·inclusion (``reseaux_porteurs``) of networks whose members are of this kind.
    ``internal``: services of the commune itself, colleagues who need no address of their own.
    ``sheet``: its own name for the sheet about a person, if it has one.
    """

    label: str
    may_get: frozenset[str]
    networks: tuple[str, ...] = ()
    internal: bool = False
    sheet: str | None = None


KINDS: Mapping[PartnerKind, Kind] = {
    PartnerKind.FRANCE_TRAVAIL: Kind(
        label="France Travail",
        may_get=CONTACT
        | {"birth_date", "france_travail_number", "commune", "situation", "need_note"},
        networks=("france-travail",),
    ),
    PartnerKind.MISSION_LOCALE: Kind(
        label="la Mission Locale",
        may_get=CONTACT | {"birth_date", "commune", "situation", "study_level", "need_note"},
        networks=("mission-locale",),
    ),
    PartnerKind.PLIE: Kind(
        label="le PLIE",
        may_get=CONTACT
        | {"birth_date", "commune", "situation", "minimum_benefit", "need_note"},
        networks=("plie",),
    ),
    PartnerKind.CLAP: Kind(
        label="le CLAP",
        may_get=CONTACT | {"birth_date", "project"},
        sheet="Fiche projet",
    ),
    PartnerKind.TEMP_AGENCY: Kind(
        label="les agences d'intérim",
        may_get=frozenset({"family_name", "given_name", "phone"}),
    ),
    PartnerKind.TRAINING_BODY: Kind(
        label="les organismes de formation",
        may_get=CONTACT | {"study_level", "project"},
        networks=("afpa", "reseau-app"),
    ),
    PartnerKind.INFORMATION_JEUNESSE: Kind(
        label="l'Information Jeunesse",
        may_get=frozenset({"given_name", "phone", "email"}),
        networks=("reseau-information-jeunesse",),
        internal=True,
    ),
    PartnerKind.DIGITAL_SPACE: Kind(
        label="l'espace numérique",
        may_get=frozenset({"given_name", "phone"}),
        networks=("espaces-publics-numeriques", "conseillers-numeriques"),
        internal=True,
    ),
    PartnerKind.E2C: Kind(
        label="l'École de la deuxième chance",
        may_get=CONTACT | {"birth_date", "study_level"},
        networks=("ecoles-de-la-deuxieme-chance",),
    ),
    PartnerKind.CAP_EMPLOI: Kind(
        label="Cap emploi",
        may_get=CONTACT | {"birth_date", "recognised_disability"},
        networks=("cap-emploi-reseau-cheops",),
    ),
}
INTERNAL_KINDS = frozenset(kind for kind, entry in KINDS.items() if entry.internal)


def faults(kinds: Mapping[PartnerKind, Kind]) -> list[str]:
    """Return what is missing or contradictory in a registry of kinds; empty if nothing is."""
    known = {network.value for network in ReseauPorteur}
    networks = [network for entry in kinds.values() for network in entry.networks]
    problems = [f"{kind}: has no entry in KINDS" for kind in PartnerKind if kind not in kinds]
    for name in sorted(set(networks)):
        if name not in known:
            problems.append(f"{name}: data·inclusion has no such network")
        if networks.count(name) > 1:
            problems.append(f"{name}: two kinds claim this network")
    return problems


if wrong := faults(KINDS):
    raise RuntimeError("contracts/kinds.py: " + "; ".join(wrong))
