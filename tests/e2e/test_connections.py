"""The hub leaves the database's connections to others: few when idle, given back after work."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, contact, emit, rows, until

IDLE = 12
OPEN = (
    "SELECT count(*) AS open FROM pg_stat_activity WHERE backend_type = 'client backend' "
    "AND application_name LIKE 'aiguillage%'"
)


async def connections(hub: Hub) -> int:
    (row,) = await rows(hub, OPEN)
    return int(row["open"])


async def is_idle(hub: Hub) -> bool:
    return 0 < await connections(hub) <= IDLE


async def test_a_hub_holds_twelve_connections_when_idle_and_again_after_a_crowd():
    with TemporaryDirectory(prefix="aiguillage-few-") as directory:
        up = Up(Path(directory) / "data")
        hub = await up.start()
        try:
            await until(lambda: is_idle(hub))
            await asyncio.gather(*[emit(hub, contact(f"crowd-{n}", n)) for n in range(80)])
            await until(lambda: is_idle(hub))
        finally:
            await up.stop()


async def test_two_connections_are_kept_for_an_operator():
    """The embedded server keeps them for its superuser, and no service is one."""
    with TemporaryDirectory(prefix="aiguillage-kept-") as directory:
        up = Up(Path(directory) / "data")
        hub = await up.start()
        try:
            (kept,) = await rows(hub, "SHOW superuser_reserved_connections")
            assert kept[0] == "2"
            roles = await rows(
                hub,
                "SELECT DISTINCT r.rolname, r.rolsuper FROM pg_stat_activity a "
                "JOIN pg_roles r ON r.oid = usesysid WHERE application_name LIKE 'aiguillage%'",
            )
            assert len(roles) >= 4
            assert not any(role["rolsuper"] for role in roles)
        finally:
            await up.stop()
