"""Partners' answers: signed, checked, stored once, and every way to get one wrong."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest
from standardwebhooks import Webhook

from contracts.referrals import (
    AnswerRefused,
    ReferralAccepted,
    ReferralCancelled,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import Author, PartnerKind, ReferralStatus
from infra.webhooks.signature import format_secret, new_secret
from tests.support.partners import (
    CANARY,
    KEY,
    PARTNER,
    SERVICE,
    Hub,
    answer_body,
    platform_of,
    signed,
)
from tests.support.postgres import Databases

INVALID_SIGNATURE = {
    "type": "https://aiguillage.fr/problems/signature-invalid",
    "title": "The signature is not valid",
    "status": 401,
}


class Desk:
    """A hub with one referral delivered to a partner whose secret we hold."""

    def __init__(self, hub: Hub, secret: str, referral: ReferralRequested) -> None:
        self.hub = hub
        self.secret = secret
        self.referral = referral
        self.id = referral.referral_id

    async def post(self, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        return await self.call("POST", "/v1/answers", content=body, headers=headers)

    async def call(self, method: str, path: str, **given: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(self.hub.service.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
            return await client.request(method, path, **given)

    async def answer(self, status: str, webhook_id: str, **given: Any) -> httpx2.Response:
        body = answer_body(self.id, status, **given)
        return await self.post(body, signed(self.secret, body, webhook_id))

    async def stored(self) -> list[dict[str, Any]]:
        return await self.hub.events("answer.received")


@pytest.fixture
async def desk(databases: Databases) -> AsyncIterator[Desk]:
    hub = Hub(platform_of(databases))
    await hub.prepare()
    secret = await endpoint(hub, PARTNER, [SERVICE], "http://127.0.0.1:9/hook")
    referral = await hub.refer()
    await hub.hear()
    yield Desk(hub, secret, referral)
    await hub.close()
    await hub.platform.close()


async def endpoint(hub: Hub, partner: str, services: list[str], url: str) -> str:
    transport = httpx2.ASGITransport(hub.service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://hub") as client:
        answer = await client.post(
            "/v1/endpoints",
            json={"partner_id": partner, "service_ids": services, "url": url},
            headers={"authorization": f"Bearer {KEY}"},
        )
    secret: str = answer.json()["secret"]
    return secret


def problem(slug: str, title: str, status: int, **more: Any) -> dict[str, Any]:
    return {
        "type": f"https://aiguillage.fr/problems/{slug}",
        "title": title,
        "status": status,
    } | more


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


async def test_unknown_referral_unknown_partner_and_forgery_look_alike(desk: Desk):
    stranger = format_secret(new_secret())
    without = await desk.hub.refer("petite-foret--plie", "petite-foret--plie--parcours")
    await desk.hub.hear()
    cases = [
        (desk.id, stranger),
        (uuid4(), desk.secret),
        (uuid4(), stranger),
        (without.referral_id, desk.secret),
    ]
    for referral_id, secret in cases:
        body = answer_body(referral_id)
        response = await desk.post(body, signed(secret, body, "m1"))
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json() == INVALID_SIGNATURE
    assert await desk.stored() == []


async def test_partner_cannot_answer_for_the_referral_of_another(desk: Desk):
    theirs = await endpoint(desk.hub, "petite-foret--plie", [], "http://127.0.0.1:9/plie")
    body = answer_body(desk.id)
    response = await desk.post(body, signed(theirs, body, "m1"))
    assert response.json() == INVALID_SIGNATURE


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "abc v1, v1,é v2,x"},
        {"webhook-id": ""},
        {"webhook-id": "a.b"},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-timestamp": "-1"},
    ],
)
async def test_malformed_signature_headers_are_a_bad_signature(
    desk: Desk, change: dict[str, str]
):
    body = answer_body(desk.id)
    headers = {
        name: value.encode()
        for name, value in (signed(desk.secret, body, "m1") | change).items()
    }
    response = await desk.post(body, headers)  # type: ignore[arg-type]
    assert (response.status_code, response.json()) == (401, INVALID_SIGNATURE)


async def test_tampered_body_is_a_bad_signature(desk: Desk):
    body = answer_body(desk.id)
    response = await desk.post(
        body.replace(b"accepted", b"in-progress"), signed(desk.secret, body, "m1")
    )
    assert (response.status_code, response.json()) == (401, INVALID_SIGNATURE)
    assert await desk.stored() == []


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_stale_timestamp_is_said_only_to_who_can_sign(desk: Desk, minutes: int):
    body = answer_body(desk.id)
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    response = await desk.post(body, signed(desk.secret, body, "m1", at))
    assert response.status_code == 401
    assert response.json() == problem(
        "timestamp-stale",
        "The message was signed too long ago",
        401,
        detail="webhook-timestamp must be within five minutes of our clock; sign again",
    )
    stranger = signed(format_secret(new_secret()), body, "m1", at)
    assert (await desk.post(body, stranger)).json() == INVALID_SIGNATURE
    assert await desk.stored() == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"", "the body is not JSON"),
        (b"[" * 5000, "the body is not JSON"),
        (b"[]", "data.referral_id must be a UUID"),
        (b'{"data": 1}', "data.referral_id must be a UUID"),
        (b'{"data": {"referral_id": "x"}}', "data.referral_id must be a UUID"),
        (b'{"data": {"referral_id": 7}}', "data.referral_id must be a UUID"),
    ],
)
async def test_body_that_cannot_be_read_is_malformed(desk: Desk, body: bytes, detail: str):
    response = await desk.post(body, signed(desk.secret, body, "m1"))
    assert response.status_code == 400
    assert response.json() == problem(
        "malformed", "The body cannot be read", 400, detail=detail
    )


async def test_too_large_and_other_content_types_are_refused(desk: Desk):
    body = answer_body(desk.id, comment="x" * 70_000)
    large = await desk.post(body, signed(desk.secret, body, "m1"))
    assert large.status_code == 413
    assert large.json() == problem("too-large", "An answer has at most 64 KiB", 413)
    body = answer_body(desk.id)
    headers = signed(desk.secret, body, "m1") | {"content-type": "text/plain"}
    plain = await desk.post(body, headers)
    assert plain.status_code == 415
    assert plain.json() == problem("unsupported-media-type", "Send application/json", 415)


@pytest.mark.parametrize(
    ("status", "given", "field", "detail"),
    [
        ("rejected", {}, "data", "status rejected needs a reason"),
        ("completed", {}, "data", "status completed needs an outcome"),
        (
            "requested",
            {},
            "data",
            "status requested needs a business_status (received, under-study …)",
        ),
        ("rejected", {"reason": "other"}, "data", "reason other needs a comment"),
        ("accepted", {"note": "x"}, "data.note", "Extra inputs are not permitted"),
        (
            "accepted",
            {"appointment_at": "2026-11-24T10:00:00"},
            "data.appointment_at",
            "Input should have timezone info",
        ),
        (
            "completed",
            {"outcome": "Mme Canari a trouvé"},
            "data.outcome",
            "String should match pattern '^[a-z][a-z0-9-]{0,59}$'",
        ),
    ],
)
async def test_answer_that_does_not_fit_names_the_field(
    desk: Desk, status: str, given: dict[str, Any], field: str, detail: str
):
    response = await desk.answer(status, "m1", **given)
    assert response.status_code == 422
    assert response.json() == problem(
        "invalid",
        "The content does not fit its schema",
        422,
        errors=[{"field": field, "detail": detail}],
    )
    assert await desk.stored() == []


async def test_what_does_not_fit_is_said_only_to_who_can_sign(desk: Desk):
    body = answer_body(desk.id, "rejected")
    response = await desk.post(body, signed(format_secret(new_secret()), body, "m1"))
    assert response.json() == INVALID_SIGNATURE


@pytest.mark.parametrize("status", ["draft", "entered-in-error", "done"])
async def test_status_that_no_partner_may_ask_for_is_invalid(desk: Desk, status: str):
    response = await desk.answer(status, "m1")
    assert response.status_code == 422
    assert [e["field"] for e in response.json()["errors"]] == ["data.status"]
    assert await desk.stored() == []


@pytest.mark.parametrize("field", ["comment", "partner_reference"])
async def test_nir_is_refused_wherever_words_are_written(desk: Desk, field: str):
    response = await desk.answer("accepted", "m1", **{field: "n° 2 85 05 59 123 456 78"})
    assert response.status_code == 422
    assert response.json() == problem(
        "nir-refused",
        "The content does not fit its schema",
        422,
        errors=[{"field": f"data.{field}", "detail": "must not hold a NIR"}],
    )
    assert await desk.stored() == []


async def test_reason_of_an_adviser_is_not_the_partners(desk: Desk):
    response = await desk.answer("cancelled", "m1", reason="no-response")
    assert response.status_code == 422
    assert response.json() == problem(
        "reason-not-yours",
        "The content does not fit its schema",
        422,
        errors=[
            {"field": "data.reason", "detail": "this reason is not one that a partner gives"}
        ],
    )


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


async def test_draft_cannot_be_answered(desk: Desk):
    draft = ReferralProposed(
        referral_id=uuid4(), case_id=uuid4(), person_id=uuid4(), proposal_id=uuid4(),
        partner_id=PARTNER, partner_kind=PartnerKind.MISSION_LOCALE, service_id=SERVICE,
    )  # fmt: skip
    await desk.hub.say(draft.person_id, draft)
    await desk.hub.hear()
    body = answer_body(draft.referral_id)
    response = await desk.post(body, signed(desk.secret, body, "m1"))
    assert response.status_code == 409
    assert response.json()["current_status"] == "draft"


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
    assert response.json() == problem("unavailable", "Not stored; send it again", 503)
    await hub.close()
    await hub.platform.close()


def platform_of_nowhere(desk: Desk) -> Any:
    platform = type(desk.hub.platform)(
        desk.hub.platform.settings,
        "postgresql://nobody@127.0.0.1:1/none",
        desk.hub.platform.vault_url,
    )
    return platform


async def test_keys_are_asked_for_on_every_administrators_route(desk: Desk):
    for path in ("/v1/endpoints", "/v1/deliveries", "/v1/partners", "/v1/services"):
        assert (await desk.call("GET", path)).status_code == 401
        wrong = {"authorization": "Bearer agk_nobody"}
        assert (await desk.call("GET", path, headers=wrong)).status_code == 401


async def test_answers_route_is_in_the_openapi_document(desk: Desk):
    document = (await desk.call("GET", "/openapi.json")).json()
    operation = document["paths"]["/v1/answers"]["post"]
    assert {"202", "400", "401", "409", "413", "415", "422"} <= set(operation["responses"])
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].removeprefix("#/components/schemas/")
    assert set(document["components"]["schemas"][name]["properties"]) == {
        "type",
        "timestamp",
        "data",
    }
