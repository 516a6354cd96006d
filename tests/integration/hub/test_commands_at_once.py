"""Two people press the same button at once: one is served, the other told; nothing breaks."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from contracts.intake import case_id_of
from contracts.registry import SERVICES
from tests.support.partners import answer_body, signed
from tests.support.whole import Whole, until

AT_ONCE = 4
MISSION_LOCALE = "petite-foret--mission-locale"
TOLD = {404, 409, 410, 429, 503}
Command = tuple[str, str, Any]
"""Role, path, body."""


def soon() -> str:
    return (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")


async def person(hub: Whole) -> str:
    return str(await hub.comes(uuid4().hex, name="Dupont", born="1985-03-02"))


async def known(hub: Whole) -> str:
    """A person of whom the log has heard."""
    who = await person(hub)
    await hub.quiet()
    return who


async def case(hub: Whole) -> dict[str, Any]:
    """A case with a draft for France Travail, that waits for an adviser."""
    who = await person(hub)
    await hub.referral(who)
    answer = await hub.call("adviser", "GET", f"/referrals/v1/cases?person_id={who}")
    (found,) = answer.json()["cases"]
    return dict(found)


async def draft(hub: Whole) -> str:
    return str((await case(hub))["referrals"][0]["referral_id"])


async def requested(hub: Whole) -> dict[str, Any]:
    found = (await case(hub))["referrals"][0]
    path = f"/referrals/v1/referrals/{found['referral_id']}/confirm"
    assert (await hub.call("adviser", "POST", path)).status_code == 200
    return dict(found)


async def services_of(hub: Whole, partner_id: str) -> list[str]:
    query = "SELECT service_id FROM partners.services WHERE partner_id = $1"
    return [str(row["service_id"]) for row in await hub.rows(query, partner_id)]


async def choose(hub: Whole) -> Command:
    found = await case(hub)
    asked = {r["service_id"] for r in found["referrals"]}
    other = next(i for i in await services_of(hub, MISSION_LOCALE) if i not in asked)
    body = {"service_ids": [other], "comment": "autre choix"}
    return "adviser", f"/referrals/v1/proposals/{found['proposal_id']}/choose", body


def on(
    make: Callable[[Whole], Awaitable[str]], role: str, path: str, body: Any = None
) -> Callable[[Whole], Awaitable[Command]]:
    """A command about what is made for it."""

    async def command(hub: Whole) -> Command:
        return role, path.replace("{}", await make(hub)), body() if callable(body) else body

    return command


async def case_id(hub: Whole) -> str:
    return str((await case(hub))["case_id"])


async def proposal_id(hub: Whole) -> str:
    return str((await case(hub))["proposal_id"])


async def referral_id(hub: Whole) -> str:
    return str((await requested(hub))["referral_id"])


async def merge(hub: Whole) -> Command:
    return (
        "adviser",
        f"/intake/v1/persons/{await person(hub)}/merge",
        {"into": await person(hub)},
    )


async def unmerge(hub: Whole) -> Command:
    role, path, body = await merge(hub)
    # the hub itself may be writing about somebody who has just come: then one asks again
    while (answer := await hub.call(role, "POST", path, body)).status_code == 409:
        assert answer.json()["type"].endswith("/conflict")
    assert answer.status_code == 200
    return role, path.replace("/merge", "/unmerge"), None


async def dismiss(hub: Whole) -> Command:
    body = {"person_id": await person(hub), "other_id": await person(hub)}
    return "adviser", "/intake/v1/duplicates/dismiss", body


async def delivery(hub: Whole) -> str:
    """A delivery that reached its partner."""
    wanted = (await requested(hub))["referral_id"]
    path = f"/partners/v1/deliveries?referral_id={wanted}&state=succeeded"

    async def made() -> Any:
        return (await hub.call("partner_admin", "GET", path)).json()["deliveries"]

    return str((await until(made))[0]["delivery_id"])


async def manual(hub: Whole) -> str:
    """A message for an adviser to hand over: the partner has no address."""
    role, path, body = await choose(hub)
    query = """
        SELECT service_id AS id FROM partners.services s WHERE NOT EXISTS
        (SELECT FROM partners.endpoints e WHERE e.partner_id = s.partner_id)
    """
    for row in await hub.rows(query):
        answer = await hub.call(role, "POST", path, body | {"service_ids": [row["id"]]})
        if answer.status_code == 200:
            break
    asked = {r["referral_id"] for r in answer.json()["referrals"]}

    async def listed() -> Any:
        found = (await hub.call("adviser", "GET", "/partners/v1/manual")).json()
        waiting = [item for part in found.values() if isinstance(part, list) for item in part]
        return [d["delivery_id"] for d in waiting if d.get("referral_id") in asked]

    return str((await until(listed))[0])


async def register(hub: Whole) -> Command:
    body = {"partner_id": MISSION_LOCALE, "url": f"{hub.sink.url}/other"}
    return "partner_admin", "/partners/v1/endpoints", body


async def endpoint(hub: Whole) -> str:
    listed = await hub.call("partner_admin", "GET", "/partners/v1/endpoints")
    live = [e for e in listed.json()["endpoints"] if e["state"] != "disabled"]
    return str(live[-1]["endpoint_id"])


async def own_key(hub: Whole) -> str:
    """A key of a partner."""
    path = "/partners/v1/partners/petite-foret--mission-locale/keys"
    made = await hub.call("partner_admin", "POST", path, {"name": f"k{uuid4().hex[:9]}"})
    hub.running.address["keys"]["partner"] = made.json()["key"]
    return (await services_of(hub, MISSION_LOCALE))[0]


async def own_endpoint(hub: Whole) -> str:
    await own_key(hub)
    listed = await hub.call("partner", "GET", "/partners/v1/partner/endpoints")
    live = [e for e in listed.json()["endpoints"] if e["state"] != "disabled"]
    return str(live[-1]["endpoint_id"])


async def service(hub: Whole) -> str:
    return await own_key(hub)


def again() -> dict[str, Any]:
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    return {"scope": "failed", "since": since, "reason": "essai"}


def structure() -> dict[str, Any]:
    unique = f"essai--{uuid4().hex[:12]}"
    return {
        "structures": [
            {"id": unique, "source": "essai", "nom": "Essai", "date_maj": "2026-01-05"}
        ],
        "services": [],
    }


PERSON, REFERRAL, PROPOSAL = (
    "/v1/persons/{person_id}",
    "/v1/referrals/{referral_id}",
    "/v1/proposals/{proposal_id}",
)
INTAKE, ABOUT = "/intake/v1/persons/{}", "/referrals/v1/referrals/{}"
AT, OWN = "/v1/endpoints/{endpoint_id}", "/v1/partner/endpoints/{endpoint_id}"
ROOM = {"status": "capacity"}
WHY = {"reason": "sur demande"}
COMMANDS: dict[tuple[str, str, str], Callable[[Whole], Awaitable[Command]]] = {
    ("audit", "POST", PERSON + "/access"): on(
        known, "privacy", "/audit/v1/persons/{}/access", {}
    ),
    ("audit", "POST", PERSON + "/unmask"): on(
        known, "auditor", "/audit/v1/persons/{}/unmask", WHY
    ),
    ("intake", "POST", "/v1/duplicates/dismiss"): dismiss,
    ("intake", "POST", PERSON + "/merge"): merge,
    ("intake", "POST", PERSON + "/unmerge"): unmerge,
    ("intake", "POST", PERSON + "/share"): on(
        person, "adviser", INTAKE + "/share", {"source": "https://other.example/desk"}
    ),
    ("intake", "POST", PERSON + "/erasure"): on(person, "privacy", INTAKE + "/erasure", {}),
    ("intake", "POST", PERSON + "/objection"): on(
        person, "privacy", INTAKE + "/objection", WHY
    ),
    ("intake", "POST", PERSON + "/profile"): on(person, "adviser", INTAKE + "/profile", WHY),
    ("intake", "POST", PERSON + "/rectification"): on(
        person, "adviser", INTAKE + "/rectification", {"identity": {"family_name": "Durand"}}
    ),
    ("intake", "POST", PERSON + "/restriction"): on(
        person, "privacy", INTAKE + "/restriction", WHY
    ),
    ("intake", "DELETE", PERSON + "/restriction"): on(
        person, "privacy", INTAKE + "/restriction"
    ),
    ("partners", "POST", "/v1/deliveries/{delivery_id}/redeliver"): on(
        delivery, "partner_admin", "/partners/v1/deliveries/{}/redeliver", {"reason": "essai"}
    ),
    ("partners", "POST", "/v1/deliveries/redeliver"): on(
        delivery, "partner_admin", "/partners/v1/deliveries/redeliver", again
    ),
    ("partners", "POST", "/v1/directory/import"): on(
        endpoint, "partner_admin", "/partners/v1/directory/import", structure
    ),
    ("partners", "POST", "/v1/endpoints"): register,
    ("partners", "POST", AT + "/ping"): on(
        endpoint, "partner_admin", "/partners/v1/endpoints/{}/ping"
    ),
    ("partners", "POST", AT + "/rotate"): on(
        endpoint, "partner_admin", "/partners/v1/endpoints/{}/rotate"
    ),
    ("partners", "POST", AT + "/disable"): on(
        endpoint, "partner_admin", "/partners/v1/endpoints/{}/disable", WHY
    ),
    ("partners", "POST", "/v1/manual/{delivery_id}/handed-over"): on(
        manual, "adviser", "/partners/v1/manual/{}/handed-over",
        {"by": "phone", "to": "adviser"},
    ),
    ("partners", "POST", "/v1/manual/{delivery_id}/unreached"): on(
        manual, "adviser", "/partners/v1/manual/{}/unreached", {}
    ),
    ("partners", "POST", "/v1/partner/messages/acknowledge"): on(
        own_key, "partner", "/partners/v1/partner/messages/acknowledge",
        {"webhook_ids": ["dlv_" + "0" * 32]},
    ),
    ("partners", "POST", OWN + "/ping"): on(
        own_endpoint, "partner", "/partners/v1/partner/endpoints/{}/ping"
    ),
    ("partners", "POST", OWN + "/rotate"): on(
        own_endpoint, "partner", "/partners/v1/partner/endpoints/{}/rotate"
    ),
    ("partners", "POST", OWN + "/disable"): on(
        own_endpoint, "partner", "/partners/v1/partner/endpoints/{}/disable", WHY
    ),
    ("partners", "POST", "/v1/partner/services/{service_id}/capacity"): on(
        service, "partner", "/partners/v1/partner/services/{}/capacity", ROOM
    ),
    ("partners", "POST", "/v1/partner/services/{service_id}/capacity-link"): on(
        service, "partner", "/partners/v1/partner/services/{}/capacity-link"
    ),
    ("partners", "POST", "/v1/services/{service_id}/capacity"): on(
        service, "partner_admin", "/partners/v1/services/{}/capacity", ROOM
    ),
    ("partners", "POST", "/v1/services/{service_id}/capacity-link"): on(
        service, "partner_admin", "/partners/v1/services/{}/capacity-link"
    ),
    ("partners", "POST", "/v1/partners/{partner_id}/keys"): on(
        endpoint, "partner_admin", "/partners/v1/partners/petite-foret--mission-locale/keys",
        {"name": "deux-fois"},
    ),
    ("referrals", "POST", "/v1/cases/{case_id}/close"): on(
        case_id, "adviser", "/referrals/v1/cases/{}/close",
        {"status": "revoked", "outcome": "withdrawn-by-person", "reason": "client-declined"},
    ),
    ("referrals", "POST", "/v1/cases/{case_id}/propose"): on(
        case_id, "adviser", "/referrals/v1/cases/{}/propose"
    ),
    ("referrals", "POST", PROPOSAL + "/choose"): choose,
    ("referrals", "POST", PROPOSAL + "/refuse"): on(
        proposal_id, "adviser", "/referrals/v1/proposals/{}/refuse", {"comment": "non"}
    ),
    ("referrals", "POST", REFERRAL + "/answer"): on(
        referral_id, "adviser", ABOUT + "/answer", {"status": "accepted"}
    ),
    ("referrals", "POST", REFERRAL + "/appointment"): on(
        referral_id, "adviser", ABOUT + "/appointment", lambda: {"appointment_at": soon()}
    ),
    ("referrals", "POST", REFERRAL + "/appointment/outcome"): on(
        referral_id, "adviser", ABOUT + "/appointment/outcome", {"outcome": "attended"}
    ),
    ("referrals", "POST", REFERRAL + "/cancel"): on(
        referral_id, "adviser", ABOUT + "/cancel", {"reason": "client-declined"}
    ),
    ("referrals", "POST", REFERRAL + "/confirm"): on(draft, "adviser", ABOUT + "/confirm"),
    ("referrals", "POST", REFERRAL + "/correct"): on(
        referral_id, "adviser", ABOUT + "/correct", {}
    ),
}  # fmt: skip
SIGNED = {
    ("intake", "POST", "/v1/events"),
    ("intake", "POST", "/v1/events/batch"),
    ("partners", "POST", "/v1/answers"),
}
"""Repeats of these are known by their id; each has a test of its own for many at once."""
HARDLY = {"/appointment/outcome", "/capacity-link", "/redeliver", "/dismiss"}
"""What none of the four may have an effect for, in the state that the test makes."""


async def test_every_command_of_every_service_is_one_of_these(whole: Whole):
    found = set()
    for name in SERVICES:
        document = (await whole.http.get(f"/{name}/openapi.json")).json()
        for path, operations in document["paths"].items():
            found |= {(name, method.upper(), path) for method in operations if method != "get"}
    assert found - SIGNED == set(COMMANDS)


async def test_a_command_that_several_send_at_once_is_never_a_fault_of_ours(
    whole: Whole, subtests: pytest.Subtests
):
    for (_, method, path), make in COMMANDS.items():
        with subtests.test(path):
            role, at, body = await make(whole)
            answers = await asyncio.gather(
                *(whole.call(role, method, at, body) for _ in range(AT_ONCE))
            )
            codes = [answer.status_code for answer in answers]
            assert all(code < 300 or code in TOLD for code in codes), (codes, answers[0].text)
            if not any(path.endswith(tail) for tail in HARDLY):
                assert min(codes) < 300, (codes, answers[0].text)
            if 409 in codes:
                told = next(a.json() for a in answers if a.status_code == 409)
                assert told["type"].startswith("https://aiguillage.fr/problems/")


async def test_answers_that_a_partner_sends_at_once_are_taken_or_told(whole: Whole):
    found = await requested(whole)
    await whole.quiet()
    bodies = [answer_body(found["referral_id"], status) for status in ("accepted", "rejected")]

    async def send(body: bytes) -> int:
        headers = signed(whole.secrets[found["partner_id"]], body, uuid4().hex)
        sent = await whole.http.post("/partners/v1/answers", content=body, headers=headers)
        assert orjson.loads(sent.content)
        return sent.status_code

    codes = await asyncio.gather(*(send(body) for body in bodies * AT_ONCE))
    assert set(codes) <= {202, 409, 422, 503}


NEED = """
SELECT data->>'need_id' AS id FROM intake.events
WHERE person_id = $1 AND type LIKE '%need.expressed%'
"""


async def test_a_case_that_the_receipt_names_is_here_or_will_be(whole: Whole):
    """The intake names it at once; the router hears of it a moment later."""
    referrals = next(s for s in whole.running.services if s.name == "referrals")
    routing = next(w for w in referrals.workers if w.name == "routing")
    routing.stop()
    task = next(t for t in asyncio.all_tasks() if t.get_name() == "routing")
    await asyncio.wait([task])
    unknown = f"/referrals/v1/cases/{uuid4()}"
    assert (await whole.call("adviser", "GET", unknown)).status_code == 404
    who = await whole.comes("early")
    (need,) = await whole.rows(NEED, who)
    path = f"/referrals/v1/cases/{case_id_of(UUID(need['id']))}"
    closing = {"status": "revoked", "outcome": "none", "reason": "client-declined"}
    for method, at, body in (
        ("GET", path, None),
        ("POST", path + "/propose", None),
        ("POST", path + "/close", closing),
    ):
        early = await whole.call("adviser", method, at, body)
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        assert early.json()["type"].endswith("/not-here-yet")
