"""Replay of anything as of any position or date, as lines of JSON that come as they are read.

A page of the log is read when the lines of the one before were taken: a slow caller slows the
reading down, and one who leaves ends it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts.audit import ReplayLine
from contracts.types import Line, Moment
from infra.web.problems import ABOUT_PERSON, NotFound, Overloaded, not_found, raises
from services.audit.handlers import replay
from services.audit.handlers.replay import AsOf, Lines, StoredLog, UnknownSubjectError
from services.audit.model.replay import Of, Subject
from services.audit.problems import LogDamaged
from services.audit.routes.common import ONLY_AUDITORS, STRING, Index, as_of_then
from services.audit.routes.problems import NEVER, nonsense

AT_ONCE = 2
"""Replays that run at a time: each may read the whole log."""

LINES_AT_ONCE = 100
LATER = {"retry-after": "10"}

Chunks = AsyncGenerator[bytes, None]
NDJSON = "application/x-ndjson"
TEXT = "text/plain"
LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ReplayLine,
        "description": f"One object a line; with `Accept: {TEXT}` the same lines as text.",
        "content": {TEXT: STRING},
    }
}
Then = Annotated[Line, Query(max_length=40)]
PartnerId = Annotated[Line, Query(max_length=120)]

router = APIRouter()


async def _subject(
    person: UUID | None = None,
    case: UUID | None = None,
    referral: UUID | None = None,
    partner: PartnerId | None = None,
) -> Subject:
    given = {Of.PERSON: person, Of.CASE: case, Of.REFERRAL: referral, Of.PARTNER: partner}
    named = [Subject(of, str(value)) for of, value in given.items() if value is not None]
    if len(named) > 1:
        raise nonsense(str(named[1].of), "give one of person, case, referral and partner")
    return named[0] if named else Subject(Of.STATISTICS)


Asked = Annotated[Subject, Depends(_subject)]


class _Lines(StreamingResponse):
    """Lines of JSON: closed, and their place given up, as soon as the caller leaves."""

    body_iterator: Chunks
    media_type = NDJSON

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and close what was read from."""
        async with aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)


@router.get(
    "/v1/replay",
    tags=["replay"],
    response_class=_Lines,
    responses=LINES,
    dependencies=ONLY_AUDITORS,
)
@raises(*ABOUT_PERSON, LogDamaged, NotFound, Overloaded)
async def get_replay(
    request: Request,
    subject: Asked,
    at: Index | None = None,
    as_of: Moment | None = None,
    start: Annotated[Index, Query(alias="from")] = 0,
    statistics: bool = False,
) -> StreamingResponse:
    """What concerns a person, case, referral, partner, or everybody; last, the states.

    One JSON object a line: ``entry``, from the index ``from`` on; ``next``, from where to go
    on if the connection is lost; and at the end ``state``. For everybody the state is the
    hub's statistics; ``statistics``: without the entries.
    """
    log = StoredLog(request.app.state.service.database)
    then = await as_of_then(log, at, as_of)
    lines = replay.lines(log, subject, then, start, quiet=statistics)
    return await _streamed(request, lines, subject)


@router.get(
    "/v1/differences",
    tags=["replay"],
    response_class=_Lines,
    responses=LINES,
    dependencies=ONLY_AUDITORS,
)
@raises(*ABOUT_PERSON, LogDamaged, NotFound, Overloaded)
async def get_differences(
    request: Request, subject: Asked, a: Then, b: Then, statistics: bool = False
) -> StreamingResponse:
    """What changed in the states between two positions or moments, one ``change`` a line.

    ``a`` and ``b``: an index, a day (its end, in France), or a moment (RFC 3339, with its
    offset). Without a subject: every case and referral, or the ``statistics``.
    """
    log = StoredLog(request.app.state.service.database)
    if subject.of is Of.STATISTICS and not statistics:
        subject = Subject(Of.ALL)
    before, after = await _then(log, "a", a), await _then(log, "b", b)
    return await _streamed(request, replay.changes(log, subject, before, after), subject)


async def _then(log: StoredLog, name: str, text: str) -> AsOf:
    try:
        return AsOf.parse(text, await log.size())
    except ValueError as error:
        raise nonsense(name, str(error)) from None


async def _streamed(request: Request, lines: Lines, subject: Subject) -> StreamingResponse:
    chunks = _chunks(request.app.state.replays, lines)
    try:
        first = await anext(chunks)  # so that what cannot be replayed has a status of its own
    except UnknownSubjectError:
        raise not_found(subject.of.value) from None
    media_type = TEXT if TEXT in request.headers.get("accept", "") else NDJSON

    async def chained() -> Chunks:
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    return _Lines(chained(), media_type=media_type, headers=NEVER)


async def _chunks(places: asyncio.Semaphore, lines: Lines) -> Chunks:
    """Lines, some at a time, while there is a place; raises ``Problem`` where there is none."""
    if places.locked():
        raise Overloaded("Other replays are running", headers=LATER)
    async with places, aclosing(lines):
        waiting: list[bytes] = []
        async for line in lines:
            waiting.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            if len(waiting) == LINES_AT_ONCE or "entry" not in line:
                yield b"".join(waiting)
                waiting.clear()
