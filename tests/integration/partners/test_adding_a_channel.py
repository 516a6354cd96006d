"""The how-to on channels, followed in a copy of the source: one module, one line, a message."""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from jsonschema import validate

from tests.support.partners import CANARY
from tests.support.postgres import Databases

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "howto" / "add-a-channel.md"
PACKAGES = ("contracts", "infra", "services")
REGISTRY = "services/partners/channels/registry.py"
SUCCEEDED = ROOT / "contracts" / "schemas" / "fr.aiguillage.partners.delivery.succeeded.v1.json"
SENDS = """
import asyncio, json, sys
from pathlib import Path

import services
from tests.support.partners import Hub, call, platform_at
from tests.support.postgres import Databases


async def main(url, vault_url, directory, registration):
    assert Path(services.__file__).is_relative_to(Path.cwd())
    hub = Hub(platform_at(Databases(url, vault_url, Path(directory))))
    await hub.prepare()
    given = json.loads(registration)
    refused = await call(hub, "POST", "/v1/endpoints", json=given | {"settings": {}})
    answer = await call(hub, "POST", "/v1/endpoints", json=given)
    listed = await call(hub, "GET", "/v1/endpoints")
    await hub.refer()
    await hub.hear()
    await hub.turn()
    print(json.dumps({
        "refused": refused.json(), "registered": answer.json(), "listed": listed.json(),
        "secrets": [row["kind"] for row in await hub.rows("SELECT kind FROM endpoint_secrets")],
        "succeeded": await hub.events("delivery.succeeded"),
    }))
    await hub.close()
    await hub.platform.close()


asyncio.run(main(*sys.argv[1:]))
"""


def block(language: str) -> str:
    """The one block of a language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)
    return str(found)


def files(top: Path) -> dict[str, bytes]:
    """What stands in the packages, by path."""
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in (top / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def follow(scratch: Path) -> str:
    """Copy the source and do what the page says; answers the new module's path."""
    for package in PACKAGES:
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, scratch / package, ignore=skipped)
    (module,) = re.findall(r"^`(services/\S+\.py)`:$", PAGE.read_text(), flags=re.M)
    (scratch / module).write_text(block("python"))
    change = block("diff")
    before = "".join(line[1:] for line in change.splitlines(True) if not line.startswith("+"))
    after = "".join(line[1:] for line in change.splitlines(True))
    registry = (scratch / REGISTRY).read_text()
    assert registry.count(before) == 1
    (scratch / REGISTRY).write_text(registry.replace(before, after))
    return str(module)


async def run(scratch: Path, databases: Databases, registration: dict[str, Any]) -> Any:
    """Register an address and send a message, in a process of the copy."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SENDS, databases.url, databases.vault_url,
        str(databases.directory), json.dumps(registration),
        cwd=scratch, env=os.environ | {"PYTHONPATH": f"{scratch}{os.pathsep}{ROOT}"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()[-3000:]
    return json.loads(out.splitlines()[-1])


async def test_channel_is_one_module_and_one_line(databases: Databases, tmp_path: Path):
    scratch, shared = tmp_path / "source", tmp_path / "shared"
    shared.mkdir()
    module = follow(scratch)
    ours, theirs = files(ROOT), files(scratch)
    assert {path for path in theirs if theirs[path] != ours.get(path)} == {module, REGISTRY}
    assert ours.keys() <= theirs.keys()
    lines = [len(text.splitlines()) for text in (theirs[REGISTRY], ours[REGISTRY])]
    assert lines[0] - lines[1] == 1

    registration = json.loads(block("json")) | {"url": f"folder:{shared}"}
    told = await run(scratch, databases, registration)

    (error,) = told["refused"]["errors"]
    assert error == {"field": "settings.mark", "detail": "give letters or digits"}
    assert told["registered"]["channel"] == "folder"
    assert "settings" not in told["registered"]
    (endpoint,) = told["listed"]["endpoints"]
    assert (endpoint["channel"], endpoint["verified_at"] is None) == ("folder", False)
    assert sorted(told["secrets"]) == ["settings", "v1"]
    (event,) = told["succeeded"]
    assert event["channel"] == "folder"
    validate(event, json.loads(SUCCEEDED.read_text()))
    (sheet,) = shared.iterdir()
    assert sheet.name.startswith("aiguillage_dlv_")
    assert json.loads(sheet.read_bytes())["data"]["person"]["family_name"] == CANARY
