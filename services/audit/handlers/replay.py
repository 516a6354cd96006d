"""Replay: the log read page by page, and folded up to a position or a moment.

A replay needs nothing but entries and their clear data: the audit service's own table, or an
export in a directory, give the same lines, byte for byte. What was erased folds all the same.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, NamedTuple, Protocol, cast
from uuid import UUID

import orjson
from pydantic import ValidationError

from contracts.days import PARIS
from contracts.persons import PersonMerged, PersonUnmerged
from contracts.registry import parse_event
from contracts.types import check_moment, read_day, read_moment
from infra.base.clock import rfc3339
from infra.eventstore.upcast import upcast
from infra.postgres.database import Database
from infra.tlog.export.reader import Exported
from infra.tlog.export.writer import NOTHING_SEALED
from services.audit.model.differences import differences
from services.audit.model.pathway import Data, same_person
from services.audit.model.replay import READ_TYPES, Concern, Fold, Of, Subject
from services.audit.model.sentences import sentence, unknown_sentence
from services.audit.tables import statements, tree

PAGE = 2000
MERGES = (PersonMerged.type, PersonUnmerged.type)


class LogRow(NamedTuple):
    """An entry, its header and clear data, and whether its sealed part is there."""

    at: int
    entry: bytes
    header: bytes
    data: str
    sealed: bool


class Span(NamedTuple):
    """Entries ``start`` to ``stop`` (excluded), of some persons where ``persons`` are given."""

    start: int
    stop: int
    persons: Collection[str] | None = None


Pages = AsyncGenerator[Sequence[LogRow], None]
Lines = AsyncGenerator[Data, None]


class Log(Protocol):
    """Where a replay reads from."""

    async def size(self) -> int: ...
    def pages(self, span: Span) -> Pages: ...
    async def merges(self, stop: int) -> Sequence[LogRow]: ...
    async def person_of(self, subject: Subject) -> str | None: ...


class UnknownSubjectError(Exception):
    """The log says nothing of this person, case, referral or partner."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """Up to which entry: those below index ``before``, recorded no later than ``moment``."""

    before: int
    moment: datetime | None = None

    @classmethod
    def parse(cls, text: str, size: int) -> "AsOf":
        """An index, a day (its end, in France), or a moment with its offset, in a log's size.

        Raises ValueError with the reason.
        """
        if text.isdecimal():
            return cls.at(int(text), size)
        return cls(size, moment_of(text, time.max))

    @classmethod
    def at(cls, index: int, size: int) -> "AsOf":
        """As of an index, that entry included; ValueError where there is none."""
        if index >= size:
            raise ValueError(f"the log has {size} entries")
        return cls(index + 1)

    @property
    def text(self) -> str | None:
        """The moment as entries say theirs: such texts compare as the moments do."""
        return rfc3339(self.moment) if self.moment else None


def moment_of(text: str, on_a_day: time) -> datetime:
    """A moment with its offset, or a day in France at that time of it.

    Raises ValueError with the reason.
    """
    try:
        if len(text) == len("2026-01-05"):
            return check_moment(datetime.combine(read_day(text), on_a_day, PARIS))
        return check_moment(read_moment(text))
    except ValueError as error:
        raise ValueError(f"it is no index, day or moment: it {error}") from None


class StoredLog:
    """The audit service's own table, by pages that each take a connection for a moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def size(self) -> int:
        """How many entries there are."""
        async with self._database.reading() as tx:
            return (await tree.load_frontier(tx)).size

    async def pages(self, span: Span) -> Pages:
        """The entries of a span; the next page is fetched while one is looked at."""
        following = asyncio.ensure_future(self._page(span))
        try:
            while page := await following:
                rest = span._replace(start=page[-1][0] + 1)
                following = asyncio.ensure_future(self._page(rest))
                yield page
        finally:
            following.cancel()

    async def merges(self, stop: int) -> Sequence[LogRow]:
        """Entries about persons who are one, in order."""
        return await self._rows(statements.MERGES, stop, list(MERGES))

    async def person_of(self, subject: Subject) -> str:
        """The person, or whose case or referral it is; raises ``UnknownSubjectError``."""
        async with self._database.reading() as tx:
            row = await tx.fetchrow(statements.PERSON_OF[subject.of], subject.id)
        if row is None:
            raise UnknownSubjectError(f"the log has no {subject.of} {subject.id}")
        return str(row[0])

    async def _page(self, span: Span) -> Sequence[LogRow]:
        if span.persons is None:
            return await self._rows(statements.LOG_PAGE, span.start, span.stop, PAGE)
        persons = [UUID(person) for person in span.persons]
        return await self._rows(statements.PERSON_PAGE, span.start, span.stop, PAGE, persons)

    async def _rows(self, query: str, *values: Any) -> Sequence[LogRow]:
        async with self._database.reading() as tx:
            return cast(Sequence[LogRow], await tx.fetch(query, *values))  # tuples, for speed


class ExportedLog:
    """An export in a directory: whole, or of one person or case."""

    def __init__(self, export: Exported) -> None:
        self._export = export

    async def size(self) -> int:
        """How many entries the log had when it was exported."""
        return self._export.size

    async def pages(self, span: Span) -> Pages:
        """The entries of a span that are there."""
        page = []
        for row in self._export.rows(span.start):
            if row.at >= span.stop:
                break
            _, header, data, sealed = row.opening
            page.append(LogRow(row.at, row.entry, header, data.decode(), bool(sealed)))
            if len(page) == PAGE:
                yield page
                page = []
                await asyncio.sleep(0)  # whoever wants to stop this may
        if page:
            yield page

    async def merges(self, stop: int) -> Sequence[LogRow]:
        """Entries about persons who are one, in order: the whole export is read for them."""
        types = [f'"type":"{name}"'.encode() for name in MERGES]
        return [
            row
            async for page in self.pages(Span(0, stop))
            for row in page
            if any(name in row.header for name in types)
        ]

    async def person_of(self, subject: Subject) -> str | None:
        """The person; of cases and referrals nobody: an export is looked at as a whole."""
        return subject.id if subject.of is Of.PERSON else None


class Seen(NamedTuple):
    """An entry that concerns what is replayed; type and data in today's words."""

    row: LogRow
    header: Data
    type: str
    data: str


class Replay:
    """One subject as of then: what concerns it, and in the end its states."""

    def __init__(self, log: Log, subject: Subject, as_of: AsOf) -> None:
        self._log = log
        self._subject = subject
        self._stop, self._moment = as_of.before, as_of.text
        self._concern = Concern(subject)
        self._parses_all = subject.of in (Of.CASE, Of.REFERRAL, Of.PARTNER)
        self.fold = Fold(subject)

    async def span(self) -> Span:
        """Which entries have to be read; raises ``UnknownSubjectError``."""
        if self._subject.of not in (Of.PERSON, Of.CASE, Of.REFERRAL):
            return Span(0, self._stop)
        person = await self._log.person_of(self._subject)
        if person is None:
            return Span(0, self._stop)
        merges = []
        for _, _, header_text, text, _ in await self._log.merges(self._stop):
            header = orjson.loads(header_text)
            if not self._moment or header["recorded_at"] <= self._moment:
                merges.append((header["type"], _parsed(text)))
        persons = same_person(person, merges)
        self._concern.persons = self.fold.persons = persons
        return Span(0, self._stop, persons)

    def taken(self, rows: Iterable[LogRow], *, quiet: bool = False) -> Iterator[Seen]:
        """Fold further entries; yields those that concern the subject as of then.

        ``quiet``: yields none.
        """
        fold, moment, is_one = self.fold, self._moment, self._subject.is_one
        for row in rows:
            at, entry, header_text, text, sealed = row
            header = orjson.loads(header_text)
            if at >= self._stop or (moment and header["recorded_at"] > moment):
                continue
            event_type, text = upcast(header["type"], text)
            is_read = event_type in READ_TYPES
            data = _parsed(text) if is_read or self._parses_all else {}
            if is_one and not self._concern.about(header["person"], data):
                continue
            fold.entries += 1
            fold.erased += not sealed and not entry.endswith(NOTHING_SEALED)
            if is_read:
                try:
                    fold.take(event_type, data, header["occurred_at"])
                except (KeyError, TypeError, ValueError):
                    fold.unread += 1
            if not quiet:
                yield Seen(LogRow(*row), header, event_type, text)

    async def seen(self, rows: Iterable[LogRow]) -> list[Seen]:
        """``taken``, beside the event loop: a page takes longer than others should wait."""
        return await asyncio.to_thread(lambda: list(self.taken(rows)))

    def take(self, rows: Iterable[LogRow]) -> None:
        """Fold further entries."""
        deque(self.taken(rows, quiet=True), maxlen=0)


async def lines(
    log: Log, subject: Subject, as_of: AsOf, start: int = 0, *, quiet: bool = False
) -> Lines:
    """A replay, line by line: entries from an index on, and last the states.

    After each page a line says from where to go on. ``quiet``: without the entries.
    Raises ``UnknownSubjectError``.
    """
    replay = Replay(log, subject, as_of)
    async with aclosing(log.pages(await replay.span())) as pages:
        async for page in pages:
            if quiet:
                await asyncio.to_thread(replay.take, page)
            else:
                for seen in await asyncio.to_thread(_items, replay, page, start):
                    yield {"entry": seen}
            yield {"next": page[-1][0] + 1, "size": as_of.before}
    yield {"state": replay.fold.report()}


def _items(replay: Replay, page: Iterable[LogRow], start: int) -> list[Data]:
    return [item(seen) for seen in replay.taken(page) if seen.row.at >= start]


async def changes(log: Log, subject: Subject, before: AsOf, after: AsOf) -> Lines:
    """What differs in the states between two positions or moments, line by line.

    The log is read once, and folded twice. Raises ``UnknownSubjectError``.
    """
    old, new = Replay(log, subject, before), Replay(log, subject, after)
    spans = await old.span(), await new.span()
    persons = None if spans[0].persons is None else {p for s in spans for p in s.persons or ()}
    stop = max(before.before, after.before)
    async with aclosing(log.pages(Span(0, stop, persons))) as pages:
        async for page in pages:
            await asyncio.to_thread(old.take, page)
            await asyncio.to_thread(new.take, page)
            yield {"next": page[-1][0] + 1, "size": stop}
    for change in differences(old.fold.report(), new.fold.report()):
        yield {"change": change.line()}


def item(seen: Seen) -> Data:
    """An entry as a line of a timeline (``contracts.audit.TimelineItem``)."""
    row, header = seen.row, seen.header
    try:
        in_french = sentence(parse_event(seen.type, seen.data))
    except (KeyError, ValidationError):
        in_french = unknown_sentence(seen.type)
    return {
        "idx": row.at,
        "person_id": header["person"],
        "time": header["occurred_at"],
        "recorded_at": header["recorded_at"],
        "type": header["type"],
        "sentence": in_french,
        "service": header["service"],
        "actor": header["actor"],
        "data": _parsed(row.data),
        "sealed": row.sealed,
        "erased": not row.sealed and not row.entry.endswith(NOTHING_SEALED),
    }


def _parsed(text: str) -> Data:
    data = orjson.loads(text)
    return data if isinstance(data, dict) else {}
