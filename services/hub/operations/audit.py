"""What an auditor does: verify, replay, compare; the commands are in ``cli_audit``."""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from contracts.days import PARIS
from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.platform import service_context
from infra.tlog.checks import UnsoundLogError, Verdict
from infra.tlog.export.layout import NOT_EVIDENCE
from infra.tlog.export.reader import Exported
from infra.tlog.export.writer import ExportRefusedError
from infra.tlog.verify.offline import verify_export
from infra.tlog.verify.remote import verify_remote
from services.audit.handlers import replay as handler
from services.audit.handlers.replay import (
    AsOf,
    ExportedLog,
    Lines,
    Log,
    StoredLog,
    UnknownSubjectError,
)
from services.audit.model.replay import Of, Subject
from services.audit.tables.tree import LogDamagedError
from services.hub.terminal import ProgressBar, tell

LINE_OF_JSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS


class Where(NamedTuple):
    """Log to read: an export's, or that of this machine's hub."""

    export: Path | None
    data: Path | None


class Shown(NamedTuple):
    """Parts to show of a replay: entries from an index on, or the states alone."""

    start: int
    quiet: bool
    as_json: bool


class Trusted(NamedTuple):
    """Keys of the log, and a policy of logs and witnesses, that an auditor trusts."""

    vkeys: Sequence[str]
    policy: Path | None


def verify(
    directory: Path, trusted: Trusted, last: Path | None, workers: int | None
) -> Verdict:
    """Check an export, with a bar on stderr."""
    vkeys, policy = trusted
    with ProgressBar("checked") as meter:
        verdict = verify_export(
            directory, vkeys, policy=policy, last=last, workers=workers, progress=meter
        )
    tell(f"  not evidence, not checked: {', '.join(NOT_EVIDENCE)}")
    return verdict


async def verify_service(url: str, key: str, trusted: Trusted) -> Verdict:
    """Check the log of a service, with a bar on stderr."""
    with ProgressBar("checked") as meter:
        return await verify_remote(url, key, trusted.vkeys, meter, trusted.policy)


def say(verdict: Verdict) -> int:
    """Print the verdict in words; return the exit code."""
    tell(f"  {'✓' if verdict.exit_code == 0 else '✗'} {verdict}")
    return verdict.exit_code


async def replay(where: Where, subject: Subject, then: str | None, shown: Shown) -> None:
    """Print a replay on stdout."""
    async with _log(where) as log:
        as_of = await _as_of(log, then)
        lines = handler.lines(log, subject, as_of, shown.start, quiet=shown.quiet)
        await _print(lines, shown.as_json, meter=shown.quiet or not sys.stdout.isatty())


async def diff(where: Where, subject: Subject, ends: Sequence[str], as_json: bool) -> int:
    """Print what changed between two positions or dates; return how much."""
    async with _log(where) as log:
        before, after = [await _as_of(log, end) for end in ends]
        lines = handler.changes(log, subject, before, after)
        return await _print(lines, as_json, meter=True)


def subject_of(
    person: str | None,
    case: str | None,
    referral: str | None,
    partner: str | None,
) -> Subject:
    """Return what was asked for; the hub's statistics if nothing is named."""
    given = {Of.PERSON: person, Of.CASE: case, Of.REFERRAL: referral, Of.PARTNER: partner}
    named = [Subject(of, value) for of, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError("give one of --person, --case, --referral and --partner")
    return named[0] if named else Subject(Of.STATISTICS)


def states_of(subject: Subject) -> Subject:
    """Subject for a diff: falls back to all cases and referrals instead of statistics."""
    return subject if subject.is_one else Subject(Of.ALL)


@asynccontextmanager
async def _log(where: Where) -> AsyncIterator[Log]:
    configure_logging("ERROR", plain=True)
    if where.export:
        export = Exported.open(where.export)
        if export.manifest().start:
            raise ValueError("an export of a period does not hold what came before it")
        tell("  read from an export: what it shows is worth what `audit verify` says of it")
        yield ExportedLog(export)
        return
    async with service_context(load_settings(data=where.data), "audit") as (_, database):
        yield StoredLog(database)


async def _as_of(log: Log, then: str | None) -> AsOf:
    size = await log.size()
    return AsOf.parse(then, size) if then is not None else AsOf(size)


async def _print(lines: Lines, as_json: bool, *, meter: bool) -> int:
    """Print lines on stdout, progress on stderr; return how many but the last."""
    printed = 0
    try:
        with ProgressBar("read", shown=meter) as progress:
            async for line in lines:
                if "next" in line:
                    progress(line["next"], line["size"])
                    continue
                printed += "state" not in line
                encoded = orjson.dumps(line, option=LINE_OF_JSON) if as_json else b""
                sys.stdout.write(encoded.decode() if as_json else _in_french(line))
        sys.stdout.flush()
    except BrokenPipeError:  # who reads no further is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    return printed


def _in_french(line: dict[str, Any]) -> str:
    if entry := line.get("entry"):
        moment = datetime.fromisoformat(entry["time"]).astimezone(PARIS)
        gone = " (partie personnelle effacée)" if entry["erased"] else ""
        return f"{entry['idx']:>8}  {moment:%d/%m/%Y %H:%M}  {entry['sentence']}{gone}\n"
    if change := line.get("change"):
        return f"{change['path']}: {change['before']} → {change['after']}\n"
    return "".join(_indented(line["state"], ""))


def _indented(state: dict[str, Any], margin: str) -> Iterator[str]:
    for name, value in state.items():
        if isinstance(value, dict) and value:
            yield f"{margin}{name}:\n"
            yield from _indented(value, margin + "  ")
        elif value not in (None, {}, []):
            yield f"{margin}{name}: {value}\n"


REPAIRS: dict[type[Exception], str] = {
    UnknownSubjectError: "look the id up in a pathway, or in `audit replay`",
    ExportRefusedError: "give an empty directory, or ask for the same again",
    LogDamagedError: "aiguillage audit verify --url … says which entries are missing",
    UnsoundLogError: "aiguillage audit verify says what does not hold",
    ValueError: "aiguillage audit --help",
}
"""What to do about errors of the commands on a log."""
