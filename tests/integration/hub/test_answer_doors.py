"""One rule at every door by which an answer comes: signed, by a page, in a file, typed in.

What one door refuses, every door refuses, names, and does not store; what fits is taken.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.days import PARIS, local_day
from contracts.values import PartnerKind
from infra.base.clock import system_clock
from tests.support.mailbox import posted
from tests.support.partners import Desk, Hub, platform_at, register
from tests.support.platform import append, published
from tests.support.postgres import Databases
from tests.support.referral_app import MONDAY, ReferralApp
from tests.support.sftp import PASSWORD, sftp_server

Said = dict[str, str]
Give = Callable[[Said], Awaitable[str | None]]
Count = Callable[[], Awaitable[int]]


def _at(now: datetime, **after: float) -> str:
    """A moment in France, as a form says it."""
    return (now + timedelta(**after)).astimezone(PARIS).strftime("%Y-%m-%dT%H:%M")


def wrong(now: datetime) -> list[tuple[Said, str]]:
    """What must be refused, and which field is at fault."""
    moments = [_at(now, hours=-1), _at(now, days=400), "9999-12-31T23:59", "0001-01-01T00:00"]
    days = ["9999-12-31", "0001-01-01", str(local_day(now + timedelta(days=20 * 366)))]
    return [
        *(({"appointment_at": moment}, "appointment_at") for moment in moments),
        *(({"commission_on": day}, "commission_on") for day in days),
        ({"appointment_at": _at(now, days=3), "comment": "a\x1bb"}, "comment"),
    ]


def right(now: datetime) -> Said:
    """What must be taken."""
    return {"appointment_at": _at(now, days=3), "comment": "à 10 h,\nau guichet"}


def signed_fields(said: Said) -> dict[str, Any]:
    """As a partner's system says it."""
    if "commission_on" in said:
        return {"status": "requested", "business_status": "commission-scheduled"} | said
    moment = datetime.fromisoformat(said["appointment_at"])
    edge = moment.year in (1, 9999)
    text = f"{said['appointment_at']}:00Z" if edge else moment.replace(tzinfo=PARIS).isoformat()
    return {"status": "accepted"} | said | {"appointment_at": text}


class Door:
    """A way for an answer to come in: what gives one, and how many are stored."""

    def __init__(self, now: datetime, give: Give, stored: Count) -> None:
        self.now, self.give, self.stored = now, give, stored


async def _hub(stack: AsyncExitStack, databases: Databases) -> Hub:
    hub = Hub(platform_at(databases))
    await hub.prepare()
    stack.push_async_callback(hub.platform.close)
    stack.push_async_callback(hub.close)
    return hub


def _stored(hub: Hub) -> Count:
    async def count() -> int:
        return len(await hub.events("answer.received"))

    return count


async def _signed(stack: AsyncExitStack, databases: Databases, path: Path) -> Door:
    hub, number = await _hub(stack, databases), iter(range(100))
    endpoint = await register(hub, "http://127.0.0.1:9/hook")
    referral = await hub.refer()
    await hub.hear()
    desk = Desk(hub, endpoint["secret"], referral)

    async def give(said: Said) -> str | None:
        answer = await desk.answer(webhook_id=f"m{next(number)}", **signed_fields(said))
        if answer.status_code == 202:
            return None
        assert answer.status_code == 422, answer.text
        field: str = answer.json()["errors"][0]["field"]
        return field.removeprefix("data.")

    return Door(system_clock(), give, _stored(hub))


async def _page(stack: AsyncExitStack, databases: Databases, path: Path) -> Door:
    post = await stack.enter_async_context(posted(databases))
    await post.opened()  # is an answer of its own: received

    async def give(said: Said) -> str | None:
        choice = "commission" if "commission_on" in said else "accepted"
        answer = await post.answered(choice, **said)
        if answer.status_code == 200:
            return None
        assert answer.status_code == 422, answer.text
        (field,) = [name for name in said if f'id="error-{name}"' in answer.text]
        return field

    return Door(post.now, give, _stored(post.hub))


async def _file(stack: AsyncExitStack, databases: Databases, path: Path) -> Door:
    hub, number = await _hub(stack, databases), iter(range(100))
    server = await stack.enter_async_context(sftp_server(path / "sftp"))
    login = {"host_key": server.host_key, "password": PASSWORD}
    await register(hub, server.url, channel="sftp", credentials=login)
    referral = await hub.refer()
    await hub.hear()
    await hub.turn()
    columns = {
        "appointment_at": "date_rendez_vous", "commission_on": "date_commission",
        "comment": "commentaire",
    }  # fmt: skip

    async def give(said: Said) -> str | None:
        name, status = f"{next(number)}.csv", "acceptée"
        if "commission_on" in said:
            status = "en commission"
        heads = ";".join(columns[field] for field in said)
        cells = ";".join(f'"{text}"' for text in said.values())
        text = f"reference;statut;{heads}\r\n{referral.referral_id};{status};{cells}\r\n"
        (server.root / "answers" / name).write_bytes(text.encode())
        (ticker,) = [w for w in hub.service.workers if w.name == "files"]
        await ticker._step()  # type: ignore[attr-defined]
        (told,) = server.root.rglob(f"{name}.*.csv")
        receipt = told.read_text("utf-8-sig").splitlines()[1].split(";")
        if receipt[1] == "enregistrée":
            return None
        return next(field for field, column in columns.items() if column == receipt[2])

    return Door(system_clock(), give, _stored(hub))


async def _typed(stack: AsyncExitStack, databases: Databases, path: Path) -> Door:
    platform = platform_at(databases)
    stack.push_async_callback(platform.close)
    referral_app = ReferralApp(platform)
    stack.push_async_callback(referral_app.service.stop)
    directory = [published(PartnerKind.MISSION_LOCALE, "auto")]
    await append(platform, "partners", "partner-x", directory)
    await referral_app.on(MONDAY)
    person = await referral_app.comes()
    (referral,) = (await referral_app.case(person))["referrals"]
    path_of = f"/v1/referrals/{referral['referral_id']}/answer"

    async def give(said: Said) -> str | None:
        status, answer = await referral_app.post(path_of, signed_fields(said))
        if status == 200:
            return None
        assert status == 422, answer
        field: str = answer["errors"][0]["field"]
        return field

    async def stored() -> int:
        async with referral_app.service.database.reading() as tx:
            accepted = "SELECT count(*) FROM events WHERE type LIKE '%referral.accepted%'"
            return int(await tx.fetchval(accepted))

    return Door(referral_app.now, give, stored)


DOORS = {"signed": _signed, "page": _page, "file": _file, "typed": _typed}


@pytest.fixture(params=DOORS)
async def door(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path
) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        yield await DOORS[request.param](stack, databases, tmp_path)


async def test_every_door_refuses_and_takes_the_same(door: Door) -> None:
    before = await door.stored()
    for said, field in wrong(door.now):
        assert await door.give(said) == field, said
    assert await door.stored() == before
    assert await door.give(right(door.now)) is None
    assert await door.stored() == before + 1
