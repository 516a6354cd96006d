"""Run in a copy to which docs/howto/add-a-kind-of-partner.md was applied: the kind counts."""

from datetime import date
from random import Random
from uuid import uuid4

from contracts import labels
from contracts.intake import AgreementGiven
from contracts.public import PublicContact
from contracts.tools import catalogue, publish
from contracts.tools.examples import contact
from contracts.values import Evidence, PartnerKind
from services.partners.handlers.imports import NETWORKS
from services.partners.pages.rendering import heading_of
from services.referrals.model.disclosure import disclosed
from services.referrals.model.proposals import propose
from services.referrals.model.routing import ELIGIBLE
from services.referrals.model.rulecheck import findings
from services.referrals.model.rules import Rules
from tests.support.referrals import ALL_RULES, JOB, TODAY, person, service

KIND = PartnerKind("epide")


def known() -> None:
    """It has a name, a network, and an agreement may be addressed to it."""
    assert labels.PARTNERS[KIND] == "l'Épide"
    assert NETWORKS["epide"] is KIND
    assert heading_of(KIND) == heading_of(None)
    agreements = PublicContact.model_validate(contact(Random(1))).agreements
    assert KIND in [agreement.partner_kind for agreement in agreements]


def ruled() -> None:
    """Its rules pass the check, which misses them where they are not; they judge people."""
    assert findings(ALL_RULES) == []
    without = {kind: table for kind, table in ALL_RULES.tables.items() if kind != KIND}
    rules = ALL_RULES
    silent = Rules("s", 1, rules.digest, rules.content, without, rules.weights)
    (missing,) = findings(silent)
    assert (missing.where, missing.what) == ("epide", "no table for this kind of partner")
    who = person(born=date(2006, 5, 17), study_level="none")
    (candidate,) = propose(JOB, who, [service(KIND)], ALL_RULES, TODAY).candidates
    assert candidate.verdict == ELIGIBLE
    assert "Épide" in " ".join(row.text for row in ALL_RULES.tables[KIND].rows.values())


def disclosed_to() -> None:
    """It gets what it needs, as far as the person agreed, and nothing else."""
    given = AgreementGiven(
        agreement_id=uuid4(),
        person_id=uuid4(),
        partner_kind=KIND,
        fields=["given_name", "study_level", "commune"],
        until=date(2027, 1, 1),
        evidence=Evidence.ORAL,
    )
    fields = disclosed(person(study_level="none"), None, KIND, given)
    assert fields == {"given_name": "Inès", "study_level": "none"}


def written() -> None:
    """What is generated is up to date."""
    assert publish.main(["--check"]) == 0
    assert catalogue.PAGE.read_text() == catalogue.page()
    assert "`epide`" in catalogue.page()


if __name__ == "__main__":
    for check in (known, ruled, disclosed_to, written):
        check()
