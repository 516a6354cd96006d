"""Proof files of single events: fetched from an audit service, checked without it."""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from infra.base.http import BodyTooLargeError, bounded_answer
from infra.base.repairable import Repairable
from infra.tlog.checks import IncompleteLogError, Outcome, UnsoundLogError, trusting
from infra.tlog.commitment import Opening
from infra.tlog.merkle import ProofError
from infra.tlog.proof import MAX_BYTES, Proof
from infra.tlog.verify.remote import remote_log

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
OPENING = ("salt", "header", "data")
SHOWN = ["service", "id", "type", "stream", "version", "person", "recorded_at", "actor", "data"]


class NoProofError(Repairable):
    """The service did not hand out a proof; the text says why."""

    repair = "check the event's id and the address of the audit service"


@dataclass(frozen=True)
class ProofVerdict:
    """Result of a check: a sentence; and what the entry says, if that is proven as well."""

    outcome: Outcome
    reason: str
    entry: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 proven, 1 not proven, 2 cannot be judged."""
        return int(self.outcome)

    def lines(self) -> list[str]:
        """For people."""
        mark = "✓" if self.outcome is Outcome.INTACT else "✗"
        shown = [f"    {name}: {self.entry[name]}" for name in SHOWN if name in self.entry]
        return [f"  {mark} {self.reason}", *shown]

    def document(self) -> dict[str, Any]:
        """For programs."""
        proven = self.outcome is Outcome.INTACT
        return {"proven": proven, "reason": self.reason, "entry": self.entry or None}


async def fetch(url: str, event_id: str) -> bytes:
    """The proof file of an event; raises ``NoProofError``."""
    address = f"{url.rstrip('/')}/v1/proofs/{event_id}.tlog-proof"
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(address) as response,
        ):
            status, body = response.status, await bounded_answer(response, MAX_BYTES)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NoProofError(f"the service did not answer ({type(error).__name__})") from error
    except BodyTooLargeError:
        raise NoProofError("the service answered more than a proof") from None
    if status != 200:
        raise NoProofError(f"the service answered {status}")
    return body


async def fetch_opening(url: str, key: str, event_id: str, proof: bytes) -> bytes:
    """What the entry of a proof says, as a file for `check`; raises ``NoProofError``.

    ``key`` is an auditor's: an entry says nothing to others.
    """
    index = Proof.parse(proof).index
    try:
        async with remote_log(url, key) as log:
            page = await log.json(f"/v1/entries?from={index}&limit=1")
        (item,) = page["entries"]
        if orjson.loads(item["header"])["id"] != event_id:
            raise NoProofError("the service answered another entry")
        kept = {name: item[name] for name in OPENING}
    except IncompleteLogError as error:
        raise NoProofError(error.reason) from error
    except (KeyError, TypeError, ValueError) as error:
        raise NoProofError("the service answered something that is not an entry") from error
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)


def check(
    file: Path,
    vkeys: Sequence[str],
    policy: Path | None,
    entry: Path | None = None,
    opening: Path | None = None,
) -> ProofVerdict:
    """Check a proof file against what the caller trusts; with an opening, what it proves."""
    try:
        trusted = trusting(vkeys, policy)
        proof = Proof.parse(_bytes(file))
        proven = _bytes(entry) if entry else proof.extra
        if proven is None:
            return ProofVerdict(Outcome.INCOMPLETE, "the file holds no entry: give --entry")
        opened = _opened(_bytes(opening)) if opening else None
    except UnsoundLogError as error:
        return ProofVerdict(Outcome.INCOMPLETE, error.reason)
    except (ProofError, NoProofError) as error:
        return ProofVerdict(Outcome.INCOMPLETE, str(error))
    try:
        reason = proof.check(proven, trusted)
        return ProofVerdict(Outcome.INTACT, reason, _shown(proven, opened) if opened else {})
    except ProofError as error:
        return ProofVerdict(Outcome.BROKEN, str(error))


def _bytes(path: Path) -> bytes:
    """A file that was given; raises ``NoProofError``."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NoProofError(f"{path} cannot be read") from error
    if len(data) > MAX_BYTES:
        raise NoProofError(f"{path} is too large to be read")
    return data


def _opened(data: bytes) -> Opening:
    """What a file says that an entry commits to; raises ``NoProofError``."""
    try:
        salt, header, data_text = (orjson.loads(data)[name] for name in OPENING)
        return Opening(b64decode(salt, validate=True), header.encode(), data_text.encode(), b"")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoProofError(
            "the file of --opening is not one that `audit proof` writes"
        ) from error


def _shown(entry: bytes, opening: Opening) -> dict[str, Any]:
    """What an entry says, by its opening; raises ``ProofError`` if it is not this entry's."""
    try:
        part = opening.differs(orjson.loads(entry))
        shown = {**orjson.loads(opening.header), "data": orjson.loads(opening.data)}
    except (KeyError, TypeError, ValueError) as error:
        raise ProofError("the entry cannot be opened") from error
    if part is not None:
        raise ProofError(f"the entry is proven, but not what is said of it: {part} differs")
    return shown
