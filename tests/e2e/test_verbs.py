"""Every verb, where no hub is, beside one that stopped, and beside one that runs.

Verbs look and act; none changes owners or modes, and none leaves anything running.
"""

import asyncio
import json
import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import typer

from infra.base.data_directory import NoHubError
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.cli.main import app
from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, aiguillage, all_logged, contact, emit

ROOT = Path(__file__).parents[2]
RULES = str(ROOT / "services" / "referrals" / "rules" / "petite-foret.json")
SOURCE = {  # of data·inclusion
    "structures": [
        {"source": "essai", "id": "essai--1", "nom": "Plateforme", "date_maj": "2026-10-01"}
    ],
    "services": [],
}
PERSON = str(uuid4())
READING: dict[str, tuple[str, ...]] = {  # verb → arguments
    "alarms list": (),
    "audit diff": ("0", "1"),
    "audit export": ("{there}/export",),
    "audit reconcile": (),
    "audit replay": (),
    "backup": ("{there}/dump", "--keys", "{there}/keys"),
    "doctor": (),
    "partners export": (),
    "retention preview": (),
    "rules diff": ("current", "current"),
    "rules simulate": (RULES,),
    "status": (),
}
WRITING: dict[str, tuple[str, ...]] = {
    "alarms acknowledge": ("audit", "gone", "nobody"),
    "audit rotate-key": (),
    "erase": (PERSON,),
    "keys create": ("intake", "adviser", "walks"),
    "keys revoke": ("intake", "walks"),
    "keys rotate-master": (),
    "partners import": ("{there}/structures.json",),
    "rebuild": ("referrals",),
    "republish": ("intake",),
    "retention run": (),
    "rules publish": (RULES,),
    "seed": (),
    "subscriptions discard": ("referrals", "routing"),
    "subscriptions pause": ("referrals", "routing"),
    "subscriptions replay": ("referrals", "routing"),
    "subscriptions resume": ("referrals", "routing"),
    "subscriptions rewind": ("referrals", "directory"),
}
BEGINNING = {"demo", "migrate", "restore", "run", "up"}  # they make, or serve, a hub
WITHOUT_HUB = {
    "audit check-proof",
    "audit proof",
    "audit verify",
    "example",
    "rules check",
    "witness",
}
ON_A_HUB = READING | WRITING


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, below in getattr(command, "commands", {}).items():
        yield from verbs(below, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path)


def test_every_verb_is_walked_below():
    walked = [*READING, *WRITING, *BEGINNING, *WITHOUT_HUB]
    assert sorted(walked) == sorted(verbs(typer.main.get_command(app)))


def kept(directory: Path) -> dict[str, tuple[int, int, int, int]]:
    """Owner, mode, size and time of everything but what the server itself writes."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        if "postgresql" in path.relative_to(directory).parts and path.name != "postgresql":
            continue
        seen = path.stat()
        moment = 0 if path == directory or path.name == "postgresql" else seen.st_mtime_ns
        found[str(path)] = (seen.st_uid, seen.st_mode, seen.st_size, moment)
    return found


def owned(directory: Path) -> dict[str, tuple[int, int]]:
    return {name: found[:2] for name, found in kept(directory).items()}


@pytest.fixture(scope="module")
def there() -> Iterator[Path]:
    with TemporaryDirectory(prefix="aiguillage-verbs-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
async def up() -> AsyncIterator[Up]:
    with TemporaryDirectory(prefix="aiguillage-verbs-") as directory:
        made = Up(Path(directory) / "data")
        hub = await made.start()
        await emit(hub, contact("walks", 1))
        await all_logged(hub)
        yield made
        if made.hub is not None:
            await made.stop()
        EmbeddedPostgres(made.directory).stop("immediate")


def arguments(verb: str, there: Path, unlike: str) -> list[str]:
    """A verb's words; what it writes goes to a place of its own."""
    given = [a.format(there=there / unlike) for a in ON_A_HUB[verb]]
    (there / unlike).mkdir(exist_ok=True)
    (there / unlike / "structures.json").write_text(json.dumps(SOURCE))
    return [*verb.split(), *given]


class Ended(NamedTuple):
    """A verb that ended: what it said on stderr, and whether a database runs since."""

    verb: str
    code: int
    said: str
    running: bool


async def walked(lines: dict[str, list[str]], data: Path) -> list[Ended]:
    """Run verbs on a directory, one after the other."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.walk", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told = [[*line, "--data", str(data)] for line in lines.values()]
    out, _ = await process.communicate(json.dumps(told).encode())
    found = [json.loads(line) for line in out.splitlines()]
    return [Ended(verb, *said) for verb, said in zip(lines, found, strict=True)]


async def test_verbs_on_a_place_without_a_hub_say_so_and_make_nothing(there: Path):
    empty = there / "typo"
    words = {verb: arguments(verb, there, "without") for verb in ON_A_HUB}
    for verb, code, said, _ in await walked(words | {"run": ["run", "intake"]}, empty):
        assert (code, "no hub here" in said) == (NoHubError.exit_code, True), f"{verb}: {said}"
        assert "Repair:" in said
    assert not empty.exists()


async def test_verbs_beside_a_running_hub_change_no_owner_and_no_mode(up: Up, there: Path):
    before = owned(up.directory)
    words = {verb: arguments(verb, there, "running") for verb in ON_A_HUB}
    for verb, code, said, _ in await walked(words, up.directory):
        assert "Traceback" not in said, f"{verb}: {said}"
        assert code != NoHubError.exit_code
    assert owned(up.directory).items() >= before.items()
    assert await all_ready(up.hub)


async def all_ready(hub: Hub | None) -> bool:
    assert hub is not None
    for service in ("intake", "referrals", "partners", "audit"):
        async with hub.session.get(f"{hub.address[service]}/readyz") as answer:
            assert answer.status == 200
    return True


async def test_verbs_on_a_stopped_hub_leave_nothing_running_and_nothing_changed(
    up: Up, there: Path
):
    if up.hub is not None:
        await up.stop()
    words = {verb: arguments(verb, there, "stopped") for verb in ON_A_HUB}
    before = kept(up.directory)
    for verb, code, said, running in await walked(some(words, READING), up.directory):
        assert "Traceback" not in said, f"{verb}: {said}"
        assert (code == NoHubError.exit_code, running) == (False, False), f"{verb}: {said}"
    assert kept(up.directory) == before
    for verb, _, said, running in await walked(some(words, WRITING), up.directory):
        assert "Traceback" not in said, f"{verb}: {said}"
        assert not running, verb
    assert owned(up.directory).items() >= {k: v[:2] for k, v in before.items()}.items()


def some(words: dict[str, list[str]], verbs: Iterable[str]) -> dict[str, list[str]]:
    return {verb: words[verb] for verb in verbs}


async def test_hub_whose_database_may_not_read_its_files_is_not_ready(up: Up):
    hub = up.hub or await up.start()
    files = EmbeddedPostgres(up.directory).pgdata / "global"
    before = files.stat().st_mode
    files.chmod(0)  # connections that are open go on, for a while
    try:
        async with hub.session.get(f"{hub.address['intake']}/readyz") as answer:
            assert answer.status == 503
    finally:
        files.chmod(stat.S_IMODE(before))
    assert await all_ready(hub)


async def test_hub_starts_again_where_its_directory_was_moved_to(up: Up):
    first, event = up.hub or await up.start(), contact("moves", 2)
    receipt = await emit(first, event)
    await up.kill()  # its database goes on, by the directory's old name
    assert EmbeddedPostgres(up.directory).running()
    moved = up.directory.with_name("moved")
    up.directory.rename(moved)
    again = Up(moved, up.environment)
    hub = await again.start()
    assert await all_ready(hub)
    assert await emit(hub, event) == receipt
    assert await again.stop() == 0
    assert not EmbeddedPostgres(moved).running()
    moved.rename(up.directory)


async def test_copy_of_a_running_hub_is_not_taken_for_it(up: Up, there: Path):
    if up.hub is None:
        await up.start()
    copy = there / "copy"
    shutil.copytree(
        up.directory, copy, ignore=lambda _, names: [n for n in names if n[:3] == ".s."]
    )
    assert not EmbeddedPostgres(copy).running()
    assert EmbeddedPostgres(up.directory).running()


async def test_verbs_of_another_user_say_whose_the_hub_is_and_stop(there: Path):
    theirs, owner = Path("/"), "root"
    if os.geteuid() == 0:
        theirs, owner = there / "theirs", "12345"
        theirs.mkdir(mode=0o700)
        os.chown(theirs, 12_345, 12_345)
    before = (set(theirs.iterdir()), theirs.stat().st_mode)
    words = {verb: arguments(verb, there, "other") for verb in ON_A_HUB}
    begun = {verb: [verb] for verb in ("up", "migrate")}
    for verb, code, said, _ in await walked(words | begun, theirs):
        assert code == 1, f"{verb}: {said}"
        assert f"belongs to {owner}, and you are " in said
        assert f"Repair: sudo -u {owner}" in said
    assert (set(theirs.iterdir()), theirs.stat().st_mode) == before


async def test_first_start_closes_its_directory_whatever_the_umask(there: Path):
    data = there / "open"
    data.mkdir()
    data.chmod(0o777)
    before = os.umask(0)
    try:
        done = await aiguillage("migrate", "--data", str(data))
    finally:
        os.umask(before)
    assert done.code == 0, done.err
    for path in (data, *data.iterdir()):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o066, path
    data.chmod(0o777)
    looked = await aiguillage("doctor", "--data", str(data))
    assert looked.code == 1
    assert "others may read or change it (777)" in looked.err
