"""Each place lies in one commune, one département and the country."""

import pytest

from contracts.checks.communes import (
    FRANCE,
    commune_exists,
    commune_of,
    departement_of,
    epci_of,
    zone_exists,
    zones_of,
)


@pytest.mark.parametrize(
    ("code", "commune", "epci", "departement"),
    [
        ("59459", "59459", "245901160", "59"),
        ("59355", "59350", "200093201", "59"),
        ("59298", "59350", "200093201", "59"),
        ("59540", "59183", "245900428", "59"),
        ("74011", "74010", "200066793", "74"),
        ("74010", "74010", "200066793", "74"),  # Annecy is also a part of itself
        ("75116", "75056", "200054781", "75"),
        ("2A004", "2A004", "242010056", "2A"),
        ("02285", "59545", "200030633", "59"),
        ("97133", "97133", "249710070", "971"),
        ("98735", "98735", None, "987"),
    ],
)
def test_place_lies_in_what_the_official_code_says(
    code: str, commune: str, epci: str | None, departement: str
):
    assert commune_exists(code)
    assert (commune_of(code), epci_of(code)) == (commune, epci)
    assert departement_of(commune_of(code)) == departement
    assert {code, commune, departement} | FRANCE <= zones_of(code)


@pytest.mark.parametrize("code", ["59990", "20", "R32", "059", "59999", "", "245900000"])
def test_code_of_no_place_is_no_zone(code: str):
    assert not zone_exists(code)


def test_every_zone_of_a_part_is_one_of_its_commune_but_the_part_itself():
    for code in ("59355", "74011", "75101", "69381", "13201"):
        assert zones_of(code) - {code} == zones_of(commune_of(code))
        assert all(zone_exists(zone) for zone in zones_of(code))
