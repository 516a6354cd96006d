"""A log in memory, exported by the real exporter; and what both verifiers say of an export."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

import orjson

from infra.eventstore.events import EventMetadata, StoredEvent
from infra.tlog import merkle, tiles
from infra.tlog.checks import Verdict
from infra.tlog.export.layout import Manifest, Selection, encode_frames
from infra.tlog.export.writer import Export, Wanted
from infra.tlog.note import Checkpoint, Signer
from infra.tlog.tiles import ENTRIES, TILE_WIDTH, Tile
from infra.tlog.verify import standalone
from infra.tlog.verify.offline import verify_export

ORIGIN = "aiguillage.test/log"
SIGNER = Signer(ORIGIN, bytes(32))
VKEY = SIGNER.vkey.encode()
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


class Logged(NamedTuple):
    """One entry and what it commits to."""

    entry: bytes
    salts: bytes
    header: bytes
    data: bytes
    sealed: bytes


def salt_of(n: int) -> bytes:
    """A salt that is the same each time the tests run."""
    return sha256(b"salt %d" % n).digest()


def recorded(
    *,
    n: int = 0,
    data: str = "{}",
    sealed: bytes | None = None,
    stream: str = "case-0",
    version: int = 1,
    type: str = "fr.test.v1",
    actor: str = "hub",
    person: int = 0,
) -> StoredEvent:
    """An event as it is stored."""
    return StoredEvent(
        "referrals", n + 1, UUID(int=n + 1), stream, version, type, UUID(int=person),
        NOW, NOW, data, sealed, EventMetadata(actor), salt_of(n),
        salt_of(n + 10**9) if sealed else None,
    )  # fmt: skip


def opened(event: StoredEvent, *, erased: bool = False) -> Logged:
    """An event as an export shows it."""
    sealed = b"" if erased else event.sealed or b""
    salts = event.salt + (event.sealed_salt or b"" if sealed else b"")
    return Logged(event.entry(), salts, event.header(), event.data.encode(), sealed)


def logged(n: int, stream: str, version: int, person: int, *, erased: bool = False) -> Logged:
    """Entry ``n``; every third event has nothing personal."""
    data = orjson.dumps({"case_id": stream, "n": n}).decode()
    sealed = None if n % 3 == 0 else b"sealed %d" % n
    event = recorded(
        n=n, data=data, sealed=sealed, stream=stream, version=version, person=person
    )
    return opened(event, erased=erased)


def log_of(size: int, streams: int = 4, erased: Sequence[int] = ()) -> list[Logged]:
    """Entries of some streams in turn, each stream a person's."""
    return [
        logged(n, f"case-{n % streams}", n // streams + 1, n % streams, erased=n in erased)
        for n in range(size)
    ]


@dataclass
class MemoryLog:
    """A source of exports."""

    entries: list[Logged]
    signed: list[bytes] = field(default_factory=list)
    signer: Signer = SIGNER
    asked: list[str] = field(default_factory=list)

    def sign(self, size: int) -> bytes:
        """A checkpoint of the first entries."""
        root = merkle.root_of(self.leaves(size))
        return self.signer.sign(Checkpoint(self.signer.vkey.name, size, root).body())

    def leaves(self, size: int) -> list[bytes]:
        """Leaf hashes."""
        return [merkle.leaf_hash(logged.entry) for logged in self.entries[:size]]

    async def checkpoint(self) -> bytes:
        return self.sign(len(self.entries))

    async def checkpoints(self, after: int, to: int) -> AsyncIterator[bytes]:
        for note in self.signed:
            if after < int(note.split(b"\n")[1]) <= to:
                yield note

    async def tile(self, tile: Tile) -> bytes:
        self.asked.append(tile.path)
        span = slice(tile.index * TILE_WIDTH, tile.index * TILE_WIDTH + tile.width)
        if tile.level == ENTRIES:
            return tiles.encode_bundle([logged.entry for logged in self.entries[span]])
        hashes = self.leaves(len(self.entries))
        for _ in range(tile.level):
            full = len(hashes) // TILE_WIDTH
            hashes = [merkle.root_of(hashes[n * 256 : n * 256 + 256]) for n in range(full)]
        return tiles.encode_tile(hashes[span])

    async def payload(self, bundle: Tile, file: BinaryIO) -> None:
        self.asked.append(f"payload {bundle.path}")
        span = slice(bundle.index * TILE_WIDTH, bundle.index * TILE_WIDTH + bundle.width)
        for logged in self.entries[span]:
            file.write(encode_frames(logged[1:]))


def exported(folder: Path, log: MemoryLog, **selected: Any) -> Manifest:
    """Export all of a log, or what is selected."""

    async def find(size: int) -> Selection:
        return Selection(size, **(selected or {"stop": size}))

    wanted = Wanted({k: str(v) for k, v in selected.items()}, find)
    return asyncio.run(Export(log, folder, wanted).run([log.signer.vkey.encode()]))


def alone(folder: Path, *vkeys: str, last: Path | None = None) -> tuple[int, str]:
    """What the stand-alone verifier says: exit code and line."""
    keys, kept = list(vkeys or (VKEY,)), [last] if last else []
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = standalone._Export(folder, keys, kept).verdict()
    return code, said.getvalue().strip()


def both(folder: Path, vkey: str = VKEY, last: Path | None = None) -> Verdict:
    """The verdict of ours, which is that of the stand-alone verifier too."""
    ours = verify_export(folder, [vkey], last=last, workers=1)
    code, line = alone(folder, vkey, last=last)
    assert line.startswith(ours.outcome.name.lower()), f"{ours} but alone: {line}"
    assert code == ours.exit_code
    return ours
