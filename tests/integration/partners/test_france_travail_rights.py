"""Agreements, restriction and erasure, where France Travail keeps an appointment."""

from typing import Any

from contracts.erasure import KeysDestroyed
from contracts.referrals import AppointmentMissed, ReferralRequested
from contracts.rights import PersonRestricted, PersonUnrestricted
from infra.eventstore.writer import Pending
from tests.support.bureau import Bureau
from tests.support.partners import Sink, destroy_key
from tests.support.postgres import Databases


async def test_agreement_withdrawn_keeps_changes_back_and_takes_the_appointment_away(
    bureau: Bureau,
):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral)
    await bureau.withdraw(referral.person_id)
    await bureau.cancels(referral)
    await bureau.round()
    assert bureau.did() == ["POST", "DELETE"]
    assert bureau.travail.appointments == {}


async def limited(bureau: Bureau, referral: ReferralRequested, event: Any) -> None:
    person_id = referral.person_id
    intake = bureau.platform.database("intake")
    async with intake.transaction() as tx:
        pending = Pending(f"person-{person_id}", [event(person_id=person_id)], person_id)
        await bureau.platform.writer("intake").write(tx, [pending])
    await intake.close()
    await bureau.hear("rights")


async def test_changes_about_a_restricted_person_wait_until_it_is_lifted(bureau: Bureau):
    await bureau.connect()
    referral = await bureau.made()
    await bureau.says(referral)
    await limited(bureau, referral, PersonRestricted)
    await bureau.says(referral, AppointmentMissed)
    await bureau.round()
    assert bureau.did() == ["POST"]
    assert [row["state"] for row in await bureau.changes()] == ["held", "held"]
    await limited(bureau, referral, PersonUnrestricted)
    for _ in range(2):
        await bureau.round()
    assert bureau.did() == ["POST", "PUT", "PUT"]
    assert bureau.kept()[0] == "ABSENT"


async def test_erased_person_leaves_no_id_and_the_end_is_told_otherwise(
    bureau: Bureau, databases: Databases, sink: Sink
):
    await bureau.connect()
    await bureau.beside(sink)
    referral = await bureau.made()
    await bureau.says(referral)
    await bureau.cancels(referral)
    await destroy_key(databases, referral.person_id)
    bureau.platform.vault.drop([referral.person_id])
    await limited(bureau, referral, KeysDestroyed)
    rows = await bureau.rows("SELECT DISTINCT sealed, external_id FROM deliveries")
    assert rows == [{"sealed": None, "external_id": None}]
    await bureau.round()
    await bureau.round()
    assert await bureau.moved_on() == [("rest", "webhook", "no-identifier")]
    assert [r.json["type"] for r in sink.received] == ["referral.cancelled"]
    assert bureau.did() == ["POST"]
