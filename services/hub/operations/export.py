"""What an auditor takes along: exports, from this machine's hub or from a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import orjson

from contracts.types import LAST_DAY
from infra.base.settings import Settings, load_settings
from infra.base.telemetry import configure_logging
from infra.platform import service_context
from infra.postgres.database import Database
from infra.tlog.export.layout import Manifest, Selection
from infra.tlog.export.writer import Export, ExportRefusedError, LogSource, Wanted
from infra.tlog.note import Checkpoint, Note
from infra.tlog.verify.remote import RemoteLog, remote_log
from services.audit.handlers.export import StoredExport, indices_of, span_between
from services.audit.handlers.replay import StoredLog, moment_of
from services.audit.handlers.signing import log_keys
from services.audit.model.replay import Of, Subject
from services.hub.terminal import ProgressBar


class Asked(NamedTuple):
    """What an export should hold: everything, a period, or what concerns somebody."""

    start: str | None = None
    stop: str | None = None
    person: str | None = None
    case: str | None = None
    last: Path | None = None

    @property
    def subject(self) -> Subject | None:
        """The person or case, if it is one."""
        if self.person is not None:
            return Subject(Of.PERSON, self.person)
        return Subject(Of.CASE, self.case) if self.case is not None else None

    def terms(self) -> dict[str, Any]:
        """Return what was asked for, to be compared when it is asked for again."""
        return {**self._asdict(), "last": self.last.read_text() if self.last else None}


class Origin(LogSource, Protocol):
    """A source of exports that also knows its keys, and which entries fit what is asked."""

    async def vkeys(self) -> list[str]: ...
    async def span(self, since: datetime, until: datetime, size: int) -> tuple[int, int]: ...
    async def indices(self, subject: Subject, size: int) -> tuple[int, ...]: ...


async def export(
    directory: Path, asked: Asked, url: str | None, key: str, data: Path | None
) -> Manifest:
    """Write an export, with a bar on stderr; raises ``ExportRefusedError``."""
    configure_logging("ERROR", plain=True)
    async with _origin(url, key, data) as origin:
        wanted = Wanted(asked.terms(), partial(_find, origin, asked))
        with ProgressBar("exported") as meter:
            return await Export(origin, directory, wanted).run(await origin.vkeys(), meter)


@asynccontextmanager
async def _origin(url: str | None, key: str, data: Path | None) -> AsyncIterator[Origin]:
    if url is not None:
        async with remote_log(url, key) as log:
            yield _Service(log)
        return
    settings = load_settings(data=data)
    async with service_context(settings, "audit") as (_, database):
        yield _Hub(database, settings)


class _Hub(StoredExport):
    """The hub on this machine."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(database, settings.log_origin)
        self._settings = settings
        self._log = StoredLog(database)

    async def vkeys(self) -> list[str]:
        return [key.encode() for key in log_keys(self._settings).vkeys()]

    async def span(self, since: datetime, until: datetime, size: int) -> tuple[int, int]:
        async with self._database.reading() as tx:
            return await span_between(tx, since, until, size)

    async def indices(self, subject: Subject, size: int) -> tuple[int, ...]:
        return await indices_of(self._log, subject, size)


class _Service:
    """The audit service at an address."""

    def __init__(self, log: RemoteLog) -> None:
        self.checkpoint = log.checkpoint
        self.checkpoints = log.checkpoints
        self.tile = log.tile
        self.payload = log.payload
        self._log = log

    async def vkeys(self) -> list[str]:
        description = await self._log.json("/v1/log")
        keys = [str(key["vkey"]) for key in description["keys"]]
        return [key for key in keys if key.startswith(f"{description['origin']}+")]

    async def span(self, since: datetime, until: datetime, size: int) -> tuple[int, int]:
        asked = urlencode({"since": since.isoformat(), "until": until.isoformat()})
        span = await self._log.json(f"/v1/span?{asked}")
        return min(span["start"], size), min(span["stop"], size)

    async def indices(self, subject: Subject, size: int) -> tuple[int, ...]:
        asked = urlencode({subject.of.value: subject.id, "at": size - 1})
        lines = [orjson.loads(line) async for line in self._log.lines(f"/v1/replay?{asked}")]
        return tuple(line["entry"]["idx"] for line in lines if "entry" in line)


async def _find(origin: Origin, asked: Asked, size: int) -> Selection:
    """Which entries fit what was asked, in a log of some size."""
    also = 0
    if asked.last:
        also = Checkpoint.parse(Note.parse(asked.last.read_bytes()).text).size
    if also > size:
        raise ExportRefusedError(f"the log had {also} entries before, and now {size}")
    if asked.subject is None:
        start, stop = await _span(origin, asked, size)
        return Selection(size, start, stop, also=also)
    if asked.start or asked.stop:
        raise ExportRefusedError("give a period, or a person or case, not both")
    indices = await origin.indices(asked.subject, size)
    if not indices:
        raise ExportRefusedError(f"nothing is signed yet about this {asked.subject.of}")
    return Selection(size, indices=indices, also=also)


async def _span(origin: Origin, asked: Asked, size: int) -> tuple[int, int]:
    if asked.start is None and asked.stop is None:
        return 0, size
    if all(end is None or end.isdecimal() for end in (asked.start, asked.stop)):
        start, stop = int(asked.start or 0), int(asked.stop or size - 1) + 1
    else:
        since = moment_of(asked.start, time.min) if asked.start else _EVER
        until = moment_of(asked.stop, time.max) if asked.stop else _ALWAYS
        start, stop = await origin.span(since, until, size)
    if not 0 <= start < stop <= size:
        raise ExportRefusedError(f"no entry of the {size} that are signed is in this period")
    return start, stop


_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_ALWAYS = datetime.combine(LAST_DAY, time(), UTC)
