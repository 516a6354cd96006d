"""Have witnesses cosign what was signed (C2SP tlog-witness). Signing never waits for them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
import structlog
from prometheus_client import Counter, Gauge

from infra.base.clock import Clock
from infra.base.http import BodyTooLargeError, bounded_answer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.tlog.cosignature import unpack
from infra.tlog.note import Note, NoteError, Signature, VKey
from infra.tlog.policy import Party, Policy
from infra.tlog.witness import SIZE_TYPE, Answer, Submission
from infra.workers.alarms import Condition
from services.audit.handlers.proofs import consistency
from services.audit.tables import statements, tree
from services.audit.tables.tree import Signed

log = structlog.get_logger()
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
MAX_ANSWER = 64 * 1024
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n")
SUBMISSIONS = Counter(
    "aiguillage_witness_submissions", "Checkpoints sent to witnesses", ["witness", "status"]
)
COSIGNED = Gauge("aiguillage_witness_size", "Entries under the last cosignature", ["witness"])


class NotCosignedError(Exception):
    """A witness did not cosign, and why not."""


class ContradictedError(NotCosignedError):
    """A witness has seen another log than ours: it was forked or rolled back, here or there."""


@dataclass
class Cosigning:
    """Has one witness cosign the newest checkpoint; an alarm if it contradicts the log.

    ``parties``: by their names in the policy, the keys of the witness at one address. It is
    asked once for all of them: it answers with a line of each.
    """

    address: str
    parties: Mapping[str, Party]
    database: Database
    origin: str
    clock: Clock
    session: Callable[[], aiohttp.ClientSession]

    def __post_init__(self) -> None:
        self.name = "+".join(self.parties)
        self._asked = -1
        self._contradicted = Condition(self.database, "witness-contradicts", self.name)

    @property
    def alarm(self) -> str | None:
        """Reason why it contradicts the log, or None."""
        return self._contradicted.detail

    async def step(self) -> int:
        """Ask once if there is anything new to cosign; raises ``NotCosignedError``."""
        newest, cosigned = await self._stand()
        if newest is None or newest.size == self._asked or set(cosigned) == {newest.size}:
            return 0
        try:
            old = max(size or 0 for size in cosigned)
            lines = await self._ask(newest, old)
            async with self.database.transaction() as tx:
                for line in lines:
                    now = self.clock()
                    await tree.store_signature(tx, self.origin, newest.size, line, now)
            COSIGNED.labels(self.name).set(newest.size)
        except NotCosignedError as error:
            if isinstance(error, ContradictedError):
                await self._contradicted.tell(str(error))
                log.error("witness contradicts the log", witness=self.name, reason=str(error))
            else:
                log.warning("not cosigned", witness=self.name, reason=str(error))
            raise
        self._asked = newest.size  # also where it lacks a key that the policy gives it
        await self._contradicted.tell(None)
        return 0

    async def cosigned(self, tx: Transaction, vkey: VKey) -> int | None:
        """Entries under the last cosignature by a key; None before the first."""
        size = await tx.fetchval(statements.SIGNED_BY, self.origin, vkey.name, vkey.key_id)
        return int(size) if size is not None else None

    async def _stand(self) -> tuple[Signed | None, list[int | None]]:
        """Return what was signed last, and how far each key has cosigned."""
        async with self.database.reading() as tx:
            sizes = [await self.cosigned(tx, party.vkey) for party in self.parties.values()]
            return await tree.last_signed(tx, self.origin), sizes

    async def _ask(self, newest: Signed, old: int) -> list[Signature]:
        answer = await self._submit(newest, old)
        if answer.status == 409:
            answer = await self._submit(newest, await self._where_it_stands(newest, answer))
        if answer.status == 422:
            raise ContradictedError("it says that the log does not extend what it cosigned")
        if answer.status != 200:
            raise NotCosignedError(f"it answered {answer.status}")
        return self._lines(newest, answer.body)

    async def _where_it_stands(self, newest: Signed, answer: Answer) -> int:
        """The size that a 409 gives; never one that we have not signed ourselves."""
        if answer.content_type != SIZE_TYPE or not _SIZE.fullmatch(answer.body):
            raise NotCosignedError("it answered 409 without a size")
        size = int(answer.body)
        if size <= newest.size:
            return size
        latest, _ = await self._stand()  # another process may have signed in the meantime
        if latest is not None and latest.size >= size:
            raise NotCosignedError("the log has grown in the meantime")
        raise ContradictedError(f"it has cosigned {size} entries, we have {newest.size}")

    async def _submit(self, newest: Signed, old: int) -> Answer:
        async with self.database.reading() as tx:
            proof = await consistency(tx, old, newest.size)
        # the checkpoint with the log's signatures alone: those of others are not asked for
        parsed = Note.parse(newest.note)
        own = tuple(line for line in parsed.signatures if line.name == self.origin)
        body = Submission(old, proof, Note(parsed.text, own).format()).format()
        url = f"{self.address}/add-checkpoint"
        try:
            session = self.session()
            async with session.post(url, data=body, allow_redirects=False) as response:
                text = (await bounded_answer(response, MAX_ANSWER)).decode()
                answer = Answer(response.status, text, response.content_type)
        except (aiohttp.ClientError, TimeoutError, BodyTooLargeError, ValueError) as error:
            SUBMISSIONS.labels(self.name, "none").inc()
            raise NotCosignedError(type(error).__name__) from error
        SUBMISSIONS.labels(self.name, str(answer.status)).inc()
        return answer

    def _lines(self, newest: Signed, body: str) -> list[Signature]:
        """The lines that are this witness's, each verified; all others are ignored."""
        vkeys = [party.vkey for party in self.parties.values()]
        try:
            parsed = Note.parse(f"{Note.parse(newest.note).text}\n{body}".encode())
            made = [(v, line) for line in parsed.signatures for v in vkeys if v.made(line)]
            for vkey, line in made:
                vkey.check(parsed.text, line)
        except NoteError as error:
            raise NotCosignedError(f"its cosignature does not hold: {error}") from error
        # a cosignature without a time does not say that this is the newest that it has seen
        lines = [line for _, line in made]
        if not lines or not all(unpack(line.value)[0] for line in lines):
            raise NotCosignedError("it answered without a cosignature of its own")
        return lines


class Witnesses:
    """The witnesses of a policy that have an address; each is asked at its own pace."""

    def __init__(self, database: Database, origin: str, policy: Policy, clock: Clock) -> None:
        self._session: aiohttp.ClientSession | None = None
        at = dict[str, dict[str, Party]]()
        for name, party in policy.witnesses.items():
            if party.url:
                shown = name.decode(errors="replace")
                at.setdefault(party.url.rstrip("/"), {})[shown] = party
        self.all = [
            Cosigning(
                address, parties, database, origin, clock=clock, session=self._connections
            )
            for address, parties in at.items()
        ]

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=TIMEOUT, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session
