"""A kind of partner that the rules in force do not know: never proposed, never in silence."""

from typing import Any

import orjson
import pytest

from contracts.values import PartnerKind
from services.referrals import projections
from services.referrals.app import RULES
from services.referrals.handlers.rulebook import publication
from services.referrals.model import disclosure
from services.referrals.model.rules import Rules
from tests.support.referral_app import ReferralApp, services

ML = PartnerKind.MISSION_LOCALE


async def put_into_force(
    referral_app: ReferralApp, version: int, without: PartnerKind | None = None
) -> None:
    """Rules of former days, which knew fewer kinds of partners."""
    graph = orjson.loads(RULES.read_bytes())
    graph["nodes"] = [node for node in graph["nodes"] if node["name"] != without]
    rules = Rules.parse(orjson.dumps(graph), "rules", version)
    now, writer = referral_app.now, referral_app.platform.writer("referrals")
    async with referral_app.service.database.transaction() as tx:
        pending = publication(rules, version - 1)
        await projections.apply(tx, pending.events, now)
        await writer.write(tx, [pending], recorded_at=now)


async def alarms(referral_app: ReferralApp) -> list[Any]:
    return [(a["kind"], a["subject"]) for a in await referral_app.service.alarms()]


async def test_kind_without_rules_is_never_eligible_and_says_so(referral_app: ReferralApp):
    await put_into_force(referral_app, 1, without=ML)
    case = await referral_app.case(await referral_app.comes())
    assert services(case) == [("s-france-travail", "draft")]
    proposal = await referral_app.get(f"/v1/proposals/{case['proposal_id']}")
    found = {c["service_id"]: c for c in proposal["explanation"]["candidates"]}
    assert found["s-mission-locale"]["verdict"] == "not-eligible"
    told = await referral_app.get(f"/v1/proposals/{case['proposal_id']}/explanation")
    (text,) = [
        c["text"]
        for o in told["operations"]
        for c in o["conditions"]
        if c["code"] == "no-rules"
    ]
    assert text == "Aucune règle n'est en vigueur pour ce type de partenaire."


async def test_kind_without_rules_is_an_alarm_and_on_the_worklist_until_there_are(
    referral_app: ReferralApp,
):
    await put_into_force(referral_app, 1, without=ML)
    await referral_app.comes()
    await referral_app.tick("rules")
    await referral_app.tick("rules")  # an alarm that is open is not raised again
    assert await alarms(referral_app) == [("no-rules", "mission-locale")]
    assert "no-rules" in [reason for reason, _ in await referral_app.reasons()]
    (item,) = [
        i
        for i in (await referral_app.get("/v1/worklist"))["items"]
        if i["reason"] == "no-rules"
    ]
    assert (item["partner_kind"], item["label"]) == (
        "mission-locale",
        "Partenaires sans règles",
    )
    await put_into_force(referral_app, 2)
    await referral_app.tick("rules")
    assert await alarms(referral_app) == []
    assert "no-rules" not in [reason for reason, _ in await referral_app.reasons()]


async def test_mistake_in_our_own_tables_is_an_error_and_not_a_thing_that_is_missing(
    referral_app: ReferralApp, monkeypatch: pytest.MonkeyPatch
):
    """Once a ``KeyError`` was answered as 404, "No such mission-locale", without a log line."""
    await put_into_force(referral_app, 1, without=ML)
    case = await referral_app.case(await referral_app.comes())
    monkeypatch.delitem(disclosure.MINIMAL_FIELDS, PartnerKind.FRANCE_TRAVAIL)
    (draft,) = case["referrals"]
    with pytest.raises(KeyError):  # as its server sees it: 500, and a line in the log
        await referral_app.post(f"/v1/referrals/{draft['referral_id']}/confirm")
