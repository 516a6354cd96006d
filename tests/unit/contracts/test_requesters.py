"""Who asks: found by source and site, and what a partner may know of it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.requesters import Requesters
from contracts.values import (
    REQUESTER_LABELS,
    SENSITIVE_REQUESTERS,
    PartnerKind,
    RequesterKind,
)
from contracts.webhooks import RequesterPart
from infra.base.requesters import RequestersError, load_requesters
from services.partners.model.requesters import shown, spoken

DESK = {"name": "Espace Emploi", "kind": "municipal-desk", "phone": "+33327000001"}
TOWN = "https://petite-foret.example/systems"
FRANCE_TRAVAIL, PLIE = PartnerKind.FRANCE_TRAVAIL, PartnerKind.PLIE


def listed(**given: Any) -> dict[str, Any]:
    return {
        "code": "ccas", "name": "CCAS de la ville", "kind": "ccas", "sources": [f"{TOWN}/ccas"],
    } | given  # fmt: skip


def requesters(*desks: dict[str, Any]) -> Requesters:
    return Requesters.model_validate({"default": DESK, "requesters": desks})


@pytest.mark.parametrize(
    ("given", "source", "site", "found"),
    [
        ({}, f"{TOWN}/ccas", None, True),
        ({}, f"{TOWN}/ccas", "anywhere", True),
        ({}, f"{TOWN}/ccas-2", None, False),
        ({"sources": [f"{TOWN}/*"]}, f"{TOWN}/ccas-2", None, True),
        ({"sources": [f"{TOWN}/*"]}, "https://other.example", None, False),
        ({"sources": [], "sites": ["annexe"]}, "https://other.example", "annexe", True),
        ({"sources": [], "sites": ["annexe"]}, f"{TOWN}/ccas", None, False),
        ({"sites": ["annexe"]}, f"{TOWN}/ccas", "annexe", True),
        ({"sites": ["annexe"]}, f"{TOWN}/ccas", "mairie", False),
        ({"sites": ["annexe"]}, "https://other.example", "annexe", False),
    ],
)
def test_contact_comes_from_the_desk_that_its_source_and_site_say(
    given: dict[str, Any], source: str, site: str | None, found: bool
):
    assert requesters(listed(**given)).code_of(source, site) == ("ccas" if found else None)


def test_first_desk_that_matches_is_the_one():
    both = requesters(listed(), listed(code="second"))
    assert both.code_of(f"{TOWN}/ccas", None) == "ccas"


@pytest.mark.parametrize("kind", list(RequesterKind))
@pytest.mark.parametrize("allowed", [[], ["plie"], ["partner-x"], ["somebody-else"]])
def test_kind_that_says_something_of_the_person_is_hidden_but_from_those_allowed(
    kind: RequesterKind, allowed: list[str]
):
    reach = {"phone": "+33327999999", "email": "a@b.fr"}
    desk = listed(code="d", name="Le Foyer", kind=kind, shown_to=allowed, **reach)
    part = shown(requesters(desk), "d", "partner-x", PLIE)
    if kind in SENSITIVE_REQUESTERS and not {"plie", "partner-x"} & set(allowed):
        assert part == RequesterPart(kind=RequesterKind.OTHER, phone=DESK["phone"])
    else:
        assert (part.kind, part.name, part.email) == (kind, "Le Foyer", "a@b.fr")


def test_usual_desk_is_shown_to_everybody():
    part = shown(requesters(), None, "p", FRANCE_TRAVAIL)
    assert (part.kind, part.name) == (RequesterKind.MUNICIPAL_DESK, "Espace Emploi")


def test_desk_that_is_listed_no_more_is_hidden():
    part = shown(requesters(), "closed-since", "p", FRANCE_TRAVAIL)
    assert (part.kind, part.name) == (RequesterKind.OTHER, None)


def test_desk_without_a_telephone_is_called_back_at_the_usual_one():
    assert shown(requesters(listed()), "ccas", "p", PLIE).phone == DESK["phone"]


def test_every_kind_has_words():
    assert set(REQUESTER_LABELS) == set(RequesterKind)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"kind": "other"}, "Autre"),
        ({"kind": "other", "phone": "+33327000001"}, "Autre, +33327000001"),
        ({"kind": "ccas", "name": "Le CCAS", "email": "a@b.fr"}, "Le CCAS (CCAS), a@b.fr"),
    ],
)
def test_who_asks_is_one_line(part: dict[str, str], line: str):
    assert spoken(RequesterPart.model_validate(part)) == line


@pytest.mark.parametrize(
    "wrong",
    [
        {"default": DESK | {"kind": "csapa"}},
        {"requesters": [listed(), listed()]},
        {"requesters": [listed(sources=[])]},
        {"requesters": [listed(kind="prison")]},
        {"requesters": [listed(colour="red")]},
    ],
)
def test_list_that_makes_no_sense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        Requesters.model_validate(wrong)


def test_file_that_cannot_be_used_names_what_is_wrong(tmp_path: Path):
    path = tmp_path / "desks.json"
    with pytest.raises(RequestersError, match="FileNotFoundError"):
        load_requesters(path)
    path.write_text('{"default": {"name": "x"}}')
    with pytest.raises(RequestersError, match=r"default\.kind"):
        load_requesters(path)
    path.write_text("{")
    with pytest.raises(RequestersError, match="JSON"):
        load_requesters(path)


def test_without_a_file_the_desk_is_that_of_the_town():
    assert load_requesters(None).default.name == "Espace Emploi et Numérique"
