"""Sign what the log is, and never anything that does not extend what was signed before."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.clock import Clock
from infra.database import driver
from infra.masterkey import read_or_create_secret
from infra.settings import Settings
from infra.tlog import merkle
from infra.tlog.merkle import ProofError
from infra.tlog.note import Checkpoint, NoteError, Signer, open_checkpoint
from services.audit import tables
from services.audit.handlers.proofs import consistency, root_at
from services.audit.tables import LogDamagedError, Signed

LOG_KEY = "log.key"


class RefusedToSignError(Exception):
    """The log is not an extension of what was signed last: it was changed or rolled back."""


def signer_of(settings: Settings) -> Signer:
    """The log's signing key, created at the first run (``log.key`` in the data directory)."""
    path: Path = settings.data / LOG_KEY
    return Signer(settings.log_origin, read_or_create_secret(path))


def vkey(settings: Settings) -> str:
    """The log's public key as text: what a verifier needs, and all it needs to trust."""
    return signer_of(settings).vkey.encode()


async def sign_checkpoint(tx: AsyncConnection, signer: Signer, clock: Clock) -> Signed | None:
    """Sign the log as it stands if it grew; None if it did not.

    A checkpoint is a statement about the log, so it is not an entry of it.
    Raises ``RefusedToSignError`` unless the stored tree extends the last signed one.
    """
    raw = await driver(tx)
    await raw.execute(tables.LOCK, tables.LOCK_CLASS, tables.SIGNER)
    frontier = await tables.load_frontier(raw)
    last = await tables.last_signed(raw)
    if last is not None:
        await _require_extension(tx, signer, last, frontier)
        if last.size == frontier.size:
            return None
    note = signer.sign(Checkpoint(signer.vkey.name, frontier.size, frontier.root()).body())
    signed = Signed(frontier.size, frontier.root(), note)
    await tables.store_checkpoint(raw, signed, clock())
    return signed


async def _require_extension(
    tx: AsyncConnection, signer: Signer, last: Signed, now: merkle.Frontier
) -> None:
    """The last note is the arbiter, not the columns beside it: only it is signed."""
    try:
        stated = open_checkpoint(last.note, [signer.vkey], signer.vkey.name)
        proof = await consistency(tx, stated.size, now.size)
        merkle.verify_consistency(stated.size, now.size, proof, stated.root, now.root())
        if await root_at(tx, now.size) != now.root():
            raise ProofError("the stored hashes do not lead to the tree's root")
    except (NoteError, ProofError, LogDamagedError, ValueError) as error:
        raise RefusedToSignError(f"after {last.size} entries: {error}") from error
