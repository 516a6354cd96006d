"""What an operator does about alarms: see them, take note of them."""

from dataclasses import dataclass

from contracts.registry import SERVICES
from infra.base.repairable import Repairable
from infra.base.settings import Settings
from infra.platform import Platform, command_context, service_context
from infra.workers.alarms import DERIVED, Alarm, open_alarms
from infra.workers.alarms import acknowledge as acknowledge_row
from services.hub.operations.doctor import Check

HOWTO = "docs/howto/alarms.md"


class NoSuchAlarmError(Repairable):
    """No open alarm of that name, or none that can be acknowledged."""

    repair = "aiguillage alarms list"


@dataclass(frozen=True, slots=True)
class Listed:
    """An open alarm, and whose it is."""

    service: str
    alarm: Alarm


async def list_alarms(settings: Settings) -> list[Listed]:
    """Every open alarm of every service."""
    async with command_context(settings) as platform:
        return await alarms_of(platform)


async def alarms_of(platform: Platform) -> list[Listed]:
    """Every open alarm of every service."""
    listed = []
    for service in SERVICES:
        database = platform.database(service)
        async with database.reading() as connection:
            listed += [Listed(service, alarm) for alarm in await open_alarms(connection)]
        await database.close()
    return listed


async def check(platform: Platform) -> Check:
    """Whether any alarm is open, as a line of `aiguillage doctor`."""
    listed = await alarms_of(platform)
    if not listed:
        return Check("alarms", True, "none")
    named = [f"{one.service} {one.alarm.kind} {one.alarm.subject}" for one in listed]
    return Check("alarms", False, "; ".join(named), f"aiguillage alarms list, {HOWTO}")


async def acknowledge(settings: Settings, service: str, kind: str, subject: str) -> None:
    """Take note of an alarm; raises ``NoSuchAlarmError`` if that cannot be."""
    if service not in SERVICES:
        raise NoSuchAlarmError(f"no service {service}: one of {', '.join(SERVICES)}")
    if kind in DERIVED:
        raise NoSuchAlarmError(f"{kind} ends with what it is about: see {HOWTO}")
    async with (
        service_context(settings, service) as (_, database),
        database.transaction() as tx,
    ):
        if not await acknowledge_row(tx, kind, subject):
            raise NoSuchAlarmError(f"{service} has no open alarm {kind} {subject}")
