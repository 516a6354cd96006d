"""All services: an adviser confirms, moves and closes, and France Travail knows of it."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from contracts.tools.examples import agreement
from contracts.tools.examples import person as invented
from contracts.values import PartnerKind
from tests.support.bureau import DESK, TRAVAIL
from tests.support.france_travail import (
    CLIENT,
    NUMBER,
    SECRET,
    TWINS,
    FranceTravailSimulator,
    offer,
)
from tests.support.mailbox import TO, mailbox
from tests.support.postgres import Databases
from tests.support.whole import CANARY, Whole, until, whole_hub

HOWTO = Path(__file__).parents[3] / "docs" / "howto" / "connect-france-travail.md"
NOW = datetime.now(UTC).replace(microsecond=0)
FIELDS = ["family_name", "given_name", "phone", "birth_date", "france_travail_number"]


def registration(travail: FranceTravailSimulator) -> dict[str, Any]:
    """What the howto tells an administrator to send, with the simulator's addresses."""
    (text,) = re.findall(r"-d '(\{.*?\})'", HOWTO.read_text(), flags=re.DOTALL)
    body: dict[str, Any] = json.loads(text)
    body["url"] = body["application"]["auth_url"] = travail.url
    body["application"] |= {"client_id": CLIENT, "client_secret": SECRET}
    return body


async def comes(whole: Whole, number: str = NUMBER) -> UUID:
    """A job seeker whom France Travail knows, and who agrees that it learns who they are."""
    resident = invented(Random(CANARY))["identity"] | {"france_travail_number": number}
    agreements = [agreement(kind) | {"fields": FIELDS} for kind in PartnerKind]
    person = {
        "ref": "u-1",
        "identity": resident | {"family_name": CANARY},
        "facts": {
            "birth_date": {"value": "1980-05-17"},
            "commune": {"value": "59459"},
            "situation": {"value": "job-seeker"},
        },
    }
    return await whole.comes(person=person, agreements=agreements)


async def adviser(whole: Whole, path: str, body: Any = None) -> Any:
    answer = await whole.call("adviser", "POST", f"/referrals/v1{path}", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def sentences(whole: Whole, person_id: UUID) -> list[str]:
    await whole.quiet()
    answer = await whole.call("adviser", "GET", f"/audit/v1/persons/{person_id}/pathway")
    assert answer.status_code == 200, answer.text
    return [item["sentence"] for item in answer.json()["timeline"]]


def moment(days: int) -> datetime:
    return NOW + timedelta(days=days)


async def test_adviser_confirms_moves_and_cancels_and_france_travail_follows(
    databases: Databases,
    simulator: FranceTravailSimulator,
    capfd: pytest.CaptureFixture[str],
):
    async with whole_hub(databases, **DESK) as whole:
        await whole.register(registration(simulator))
        person_id = await comes(whole)
        referral = await whole.referral(person_id)
        assert (referral["partner_id"], referral["status"]) == (TRAVAIL, "draft")
        path = f"/referrals/{referral['referral_id']}"

        await adviser(whole, f"{path}/confirm", {"appointment_at": moment(7).isoformat()})
        made = await until(_appointment(simulator, "PRIS"))
        assert datetime.fromisoformat(made["date"]) == moment(7)
        await whole.quiet()

        later = {"appointment_at": moment(9).isoformat()}
        await adviser(whole, f"{path}/appointment", later)
        changed = await until(_appointment(simulator, "MODIFIE"))
        assert datetime.fromisoformat(changed["date"]) == moment(9)

        await adviser(whole, f"{path}/appointment/outcome", {"outcome": "excused"})
        await until(_appointment(simulator, "ANNULE"))
        await adviser(whole, f"{path}/cancel", {"reason": "client-declined"})
        await until(_gone(simulator))

        said = await sentences(whole, person_id)
        proposed = next(s for s in said if s.startswith(f"Demande envoyée à {TRAVAIL}"))
        assert "rendez-vous proposé le" in proposed
        assert f"Demande à {TRAVAIL} : message remis" in said
        assert "Rendez-vous excusé ou annulé, selon l'accueil" in said
        assert whole.sink.received == []

        simulator.offers = [offer(1)]
        offers = await whole.call("adviser", "GET", "/partners/v1/offers?commune=59459")
        assert offers.json()["total"] == 1

        stored = await whole.everything()
        for word in (SECRET, NUMBER, CANARY, CLIENT):
            assert word.encode() not in stored
    logged = "".join(capfd.readouterr())
    assert not any(word in logged for word in (SECRET, NUMBER, CANARY))


async def test_person_found_twice_is_told_by_mail_and_pathway_and_access_say_so(
    databases: Databases, simulator: FranceTravailSimulator
):
    async with mailbox() as box, whole_hub(databases, smtp_url=box.url, **DESK) as whole:
        await whole.register(registration(simulator))
        await whole.register(
            {"partner_id": TRAVAIL, "channel": "email", "url": f"mailto:{TO}", "rank": 1}
        )
        person_id = await comes(whole, TWINS)
        referral = await whole.referral(person_id)
        path = f"/referrals/{referral['referral_id']}/confirm"
        await adviser(whole, path, {"appointment_at": moment(7).isoformat()})

        async def mailed() -> bool:
            return bool(box.messages)

        await until(mailed)
        assert simulator.appointments == {}
        assert "Rendez-vous proposé" in box.text()
        assert CANARY not in box.text()
        said = await sentences(whole, person_id)
        assert f"Demande à {TRAVAIL} : autre canal après échec" in said

        path = f"/audit/v1/persons/{person_id}/access"
        held = (await whole.call("privacy", "POST", path, {})).json()
        at = held["referrals"][referral["referral_id"]]["appointment_at"]
        assert datetime.fromisoformat(at) == moment(7)
        page = await whole.call("privacy", "POST", path, {}, accept="text/html")
        assert "rendez-vous proposé le" in page.text


def _appointment(simulator: FranceTravailSimulator, status: str) -> Any:
    async def found() -> Any:
        made = [a for a in simulator.appointments.values() if a["statut"] == status]
        return made[0] if made else None

    return found


def _gone(simulator: FranceTravailSimulator) -> Any:
    async def gone() -> bool:
        return not simulator.appointments

    return gone
