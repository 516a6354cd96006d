"""What partners answered, as advisers read it."""

from typing import Any
from uuid import uuid4

from contracts.partners import AnswerSealed
from contracts.values import Reason
from tests.support.hall import Hall, S
from tests.support.partners import destroy_key
from tests.support.platform import client
from tests.support.postgres import Databases

WORDS = AnswerSealed(comment="complet jusqu'en mars", partner_reference="ML-42")


async def said(hall: Hall, referral_id: str) -> Any:
    return (await hall.get(f"/v1/referrals/{referral_id}/answers"))["answers"]


async def test_answers_are_shown_with_the_partners_words_and_number(hall: Hall):
    person_id = await hall.comes()
    case = await hall.case(person_id)
    await hall.answers(case, S.REJECTED, reason=Reason.NO_CAPACITY, sealed=WORDS)
    (answer,) = await said(hall, case["referrals"][0]["referral_id"])
    assert (answer["status"], answer["label"]) == ("rejected", "Refusée")
    assert answer["reason"] == "no-capacity"
    assert answer["comment"] == "complet jusqu'en mars"
    assert answer["partner_reference"] == "ML-42"
    assert answer["typed_in_by"] is None


async def test_answer_that_an_adviser_typed_in_says_so(hall: Hall):
    (referral,) = (await hall.case(await hall.comes()))["referrals"]
    typed = {"status": "accepted", "partner_reference": "D-7"}
    path = f"/v1/referrals/{referral['referral_id']}/answer"
    assert (await hall.post(path, typed))[0] == 200
    (answer,) = await said(hall, referral["referral_id"])
    assert (answer["partner_reference"], answer["comment"]) == ("D-7", None)
    assert answer["typed_in_by"].startswith("adviser:")


async def test_what_we_did_ourselves_is_no_answer(hall: Hall):
    (referral,) = (await hall.case(await hall.comes()))["referrals"]
    cancel = {"reason": "sent-in-error"}
    await hall.post(f"/v1/referrals/{referral['referral_id']}/cancel", cancel)
    assert await said(hall, referral["referral_id"]) == []


async def test_words_of_an_erased_person_are_gone(hall: Hall, databases: Databases):
    person_id = await hall.comes()
    case = await hall.case(person_id)
    await hall.answers(case, S.REJECTED, reason=Reason.NO_CAPACITY, sealed=WORDS)
    await destroy_key(databases, person_id)
    hall.platform.vault._cache.clear()
    (answer,) = await said(hall, case["referrals"][0]["referral_id"])
    assert answer["status"] == "rejected"
    assert answer["comment"] is answer["partner_reference"] is None


async def test_social_security_number_is_refused_by_its_field(hall: Hall):
    (referral,) = (await hall.case(await hall.comes()))["referrals"]
    typed = {"status": "accepted", "partner_reference": "2 69 05 49 588 157 80"}
    path = f"/v1/referrals/{referral['referral_id']}/answer"
    status, problem = await hall.post(path, typed)
    assert (status, problem["errors"][0]["field"]) == (422, "partner_reference")
    assert await said(hall, referral["referral_id"]) == []


async def test_answers_of_an_unknown_referral_are_not_found(hall: Hall):
    async with await client(hall.service, "adviser") as http:
        answer = await http.get(f"/v1/referrals/{uuid4()}/answers")
    assert answer.status_code == 404
