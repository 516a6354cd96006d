"""Backups that keep keys apart, and a way back that brings back nobody who was erased.

Main database and keys' database are dumped by ``pg_dump`` into two directories, so that they
can be kept in two places, for two lengths of time. Key files are in neither.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from sqlalchemy.engine import URL, make_url

from contracts.registry import SERVICES
from infra.base.clock import rfc3339, system_clock
from infra.base.data_directory import INDEX_KEY, LEDGER, make_private
from infra.base.files import write_whole
from infra.base.repairable import Repairable
from infra.base.settings import Settings
from infra.platform import Databases, Platform, command_context, databases_of
from infra.postgres.embedded import program
from infra.postgres.migrations import create_roles, migrate
from infra.privacy.erasure_ledger import append_lines, read_ledger, to_line
from infra.tlog.note import NoteError
from services.audit.tables.tree import Signed
from services.hub.operations.log import log_files, newest_checkpoint, remind_signer

LIVE_FILES = """
SELECT 'master-' || epoch || '.key' FROM vault.epochs
WHERE provider = 'file' AND destroyed_at IS NULL ORDER BY epoch
"""
MAIN, KEYS, MANIFEST = "aiguillage.dump", "vault.dump", "backup.json"
TOOL_SECONDS = 6 * 3600


class BackupError(Repairable):
    """Why there is no backup, or no way back; ``repair``: what to do about it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What was dumped: when, how many events by service, which log and how much of it.

    ``key_files``: what must lie in a data directory before this backup opens.
    """

    taken_at: str
    events: dict[str, int]
    log_origin: str
    log_size: int
    erasures: int
    key_files: list[str]


async def back_up(settings: Settings, directory: Path, keys: Path) -> Backup:
    """Dump the main database, then the keys; raises ``BackupError``.

    The keys last: an event of the first dump never lacks its key in the second but for those
    erased in between, whom the ledger names.
    """
    one, other = directory.resolve(), keys.resolve()
    if one == other or one in other.parents or other in one.parents:
        repair = "give two directories, neither in the other"
        raise BackupError("data and keys in one place", repair)
    async with command_context(settings) as platform:
        for place in (directory, keys):
            make_private(place)
        taken_at = rfc3339(system_clock())
        await _dump(make_url(platform.database_url), directory / MAIN)
        await _dump(make_url(platform.vault_url), keys / KEYS)
        ledger = settings.data / LEDGER
        write_whole(keys / LEDGER, ledger.read_bytes(), mode=0o600)
        made = await _described(platform, taken_at, len(read_ledger(ledger)))
        write_whole(directory / MANIFEST, orjson.dumps(asdict(made)), mode=0o600)
    return made


async def restore(
    settings: Settings,
    directory: Path,
    keys: Path,
    ledgers: Sequence[Path],
    checkpoints: Sequence[Path] = (),
) -> int:
    """Load a backup into databases that are not there yet; return how many erasures stand.

    ``ledgers``: every ledger of erasures that there is, the newest above all. The hub replays
    them before it serves. ``checkpoints``: of the log, the newest that anybody holds. Its
    signer remembers them, and signs no other history. Raises ``BackupError``.
    """
    for place in (directory / MAIN, directory / MANIFEST, keys / KEYS, *ledgers, *checkpoints):
        if not place.exists():
            raise BackupError(f"{place} is not there", "name the directories of one backup")
    manifest = orjson.loads((directory / MANIFEST).read_bytes())
    for name in manifest["key_files"]:
        if not (settings.data / name).exists():
            raise BackupError(
                f"{name} is not in the data directory",
                "put the key files there first: nothing opens without them; if a rotation has "
                "destroyed this one, only a later backup opens",
            )
    newest = _newest(settings, manifest, checkpoints)
    async with databases_of(settings, create=True) as databases:
        await _load_both(databases, directory, keys)
        if newest is not None:
            await remind_signer(settings, databases.vault, newest)

    # one ledger out of several: whoever stands in any of them stands in it
    target = settings.data / LEDGER
    known = {erasure.person_id: erasure for erasure in read_ledger(target)}
    merged = {e.person_id: e for file in (keys / LEDGER, *ledgers) for e in read_ledger(file)}
    fresh = [erasure for person, erasure in merged.items() if person not in known]
    if fresh:
        append_lines(target, map(to_line, fresh))
    return len(known) + len(fresh)


async def _load_both(databases: Databases, directory: Path, keys: Path) -> None:
    url, keys_url, _ = databases
    for target in (url, keys_url):
        await _create(target)
    for target in (url, keys_url):
        await create_roles(target)
    await _load(make_url(url), directory / MAIN)
    await _load(make_url(keys_url), keys / KEYS)
    await migrate(url, keys_url)
    # what Kafka holds from after the backup is void: the tables are published again
    async with _connected(url) as connection:
        for service in SERVICES:
            await connection.execute(f"UPDATE {service}.publication SET generation = NULL")


def _newest(
    settings: Settings, manifest: dict[str, Any], checkpoints: Sequence[Path]
) -> Signed | None:
    """Return what the log's signer must not contradict; None where nothing was signed."""
    if manifest["log_origin"] != settings.log_origin or not manifest["log_size"]:
        return None
    if not checkpoints:
        raise BackupError(
            "nobody says how far the log was signed since",
            "--checkpoint: the newest that anybody holds; or begin another log: "
            "AIGUILLAGE_LOG_ORIGIN (docs/howto/log-refused.md)",
        )
    try:
        return newest_checkpoint(settings, checkpoints)
    except NoteError as error:
        repair = "give a checkpoint of this log, as it was published or cosigned"
        raise BackupError(
            f"not a checkpoint of {settings.log_origin}: {error}", repair
        ) from None


async def _create(url: str) -> None:
    name = make_url(url).database
    postgres = make_url(url).set(database="postgres").render_as_string(False)
    async with _connected(postgres) as connection:
        known = "SELECT 1 FROM pg_database WHERE datname = $1"
        if await connection.fetchval(known, name):
            raise BackupError(
                f"the database {name} is there already",
                "restore into an empty data directory, or drop the database first",
            )
        await connection.execute(f'CREATE DATABASE "{name}"')


async def _described(platform: Platform, taken_at: str, erasures: int) -> Backup:
    settings, urls = platform.settings, (platform.database_url, platform.vault_url)
    async with _connected(urls[0]) as main, _connected(urls[1]) as keys:
        events = {
            service: await main.fetchval(f"SELECT count(*) FROM {service}.events")
            for service in ("intake", "referrals", "partners", "audit")
        }
        size = await main.fetchval("SELECT size FROM audit.tree")
        files = [row[0] for row in await keys.fetch(LIVE_FILES)]
    files = [INDEX_KEY, *log_files(settings), *files]
    return Backup(
        taken_at,
        events,
        log_origin=settings.log_origin,
        log_size=size,
        erasures=erasures,
        key_files=files,
    )


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    target = make_url(url).set(drivername="postgresql")
    connection = await asyncpg.connect(target.render_as_string(False))
    try:
        yield connection
    finally:
        await connection.close()


async def _dump(url: URL, file: Path) -> None:
    draft = file.with_suffix(".part")
    await _run("pg_dump", url, "--format=custom", f"--file={draft}")
    draft.replace(file)


async def _load(url: URL, file: Path) -> None:
    whole = ["--exit-on-error", "--single-transaction", f"--dbname={url.database}"]
    await _run("pg_restore", url, *whole, str(file))


async def _run(tool: str, url: URL, *arguments: str) -> None:
    """Run one of PostgreSQL's tools; a password goes by the environment, not the command."""
    own = program(tool)  # the system's tool, or else the embedded PostgreSQL's
    path = str(own) if own.exists() else shutil.which(tool)
    if path is None:
        raise BackupError(f"{tool} is not there", "install PostgreSQL's client programs")
    process = await asyncio.create_subprocess_exec(
        path,
        "--no-password",
        *arguments,
        env=os.environ | _connection(url),
        stderr=asyncio.subprocess.PIPE,
        umask=0o077,
    )
    async with asyncio.timeout(TOOL_SECONDS):
        _, complaint = await process.communicate()
    if process.returncode:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise BackupError(f"{tool} failed: {' '.join(last)}", "aiguillage doctor")


def _connection(url: URL) -> dict[str, str]:
    given = {
        "PGHOST": url.host or url.query.get("host"),
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGPASSFILE": url.query.get("passfile"),
    }
    return {name: str(value) for name, value in given.items() if value}
