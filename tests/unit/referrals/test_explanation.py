"""A proposal explained to the person: the four things of CRPA R311-3-1-2, in plain French."""

from datetime import date
from typing import Any

import orjson

from contracts.referrals import (
    CommentSealed,
    ProposalChanged,
    ProposalMade,
    ProposalRefused,
    ReferralConfirmed,
)
from contracts.statements import DatedBenefit, SensitiveDisability
from contracts.values import Author, Evidence, FactSource, PartnerKind
from services.referrals.model.case import Attempts, Case
from services.referrals.model.case_flow import make_proposal
from services.referrals.model.explain import ProposalRecord, explain, plain_text
from services.referrals.model.person import Person
from tests.support.referrals import (
    ALL_RULES,
    FT,
    ML,
    TEMP,
    opened,
    person,
    service,
    stated,
    world,
)

PLIE = service(PartnerKind.PLIE)


def made(who: Person, *services: Any) -> ProposalMade:
    return make_proposal(Case.of(opened()), world(who, *services), Attempts())


def told(who: Person | None = None, *after: Any) -> dict[str, Any]:
    found = explain(ProposalRecord(made(who or person(), ML, FT, TEMP, PLIE), ALL_RULES, after))
    return dict(orjson.loads(orjson.dumps(found)))


def test_degree_and_mode_name_the_rule_and_the_humans():
    proposal = made(person(), FT)
    confirmed = ReferralConfirmed(
        referral_id=proposal.proposal_id, case_id=proposal.case_id,
        confirmed_by="adviser:anne", author=Author.ADVISER,
    )  # fmt: skip
    found = told(person(), confirmed)
    assert "sans autre" in found["contribution"]["mode"]  # the Mission Locale's policy is auto
    assert found["contribution"]["humans"] == [
        {"did": "confirmed", "by": "adviser:anne", "text": "Confirmé à l'accueil"}
    ]
    assert (
        "un conseiller le confirme"
        in explain(ProposalRecord(proposal, ALL_RULES))["contribution"]["mode"]
    )


def test_choice_and_refusal_of_an_adviser_are_told_with_their_reasons():
    proposal = made(person(), FT)
    ids = {"proposal_id": proposal.proposal_id, "case_id": proposal.case_id}
    words = CommentSealed(comment="plus proche")
    changed = ProposalChanged(**ids, service_ids=["s"], changed_by="adviser:anne", sealed=words)
    refused = ProposalRefused(**ids, refused_by="adviser:luc", sealed=None)
    humans = told(person(), changed, refused)["contribution"]["humans"]
    assert [(h["did"], h["by"], h["why"]) for h in humans] == [
        ("changed", "adviser:anne", "plus proche"),
        ("refused", "adviser:luc", None),
    ]


def test_data_are_listed_with_source_and_date():
    fact = DatedBenefit(value="rsa", source=FactSource.DOCUMENT, as_of=date(2026, 11, 2))
    found = told(stated(person(date(1984, 2, 3)), minimum_benefit=fact))
    (benefit,) = [d for d in found["data"] if d["fact"] == "minimum_benefit"]
    assert benefit == {
        "fact": "minimum_benefit", "label": "Minimum social", "value": "rsa",
        "source": "vu sur un document", "as_of": "2026-11-02",
    }  # fmt: skip


def test_parameters_are_those_applied_to_the_person_and_sum_up_to_the_score():
    for one in told()["parameters"]:
        assert abs(sum(w["weight"] for w in one["weights"]) - one["score"]) < 0.01
        assert all(w["label"] != w["part"] for w in one["weights"])


def test_operations_say_why_each_service_is_proposed_or_not_with_the_ground():
    found = {o["name"]: o for o in told(person(date(1984, 2, 3)))["operations"]}
    young = found[ML.name]
    assert (young["verdict"], young["text"]) == ("not-eligible", "non proposé")
    (age,) = [c for c in young["conditions"] if c["code"] == "age"]
    assert age["text"] == "La Mission Locale reçoit jusqu'à 25 ans révolus."
    assert age["source"] == "code du travail, L5314-2"
    assert found[FT.name]["text"] == "proposé"
    assert found[PLIE.name]["text"] == "possible, à vérifier avec vous"


def test_alternatives_and_questions_are_named():
    found = told()
    assert found["alternatives"][0]["name"] == FT.name
    assert "Percevez-vous le RSA, l'ASS ou l'AAH ?" in found["questions"]


def test_text_says_the_same_in_plain_french():
    found = explain(ProposalRecord(made(person(), ML, FT, PLIE), ALL_RULES))
    text = plain_text(found)
    for one in found["operations"]:
        assert one["name"] in text
        assert all(condition["text"] in text for condition in one["conditions"])
    for fact in found["data"]:
        assert fact["label"] in text
    assert "R311-3-1-2" in text
    assert "CADA" in text


def test_municipality_proposes_and_neither_decides_nor_orients():
    """The commune is not among those who orient job seekers (loi 2023-1196)."""
    disabled = SensitiveDisability(value=True, agreement=Evidence.SIGNED)
    who = stated(person(), recognised_disability=disabled)
    services = [service(kind) for kind in PartnerKind]
    text = plain_text(explain(ProposalRecord(made(who, *services), ALL_RULES))).lower()
    assert "décision" not in text
    assert "orient" not in text


def test_erased_person_leaves_only_what_stands_in_clear():
    proposal = made(person(), ML).model_copy(update={"sealed": None})
    found = explain(ProposalRecord(proposal, ALL_RULES))
    assert found["erased"] is True
    assert "data" not in found
    assert "effacées" in plain_text(found)


def test_rules_that_nobody_has_any_more_leave_codes_without_words():
    found = explain(ProposalRecord(made(person(), ML), None))
    assert {c["code"] for o in found["operations"] for c in o["conditions"]} >= {"age"}
