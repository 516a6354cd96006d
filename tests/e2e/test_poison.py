"""One person's poison message blocks nobody else; after the repair it is handled in order."""

from typing import Any

import orjson

from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, cases, contact, emit, rows, until, with_referral

POISON = "ALTER TABLE referrals.cases ADD CONSTRAINT poison CHECK (person_id <> '{}') NOT VALID"
UNREAD = (
    "SELECT (SELECT max(position) FROM intake.events) > position AS unread "
    "FROM referrals.offsets WHERE subscription = 'routing'"
)
REPAIR = "ALTER TABLE referrals.cases DROP CONSTRAINT poison"


async def routing(up: Up) -> dict[str, Any]:
    """What `aiguillage status` says of the router."""
    done = await up.run("status", "--json")
    return next(r for r in orjson.loads(done.out) if r["subscription"] == "routing")


async def parked(hub: Hub, at_least: int) -> bool:
    return len(await rows(hub, "SELECT 1 FROM referrals.dead_letters")) >= at_least


async def test_poison_waits_others_go_on_and_the_repair_is_replayed_in_order(up: Up):
    assert up.hub is not None
    hub = up.hub
    person = (await emit(hub, contact("poisoned", 1)))["person_id"]
    await with_referral(hub, person)
    await rows(hub, POISON.format(person))  # from now on, no case of this person fits its table

    await emit(hub, contact("poisoned", 2))
    other = (await emit(hub, contact("healthy", 3)))["person_id"]
    assert (await with_referral(hub, other))["status"] == "requested"
    await until(lambda: parked(hub, 1))
    assert len(await cases(hub, person)) == 1
    before = (await routing(up))["parked"]
    assert before > 0
    await emit(hub, contact("poisoned", 4))  # waits behind what is parked
    await until(lambda: parked(hub, before + 1))

    assert (await up.run("subscriptions", "replay", "referrals", "routing")).code == 1
    await rows(hub, REPAIR)
    done = await up.run("subscriptions", "replay", "referrals", "routing")
    assert done.code == 0, done.err
    assert (await routing(up))["parked"] == 0
    found = await cases(hub, person)
    assert len(found) == 3
    order = await rows(hub, "SELECT position FROM referrals.person_events ORDER BY position")
    assert len(order) == len({row["position"] for row in order})


async def test_paused_subscription_waits_for_resume(up: Up):
    assert up.hub is not None
    hub = up.hub
    assert (await up.run("subscriptions", "pause", "referrals", "routing")).code == 0
    person = (await emit(hub, contact("paused", 5)))["person_id"]
    await until(lambda: _unread(hub))
    row = await routing(up)
    assert row["paused"]
    assert row["lag"] > 0
    assert await cases(hub, person) == []
    assert (await up.run("subscriptions", "resume", "referrals", "routing")).code == 0
    await with_referral(hub, person)


async def _unread(hub: Hub) -> bool:
    (row,) = await rows(hub, UNREAD)
    return bool(row["unread"])
