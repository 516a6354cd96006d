"""Partners' answers: stored once, acknowledged, and judged by the referral's state."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
from standardwebhooks import Webhook

from contracts.referrals import (
    AnswerRefused,
    ReferralAccepted,
    ReferralCancelled,
    ReferralProposed,
)
from contracts.values import Author, PartnerKind, ReferralStatus
from tests.support.partners import (
    CANARY,
    PARTNER,
    SERVICE,
    Desk,
    Hub,
    answer_body,
    call,
    problem,
    signed,
)


def platform_of_nowhere(desk: Desk) -> Any:
    platform = type(desk.hub.platform)(
        desk.hub.platform.settings,
        "postgresql://nobody@127.0.0.1:1/none",
        desk.hub.platform.vault_url,
    )
    return platform


async def test_answer_signed_by_the_standard_package_is_stored_and_acknowledged(desk: Desk):
    body = answer_body(desk.id, "accepted", comment="Rendez-vous mardi")
    at = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(desk.secret).sign("msg_1", at, body.decode()),
        "content-type": "application/json; charset=utf-8",
    }
    response = await desk.post(body, headers)
    (event,) = await desk.stored()
    assert response.status_code == 202
    assert response.json() == {
        "answer_id": event["answer_id"],
        "referral_id": str(desk.id),
        "status": "accepted",
    }
    assert event["partner_id"] == PARTNER
    assert event["person_id"] == str(desk.referral.person_id)
    assert "comment" not in event


async def test_answer_under_an_id_with_an_accent_is_verified_by_its_bytes(desk: Desk):
    body, at, name = answer_body(desk.id, "accepted"), datetime.now(UTC), "dossier-é-Œ"
    headers = {
        "webhook-id": name.encode(),
        "webhook-timestamp": str(int(at.timestamp())).encode(),
        "webhook-signature": Webhook(desk.secret).sign(name, at, body.decode()).encode(),
        "content-type": b"application/json",
    }
    first, again = [await desk.post(body, headers) for _ in range(2)]
    assert (first.status_code, again.json()) == (202, first.json())


async def test_words_of_the_partner_are_sealed_for_the_person(desk: Desk):
    await desk.answer("accepted", "m1", comment=CANARY, partner_reference=f"{CANARY}/7")
    (row,) = await desk.hub.rows(
        "SELECT event_id, type, data::text, sealed FROM events WHERE type LIKE '%answer%'"
    )
    keys = await desk.hub.platform.vault.keys([desk.referral.person_id])
    key = keys[desk.referral.person_id]
    clear = orjson.loads(key.unseal(row["event_id"], row["type"], row["sealed"]))
    assert clear == {"comment": CANARY, "partner_reference": f"{CANARY}/7"}
    assert CANARY not in row["data"]
    for answers in await desk.hub.rows("SELECT a::text AS text FROM answers a"):
        assert CANARY not in answers["text"]


async def test_repeat_gets_the_same_answer_and_stores_nothing_more(desk: Desk):
    first = await desk.answer("accepted", "m1")
    await desk.answer("in-progress", "m2")
    repeat = await desk.answer("accepted", "m1")
    assert (repeat.status_code, repeat.json()) == (202, first.json())
    assert len(await desk.stored()) == 2


async def test_same_id_with_another_body_is_refused(desk: Desk):
    await desk.answer("accepted", "m1")
    other = await desk.answer("rejected", "m1", reason="no-capacity")
    assert other.status_code == 409
    assert other.json() == problem(
        "duplicate-id", "This webhook-id was used for another message", 409
    )
    assert len(await desk.stored()) == 1


async def test_same_id_for_another_referral_is_refused(desk: Desk):
    other = await desk.hub.refer()
    await desk.hub.hear()
    await desk.answer("accepted", "m1")
    body = answer_body(other.referral_id)
    response = await desk.post(body, signed(desk.secret, body, "m1"))
    assert response.status_code == 409
    assert response.json()["type"].endswith("/duplicate-id")
    assert len(await desk.stored()) == 1


async def test_transition_that_the_state_does_not_allow_is_refused(desk: Desk):
    await desk.answer("rejected", "m1", reason="no-capacity")
    late = await desk.answer("accepted", "m2")
    assert late.status_code == 409
    assert late.json() == problem(
        "forbidden-transition",
        "The referral's state does not allow this",
        409,
        current_status="rejected",
        asked_status="accepted",
    )
    assert len(await desk.stored()) == 1


async def test_answer_that_comes_before_the_request_was_heard_is_asked_for_again(desk: Desk):
    draft = ReferralProposed(
        referral_id=uuid4(), case_id=uuid4(), person_id=uuid4(), proposal_id=uuid4(),
        partner_id=PARTNER, partner_kind=PartnerKind.MISSION_LOCALE, service_id=SERVICE,
    )  # fmt: skip
    await desk.hub.say(draft.person_id, draft)
    await desk.hub.hear()
    for seen in (None, "requested"):
        body = answer_body(draft.referral_id, expected_status=seen)
        early = await desk.post(body, signed(desk.secret, body, "m1"))
        assert early.status_code == 503
        assert early.headers["retry-after"] == "1"
        assert early.json()["type"].endswith("/not-here-yet")
    known = {name: getattr(draft, name) for name in ("referral_id", "case_id", "person_id")}
    await desk.hub.say(draft.person_id, desk.referral.model_copy(update=known))
    await desk.hub.hear()
    again = await desk.post(body, signed(desk.secret, body, "m1"))
    assert again.status_code == 202


async def test_two_quick_answers_are_both_accepted_before_anybody_decided(desk: Desk):
    assert (await desk.answer("accepted", "m1")).status_code == 202
    assert (await desk.answer("in-progress", "m2")).status_code == 202
    done = await desk.answer("completed", "m3", outcome="job-found")
    assert done.status_code == 202
    assert [e["status"] for e in await desk.stored()] == [
        "accepted",
        "in-progress",
        "completed",
    ]


async def test_state_that_was_asked_holds_until_its_own_answer_is_settled(desk: Desk):
    first = await desk.answer("accepted", "m1")
    await desk.answer("in-progress", "m2")
    await desk.hub.move(
        desk.referral,
        ReferralAccepted,
        author=Author.PARTNER,
        status=ReferralStatus.ACCEPTED,
        answer_id=UUID(first.json()["answer_id"]),
    )
    await desk.hub.hear()
    held = await desk.answer("in-progress", "m3")
    assert held.status_code == 409
    assert held.json()["current_status"] == "in-progress"


async def test_answer_that_was_refused_no_longer_counts(desk: Desk):
    asked = await desk.answer("accepted", "m1")
    refused = AnswerRefused(
        referral_id=desk.id,
        answer_id=UUID(asked.json()["answer_id"]),
        status=ReferralStatus.REQUESTED,
        asked=ReferralStatus.ACCEPTED,
        problem="not now",
    )
    await desk.hub.say(desk.referral.person_id, refused)
    await desk.hub.hear()
    assert (await desk.answer("accepted", "m2")).status_code == 202


async def test_cancellation_by_an_adviser_ends_what_the_partner_asked(desk: Desk):
    await desk.answer("accepted", "m1")
    await desk.hub.move(desk.referral, ReferralCancelled)
    await desk.hub.hear()
    late = await desk.answer("in-progress", "m2")
    assert late.status_code == 409
    assert late.json()["current_status"] == "cancelled"


async def test_business_status_refines_without_changing_the_state(desk: Desk):
    received = await desk.answer("requested", "m1", business_status="under-study")
    assert (received.status_code, received.json()["status"]) == (202, "requested")
    assert (await desk.answer("accepted", "m2")).status_code == 202
    bare = await desk.answer("accepted", "m3")
    assert bare.status_code == 409
    again = await desk.answer("accepted", "m4", business_status="enrolled")
    assert again.status_code == 202


async def test_database_that_is_away_is_said_and_nothing_acknowledged(desk: Desk):
    await desk.hub.database.close()
    hub = Hub(platform_of_nowhere(desk))
    body = answer_body(desk.id)
    transport = httpx2.ASGITransport(hub.service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        response = await client.post(
            "/v1/answers", content=body, headers=signed(desk.secret, body, "m1")
        )
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json() == problem(
        "unavailable", "Try again in a moment", 503, detail="Not stored; send it again"
    )
    await hub.close()
    await hub.platform.close()


async def test_answers_route_is_in_the_openapi_document(desk: Desk):
    document = (await call(desk.hub, "GET", "/openapi.json")).json()
    operation = document["paths"]["/v1/answers"]["post"]
    assert {"202", "400", "401", "409", "413", "415", "422"} <= set(operation["responses"])
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].removeprefix("#/components/schemas/")
    assert set(document["components"]["schemas"][name]["properties"]) == {
        "type",
        "timestamp",
        "data",
    }


async def test_words_of_a_webhook_id_are_kept_nowhere_and_a_repeat_is_still_known(desk: Desk):
    name = "Marie-Durand-0612345678"
    first = await desk.answer("accepted", name, comment="oui")
    again = await desk.answer("accepted", name, comment="oui")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert (await desk.answer("accepted", name, comment="non")).status_code == 409
    tables = await desk.hub.rows(
        "SELECT table_schema AS s, table_name AS t FROM information_schema.tables "
        "WHERE table_schema = 'partners'"
    )
    for table in tables:
        rows = await desk.hub.rows(f"SELECT x::text AS row FROM {table['s']}.{table['t']} x")
        found = [row["row"] for row in rows]
        assert not any(name in row or name.encode().hex() in row for row in found)
