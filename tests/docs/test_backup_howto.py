"""The commands of the how-to on backups, as they stand, and the hub that they bring back."""

import asyncio
import re
from pathlib import Path

import pytest

from services.hub.demo.day import demo_environment
from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, all_logged, cases, contact, emit, until, with_referral

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "back-up-and-restore.md"
QUICK = {"AIGUILLAGE_ERASURE_WAIT_SECONDS": "0.3", "AIGUILLAGE_ERASURE_SECONDS": "0.1"}


def commands(heading: str) -> str:
    """What is typed under a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```console\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(line.removeprefix("$ ") for line in block.splitlines())


async def typed(heading: str, up: Up, there: Path) -> None:
    """Type the commands of a section, for a hub of this test's own."""
    script = commands(heading).replace("/backups", str(there / "backups"))
    script = script.replace(".restored", str(there / "restored"))
    script = re.sub(r"(?<=[\s\"])\.data(?=/)", str(up.directory), script)
    script = script.replace("aiguillage backup", f"aiguillage backup --data {up.directory}")
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


async def erase(hub: Hub, person: str) -> None:
    path = f"/v1/persons/{person}/erasure"
    await hub.post("intake", path, "privacy", {})

    async def over() -> bool:
        found = await hub.get("intake", path, "privacy")
        return all(erasure["state"] == "erased" for erasure in found["erasures"])

    await until(over)


async def published(up: Up, size: int) -> None:
    """Wait until the checkpoint in the data directory is of all that was said."""
    (found,) = (up.directory / "log").rglob("checkpoint")

    async def newest() -> bool:
        return int(found.read_text().splitlines()[1]) >= size

    await until(newest)


@pytest.mark.parametrize("erased", [False, True], ids=["nobody erased", "one erased since"])
async def test_what_the_page_says_brings_the_hub_back(tmp_path: Path, erased: bool):
    live = Up(tmp_path / "live", demo_environment() | QUICK)
    hub = await live.start()
    (tmp_path / "backups").mkdir()
    kept = (await emit(hub, contact("u-1", 1)))["person_id"]
    gone = (await emit(hub, contact("u-2", 2)))["person_id"]
    await with_referral(hub, kept)
    await with_referral(hub, gone)
    await published(live, await all_logged(hub))
    await typed("Back up", live, tmp_path)
    if erased:
        await erase(hub, gone)
        await published(live, await all_logged(hub))
    await typed("Every day", live, tmp_path)
    await live.stop()
    await typed("Restore", live, tmp_path)
    restored = Up(tmp_path / "restored", live.environment)
    again = await restored.start()
    assert await cases(again, kept)
    assert bool(await cases(again, gone)) is not erased
    await restored.stop()
