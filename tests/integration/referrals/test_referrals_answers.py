"""What partners answered, as advisers read it."""

from typing import Any
from uuid import uuid4

from contracts.partners import AnswerSealed
from contracts.values import Reason
from tests.support.partners import destroy_key
from tests.support.platform import client
from tests.support.postgres import Databases
from tests.support.referral_app import ReferralApp, S

WORDS = AnswerSealed(comment="complet jusqu'en mars", partner_reference="ML-42")


async def said(referral_app: ReferralApp, referral_id: str) -> Any:
    return (await referral_app.get(f"/v1/referrals/{referral_id}/answers"))["answers"]


async def test_answers_are_shown_with_the_partners_words_and_number(referral_app: ReferralApp):
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    await referral_app.answers(case, S.REJECTED, reason=Reason.NO_CAPACITY, sealed=WORDS)
    (answer,) = await said(referral_app, case["referrals"][0]["referral_id"])
    assert (answer["status"], answer["label"]) == ("rejected", "Refusée")
    assert answer["reason"] == "no-capacity"
    assert answer["comment"] == "complet jusqu'en mars"
    assert answer["partner_reference"] == "ML-42"
    assert answer["typed_in_by"] is None


async def test_answer_that_an_adviser_typed_in_says_so(referral_app: ReferralApp):
    (referral,) = (await referral_app.case(await referral_app.comes()))["referrals"]
    typed = {"status": "accepted", "partner_reference": "D-7"}
    path = f"/v1/referrals/{referral['referral_id']}/answer"
    assert (await referral_app.post(path, typed))[0] == 200
    (answer,) = await said(referral_app, referral["referral_id"])
    assert (answer["partner_reference"], answer["comment"]) == ("D-7", None)
    assert answer["typed_in_by"].startswith("adviser:")


async def test_what_we_did_ourselves_is_no_answer(referral_app: ReferralApp):
    (referral,) = (await referral_app.case(await referral_app.comes()))["referrals"]
    cancel = {"reason": "sent-in-error"}
    await referral_app.post(f"/v1/referrals/{referral['referral_id']}/cancel", cancel)
    assert await said(referral_app, referral["referral_id"]) == []


async def test_words_of_an_erased_person_are_gone(
    referral_app: ReferralApp, databases: Databases
):
    person_id = await referral_app.comes()
    case = await referral_app.case(person_id)
    await referral_app.answers(case, S.REJECTED, reason=Reason.NO_CAPACITY, sealed=WORDS)
    await destroy_key(databases, person_id)
    referral_app.platform.vault._cache.clear()
    (answer,) = await said(referral_app, case["referrals"][0]["referral_id"])
    assert answer["status"] == "rejected"
    assert answer["comment"] is answer["partner_reference"] is None


async def test_social_security_number_is_refused_by_its_field(referral_app: ReferralApp):
    (referral,) = (await referral_app.case(await referral_app.comes()))["referrals"]
    typed = {"status": "accepted", "partner_reference": "2 69 05 49 588 157 80"}
    path = f"/v1/referrals/{referral['referral_id']}/answer"
    status, problem = await referral_app.post(path, typed)
    assert (status, problem["errors"][0]["field"]) == (422, "partner_reference")
    assert await said(referral_app, referral["referral_id"]) == []


async def test_answers_of_an_unknown_referral_are_not_found(referral_app: ReferralApp):
    async with await client(referral_app.service, "adviser") as http:
        answer = await http.get(f"/v1/referrals/{uuid4()}/answers")
    assert answer.status_code == 404
