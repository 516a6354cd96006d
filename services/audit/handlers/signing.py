"""Sign what the log is, and never anything that does not extend what was signed before."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.base.clock import Clock, system_clock
from infra.base.settings import Settings
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.tlog import merkle
from infra.tlog.keyring import LogKeys
from infra.tlog.merkle import Frontier, ProofError
from infra.tlog.note import Checkpoint, Note, NoteError, open_checkpoint
from infra.tlog.tilefiles import TileFiles
from infra.workers.alarms import Condition
from services.audit.handlers.memory import OtherSignerError, Remembered, SignerMemory
from services.audit.handlers.proofs import consistency, root_at
from services.audit.tables import statements, tree
from services.audit.tables.tree import LogDamagedError, Signed


class RefusedToSignError(Exception):
    """The log is not an extension of what was signed: it was changed, rolled back or forked."""


@dataclass(frozen=True, slots=True)
class LogState:
    """How the log stands: entries, entries under a signature, why no more are signed."""

    size: int
    signed_size: int
    refusal: str | None


def log_keys(settings: Settings, clock: Clock = system_clock) -> LogKeys:
    """The log's keys, in the data directory."""
    return LogKeys(settings.data, settings.log_origin, clock)


def vkey(settings: Settings) -> str:
    """The log's public key as text: what a verifier needs, and all it needs to trust.

    Makes the log's first keys where there are none yet.
    """
    keys = log_keys(settings)
    keys.ensure(ml_dsa=settings.log_ml_dsa)
    return keys.newest().encode()


class Signing:
    """Signs the log whenever it grew. A checkpoint is a statement about it, no entry of it.

    Before a checkpoint is stored or given out it is remembered elsewhere, so that whatever
    happens in between, no second tree of one size is ever signed:

    1. the tree extends what every memory says was signed, else ``RefusedToSignError``;
    2. the checkpoint is signed, and seen by nobody;
    3. it is remembered in the keys' database (committed);
    4. it is stored beside the log (committed), and only now found by readers;
    5. it is published as a file, a memory too.

    Whoever stops after 3 finds in the memory what to store; after 4, what to publish.
    """

    def __init__(
        self,
        database: Database,
        memory: SignerMemory,
        keys: LogKeys,
        files: TileFiles | None,
        clock: Clock,
    ) -> None:
        self.keys = keys
        self.refusal: str | None = None
        self._alarm = Condition(database, "log-refused", keys.origin)
        self._database = database
        self._memory = memory
        self._files = files
        self._clock = clock

    async def step(self) -> bool:
        """Sign once; return whether a checkpoint is new. Raises ``RefusedToSignError``."""
        try:
            signed = await self._step()
        except RefusedToSignError as error:
            self.refusal = str(error)
            await self._alarm.tell(self.refusal)
            raise
        self.refusal = None
        await self._alarm.tell(None)
        return signed

    async def state(self) -> LogState:
        """Return how the log stands, without signing anything."""
        async with self._database.reading() as tx:
            now = await tree.load_frontier(tx)
            last = await tree.last_signed(tx, self.keys.origin)
            try:
                await self._require_extension(tx, await self._recall(tx), now)
                refusal = None
            except RefusedToSignError as error:
                refusal = str(error)
        return LogState(now.size, last.size if last else 0, refusal)

    async def _step(self) -> bool:
        async with self._database.transaction() as tx:
            await tx.execute(statements.LOCK, statements.LOCK_CLASS, statements.SIGNER)
            now, memories = await tree.load_frontier(tx), await self._recall(tx)
            await self._require_extension(tx, memories, now)
            last = max(filter(None, memories), key=lambda memory: memory.size, default=None)
            if last is None or last.size < now.size:
                text = Checkpoint(self.keys.origin, now.size, now.root()).body()
                signed = Signed(now.size, now.root(), self.keys.sign(text))
                at = self._clock()
                try:
                    await self._memory.remember(signed, memories[0], at)
                except OtherSignerError as error:
                    raise RefusedToSignError(str(error)) from error
                await tree.store_checkpoint(tx, self.keys.origin, signed, at)
                return True
            return await self._complete(tx, last, now)

    async def _complete(self, tx: Transaction, last: Remembered, now: Frontier) -> bool:
        """Nothing grew: store what a crash left unstored, sign with keys that are new."""
        stored = await tree.last_signed(tx, self.keys.origin)
        if stored is None or stored.size < last.size:
            stored = Signed(last.size, now.root(), last.note)
            await tree.store_checkpoint(tx, self.keys.origin, stored, self._clock())
            return True
        note, at = Note.parse(stored.note), self._clock()
        for key in self.keys.signers():
            if not any(map(key.vkey.made, note.signatures)):
                line = key.signature(note.text)
                await tree.store_signature(tx, self.keys.origin, stored.size, line, at)
        return False

    async def _recall(self, tx: Transaction) -> tuple[Remembered | None, ...]:
        """Return what each place remembers, the keys' database first."""
        vault = await self._memory.recall()
        stored = await tree.last_signed(tx, self.keys.origin)
        beside = Remembered("the log's database", stored.size, stored.note) if stored else None
        published, note = None, self._files.checkpoint() if self._files else None
        if note is not None:
            try:
                stated = Checkpoint.parse(Note.parse(note).text)
            except NoteError as error:
                raise RefusedToSignError(f"the published checkpoint: {error}") from error
            published = Remembered("the published files", stated.size, note)
        return vault, beside, published

    async def _require_extension(
        self, tx: Transaction, memories: Sequence[Remembered | None], now: Frontier
    ) -> None:
        last = 0
        try:
            for memory in filter(None, memories):
                last = memory.size
                await self._require_follows(tx, memory, now)
            if await root_at(tx, now.size) != now.root():
                raise ProofError("the stored hashes do not lead to the tree's root")
        except (ProofError, LogDamagedError, ValueError) as error:
            raise RefusedToSignError(f"after {last} entries: {error}") from error

    async def _require_follows(
        self, tx: Transaction, memory: Remembered, now: Frontier
    ) -> None:
        """The note is the arbiter, not what stands beside it: only the note is signed."""
        try:
            keys = self.keys.vkeys()
            stated = open_checkpoint(memory.note, keys, self.keys.origin)
            proof = await consistency(tx, stated.size, now.size)
            merkle.verify_consistency(stated.size, now.size, proof, stated.root, now.root())
        except ValueError as error:
            raise ProofError(f"{error} ({memory.place})") from error
