"""The directory that comes with the project: what the closed loop needs of a service."""

import pytest
from data_inclusion.schema.v1 import Thematique
from pydantic import ValidationError

from contracts.partners import Deadlines, ServicePublished
from contracts.values import Channel, PartnerKind
from services.partners.handlers.directory import SeedPartner, SeedService, load_seed

SERVICES = [
    event
    for _, event in load_seed("petite-foret").events()
    if isinstance(event, ServicePublished)
]
NOT_THE_DESKS = {  # no partner of this desk works on these: an adviser does
    "difficultes-financieres",
    "equipement-et-alimentation",
    "famille",
    "logement-hebergement",
    "sante",
}


def categories(thematiques: list[str]) -> set[str]:
    return {t.partition("--")[0] for t in thematiques}


def test_every_kind_of_partner_has_a_service():
    assert {service.kind for service in SERVICES} == set(PartnerKind)


def test_categories_that_the_desk_routes_have_a_partner():
    every = categories([thematique.value for thematique in Thematique])
    covered = set().union(*(categories(service.thematiques) for service in SERVICES))
    assert covered == every - NOT_THE_DESKS


def test_commissions_are_those_of_plie_and_clap():
    found = {service.kind for service in SERVICES if service.commission}
    assert found == {PartnerKind.PLIE, PartnerKind.CLAP}


def test_services_say_how_they_are_reached_and_how_long_they_take():
    for service in SERVICES:
        assert service.channels
        assert len(set(service.channels)) == len(service.channels)
        assert Channel.MANUAL not in service.channels[:-1]  # the last resort
        assert service.delay_days
        assert service.publics
        assert service.modes


def test_information_jeunesse_lapses_within_the_week_that_its_network_promises():
    (service,) = [s for s in SERVICES if s.kind is PartnerKind.INFORMATION_JEUNESSE]
    assert (service.deadlines or Deadlines()).expire <= 5  # working days: 7 days


def test_places_of_the_commune_are_in_the_commune():
    found = {s.kind for s in SERVICES if s.code_insee == "59459"}
    assert found == {PartnerKind.INFORMATION_JEUNESSE, PartnerKind.DIGITAL_SPACE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadlines": {"remind": 5, "escalate": 5, "expire": 9}},
        {"deadlines": {"remind": 0, "escalate": 5, "expire": 9}},
        {"deadlines": {"remind": 3, "escalate": 7, "expire": 400}},
        {"delay_days": -1},
        {"channels": ["pigeon"]},
        {"policy": "maybe"},
        {"service": {"id": "x"}},
    ],
)
def test_service_that_makes_no_sense_is_not_loaded(wrong: dict[str, object]):
    good = {"service": SERVICES[0].service}
    SeedService.model_validate(good)
    with pytest.raises(ValidationError):
        SeedService.model_validate(good | wrong)


@pytest.mark.parametrize(
    "names",
    [
        [("Pôle emploi", "2008-12-19")],  # the present name is missing
        [("France Travail", "2024-01-01"), ("Pôle emploi", "2008-12-19")],
        [("Pôle emploi", "2024-01-01"), ("France Travail", "2024-01-01")],
    ],
)
def test_names_follow_each_other_up_to_the_present_one(names: list[tuple[str, str]]):
    structure = {"source": "s", "id": "s--1", "nom": "France Travail", "date_maj": "2026-01-01"}
    good = {"kind": "france-travail", "structure": structure, "services": []}
    SeedPartner.model_validate(good)
    wrong = [{"name": name, "since": since} for name, since in names]
    with pytest.raises(ValidationError, match="names:"):
        SeedPartner.model_validate(good | {"names": wrong})


def test_france_travail_is_one_partner_under_three_names():
    (partner,) = [p for p in load_seed("petite-foret").partners if p.names]
    found = [(name.name.partition(" –")[0], str(name.since)) for name in partner.names]
    assert found == [
        ("ANPE", "1967-07-13"), ("Pôle emploi", "2008-12-19"), ("France Travail", "2024-01-01"),
    ]  # fmt: skip
