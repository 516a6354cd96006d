"""Run in a copy to which docs/howto/add-a-fact.md was applied: the fact counts everywhere."""

from datetime import UTC, date, datetime
from random import Random
from uuid import UUID, uuid4

import orjson

from contracts import labels
from contracts.intake import AgreementGiven
from contracts.public import PublicContact
from contracts.referrals import ReferralRequested
from contracts.tools import catalogue, publish
from contracts.tools.examples import contact
from contracts.tools.examples import person as invented
from contracts.values import Evidence, PartnerKind, RequesterKind
from contracts.webhooks import RequesterPart
from services.partners.adapters import csvfile
from services.partners.model.messages import compose_request
from services.partners.pages import rendering
from services.referrals.app import RULES
from services.referrals.model.case import Attempts, Case
from services.referrals.model.case_flow import make_proposal
from services.referrals.model.disclosure import disclosed
from services.referrals.model.explain import ProposalRecord, explain
from services.referrals.model.rulecheck import findings
from services.referrals.model.rules import Rules
from tests.support.referrals import ALL_RULES, JOB, TRAINING, opened, person, world

FACT, KIND = "french_level", PartnerKind.TRAINING_BODY
AT = datetime(2026, 11, 24, 9, tzinfo=UTC)


def accepted() -> None:
    """A contact states it, and agrees to its disclosure; another value is refused."""
    data = contact(Random(1))
    data["person"]["facts"][FACT] = {"value": "everyday", "source": "declared"}
    agreed = {"partner_kind": KIND, "fields": [FACT], "until": data["agreements"][0]["until"]}
    data["agreements"] = [agreed]
    stated = PublicContact.model_validate(data)
    assert getattr(stated.person.facts, FACT).value == "everyday"
    assert FACT in invented(Random(1))["facts"]


def labelled() -> None:
    """Pages say it in French, where its section stands."""
    assert rendering.disclosed({"project": "Souder", FACT: "everyday"}) == [
        ("Français parlé", "De tous les jours"),
        ("Projet", "Souder"),
    ]
    assert labels.field(FACT) == "Français parlé"


def shown_to_the_partner() -> None:
    """Whoever may get it has it in the message and in the table; who may not, has not."""
    given = AgreementGiven(
        agreement_id=uuid4(),
        person_id=uuid4(),
        partner_kind=KIND,
        fields=["given_name", FACT],
        until=date(2027, 1, 1),
        evidence=Evidence.ORAL,
    )
    who = person(**{FACT: "everyday"})
    fields = disclosed(who, None, KIND, given)
    assert fields == {"given_name": "Inès", FACT: "everyday"}
    assert FACT not in disclosed(who, None, PartnerKind.PLIE, given)
    event = ReferralRequested(
        referral_id=UUID(int=1),
        case_id=uuid4(),
        person_id=given.person_id,
        partner_id="p",
        partner_kind=KIND,
        service_id="s",
        thematique=JOB,
        agreement_id=given.agreement_id,
        agreed_until=given.until,
        requested_on=AT.date(),
    )
    desk = RequesterPart(kind=RequesterKind.CCAS, name="CCAS")
    body = compose_request(event, fields, desk, AT, "https://hub.example/v1/answers")
    headings, line = csvfile.written(body, "dlv_1").decode("utf-8-sig").splitlines()
    row = dict(zip(headings.split(";"), line.split(";"), strict=True))
    assert row["niveau_francais"] == "everyday"


def explained() -> None:
    """The person reads that it was looked at, under its French name."""
    made = make_proposal(
        Case.of(opened()), world(person(**{FACT: "fluent"}), TRAINING), Attempts()
    )
    facts = {
        fact["fact"]: fact["label"] for fact in explain(ProposalRecord(made, ALL_RULES))["data"]
    }
    assert facts[FACT] == "Français parlé"


def checked() -> None:
    """A table of the rules may look at it; the check tries each of its values."""
    graph = orjson.loads(RULES.read_bytes())
    (node,) = [node for node in graph["nodes"] if node["name"] == KIND]
    node["content"]["inputs"] = [{"id": "in", "name": FACT, "field": FACT}]
    shown = {"out-condition": '"french"', "out-text": '"Dit."', "out-source": '"essai"'}
    ask = {"out-result": '"unknown"', "out-question": '"Et ?"'}
    node["content"]["rules"] = [
        {"_id": "t-yes", "in": '"everyday", "fluent"', "out-result": '"matched"', **shown},
        {"_id": "t-ask", "in": "null", **shown, **ask},
    ]
    (gap,) = findings(Rules.parse(orjson.dumps(graph), "tried", 1))
    assert gap.what == f"no row for {{'{FACT}': 'beginner'}}"


def written() -> None:
    """What is generated is up to date."""
    assert publish.main(["--check"]) == 0
    assert catalogue.PAGE.read_text() == catalogue.page()
    assert FACT in catalogue.page()


if __name__ == "__main__":
    for check in (accepted, labelled, shown_to_the_partner, explained, checked, written):
        check()
