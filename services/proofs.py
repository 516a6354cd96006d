"""Proof files of single events: fetched from an audit service, checked without it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from infra.tlog.audit import Outcome
from infra.tlog.merkle import ProofError
from infra.tlog.note import NoteError, VKey
from infra.tlog.policy import Policy, PolicyError
from infra.tlog.proof import MAX_BYTES, Proof
from infra.web.bodies import BodyTooLargeError, bounded_answer

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
SHOWN = ("service", "id", "type", "stream", "version", "person", "recorded_at", "actor")


class NoProofError(Exception):
    """The service did not hand out a proof; the text says why."""


@dataclass(frozen=True)
class ProofVerdict:
    """What a check found: a sentence, and what the entry says once it is proven."""

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
        said = [f"    {name}: {self.entry[name]}" for name in SHOWN if name in self.entry]
        return [f"  {mark} {self.reason}", *said]

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


def check(
    file: Path, vkeys: Sequence[str], policy: Path | None, entry: Path | None
) -> ProofVerdict:
    """Check a proof file against what the caller trusts."""
    try:
        trusted = (Policy.read(policy) if policy else Policy()).with_logs(
            VKey.parse(text) for text in vkeys
        )
    except (NoteError, PolicyError) as error:
        return ProofVerdict(Outcome.INCOMPLETE, f"whom to trust cannot be read: {error}")
    if not trusted.logs:
        return ProofVerdict(Outcome.INCOMPLETE, "no key of a log is given: --vkey or --policy")
    try:
        proof = Proof.parse(file.read_bytes())
        proven = entry.read_bytes() if entry else proof.extra
        if proven is None:
            return ProofVerdict(Outcome.INCOMPLETE, "the file holds no entry: give --entry")
        return ProofVerdict(Outcome.INTACT, proof.check(proven, trusted), _read(proven))
    except ProofError as error:
        return ProofVerdict(Outcome.BROKEN, str(error))


def _read(entry: bytes) -> dict[str, Any]:
    """What an entry says; another log's entries may say nothing that we can read."""
    try:
        found = orjson.loads(entry)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
