"""Who asks, from the desk's CloudEvent to the request: known all the way, always sealed."""

from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from contracts.public import PublicContact
from contracts.referrals import Disclosure, ReferralRequested
from contracts.tools.examples import agreement, envelope
from contracts.values import PartnerKind
from infra.base.settings import Settings
from infra.eventstore.sealed import unseal
from infra.eventstore.store import EventStore
from infra.platform import Platform
from services.intake.app import build as build_intake
from services.referrals.app import build as build_referrals
from tests.support.platform import append, client, drain, published
from tests.support.postgres import Databases

ANNEX = {"code": "annex", "name": "Annexe", "kind": "ccas", "sites": ["annexe"]}
JOB = "trouver-un-emploi--repondre-a-des-offres-demploi"


def comes_to(site: str, note: str | None) -> dict[str, Any]:
    data = {
        "mode": "walk-in",
        "site": site,
        "person": {
            "ref": site,
            "identity": {"given_name": "Inès", "phone": "+33612345678"},
            "facts": {
                "birth_date": {"value": "2006-05-17"},
                "commune": {"value": "59459"},
                "situation": {"value": "job-seeker"},
            },
        },
        "agreements": [agreement(PartnerKind.MISSION_LOCALE)],
        "needs": [{"thematique": JOB} | ({"note": note} if note else {})],
    }
    return envelope(PublicContact.TYPE, data, Random(site))


@pytest.mark.parametrize("note", ["cherche un contrat", None])
@pytest.mark.parametrize(("site", "code"), [("annexe", "annex"), ("mairie", None)])
async def test_desk_where_the_need_was_said_is_the_one_that_asks(
    databases: Databases, tmp_path: Path, site: str, code: str | None, note: str | None
):
    path = tmp_path / "desks.json"
    path.write_bytes(orjson.dumps({"requesters": [ANNEX]}))
    settings = Settings(data=databases.directory, requesters=path)
    platform = Platform(settings, databases.url, databases.vault_url)
    await append(
        platform, "partners", "partner-x", [published(PartnerKind.MISSION_LOCALE, "auto")]
    )
    async with build_intake(platform).running() as intake:
        headers = {"content-type": "application/cloudevents+json"}
        async with await client(intake, "municipal", ["*"]) as http:
            answer = await http.post("/v1/events", json=comes_to(site, note), headers=headers)
        assert answer.status_code == 202, answer.text
    referrals = build_referrals(platform)
    await drain(referrals)
    async with referrals.database.transaction() as tx:
        events = await EventStore("referrals").read(tx, 0, 100)
    (requested,) = [e for e in events if e.type == ReferralRequested.type]
    opened = await unseal(platform.vault, [requested])
    sealed = Disclosure.model_validate_json(opened[requested.event_id])
    assert sealed.requester == code
    assert all("annex" not in e.data for e in events)
    await referrals.stop()
    await platform.close()
