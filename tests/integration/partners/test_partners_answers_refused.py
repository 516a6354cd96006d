"""Every way to get an answer wrong, and what is said about it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest

from infra.delivery.webhook.signature import format_secret, new_secret
from tests.support.partners import (
    Desk,
    answer_body,
    problem,
    register,
    signed,
)

INVALID_SIGNATURE = {
    "type": "https://aiguillage.fr/problems/signature-invalid",
    "title": "The signature is not valid",
    "status": 401,
}


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
    theirs = (
        await register(
            desk.hub,
            "http://127.0.0.1:9/plie",
            partner_id="petite-foret--plie",
            service_ids=[],
        )
    )["secret"]
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
        "malformed", "The request cannot be read", 400, detail=detail
    )


async def test_too_large_and_other_content_types_are_refused(desk: Desk):
    body = answer_body(desk.id, comment="x" * 70_000)
    large = await desk.post(body, signed(desk.secret, body, "m1"))
    assert large.status_code == 413
    assert large.json() == problem(
        "too-large",
        "The content is too large",
        413,
        detail="A body has at most 65536 bytes here",
    )
    body = answer_body(desk.id)
    headers = signed(desk.secret, body, "m1") | {"content-type": "text/plain"}
    plain = await desk.post(body, headers)
    assert plain.status_code == 415
    assert plain.json() == problem(
        "unsupported-media-type",
        "The content type is not read here",
        415,
        detail="Send application/json",
    )


@pytest.mark.parametrize(
    ("status", "given", "field", "detail"),
    [
        ("rejected", {}, "data.reason", "status rejected needs a reason"),
        ("completed", {}, "data.outcome", "status completed needs an outcome"),
        (
            "requested",
            {},
            "data.business_status",
            "status requested needs a business_status (received, under-study …)",
        ),
        ("rejected", {"reason": "other"}, "data.comment", "reason other needs a comment"),
        ("accepted", {"note": "x"}, "data.note", "Extra inputs are not permitted"),
        (
            "accepted",
            {"appointment_at": "2026-11-24T10:00:00"},
            "data.appointment_at",
            "must be an RFC 3339 date and time with its offset",
        ),
        (
            "completed",
            {"outcome": "Mme Canari a trouvé"},
            "data.outcome",
            "String should match pattern '^(?:[a-z][a-z-]*)?(?:[0-9][a-z-]*){0,6}$'",
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
        "The request is not valid",
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
    response = await desk.answer("accepted", "m1", **{field: "n° 2 85 05 59 123 456 67"})
    assert response.status_code == 422
    assert response.json() == problem(
        "nir-refused",
        "A NIR (social security number) is never taken",
        422,
        errors=[{"field": f"data.{field}", "detail": "must not hold a NIR"}],
    )
    assert await desk.stored() == []


async def test_reason_of_an_adviser_is_not_the_partners(desk: Desk):
    response = await desk.answer("cancelled", "m1", reason="no-response")
    assert response.status_code == 422
    assert response.json() == problem(
        "reason-not-yours",
        "The reason is not one that a partner gives",
        422,
        errors=[
            {"field": "data.reason", "detail": "this reason is not one that a partner gives"}
        ],
    )


@pytest.mark.parametrize(
    "timestamp",
    [1_796_040_000, "1796040000", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
     "2026-11-23T10:00:00", "2026-11-23", None, True],
)  # fmt: skip
async def test_moment_of_an_answer_is_an_rfc_3339_text_that_can_be(desk: Desk, timestamp: Any):
    document = orjson.loads(answer_body(desk.id)) | {"timestamp": timestamp}
    body = orjson.dumps(document)
    response = await desk.post(body, signed(desk.secret, body, "m1"))
    assert response.status_code == 422
    assert [e["field"] for e in response.json()["errors"]] == ["timestamp"]
    assert await desk.stored() == []


async def test_outcome_holds_no_number_of_a_person(desk: Desk):
    response = await desk.answer("completed", "m1", outcome="marie-durand-0612345678")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "data.outcome"
