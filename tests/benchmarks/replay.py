"""Replaying the whole log into the hub's statistics, from its table and from an export."""

from pathlib import Path

from infra.tlog.export.layout import Selection
from infra.tlog.export.reader import Exported
from infra.tlog.export.writer import Export, Wanted
from services.audit.handlers.export import StoredExport
from services.audit.handlers.replay import (
    AsOf,
    ExportedLog,
    Log,
    Span,
    StoredLog,
    lines,
)
from services.audit.handlers.signer import CheckpointSigner
from services.audit.model.replay import Of, Subject
from tests.benchmarks.hub_log import HubLog, hub_log
from tests.benchmarks.measure import Run, bench, compare

CASES = 20_000


def replaying(log: Log) -> Run:
    """Fold every event; what is counted is what the state says was folded."""

    async def run() -> int:
        entries = 0
        subject = Subject(Of.STATISTICS)
        async for line in lines(log, subject, AsOf(await log.size()), quiet=True):
            if "state" in line:
                entries = line["state"]["entries"]
                assert line["state"]["cases"]["total"] == CASES
        return entries

    return run


def reading(log: Log) -> Run:
    """Only read in order: the share of the database, or of the disk."""

    async def run() -> int:
        return sum([len(page) async for page in log.pages(Span(0, await log.size()))])

    return run


async def main() -> None:
    """replay, replay.export."""
    async with bench() as place, hub_log(place) as hub:
        await hub.happen(CASES)
        await hub.sequence()
        stored = StoredLog(hub.database)
        peer = "reading the same entries without folding"
        await compare("replay", replaying(stored), peer, reading(stored))
        folder = place.directory / "export"
        await _export(hub, folder)
        exported = ExportedLog(Exported.open(folder))
        await compare("replay.export", replaying(exported), peer, reading(exported))


async def _export(hub: HubLog, folder: Path) -> None:
    (signer,) = [w for w in hub.service.workers if isinstance(w, CheckpointSigner)]
    await signer.step()
    origin = hub.service.app.state.signing.keys.origin

    async def everything(size: int) -> Selection:
        return Selection(size, 0, size)

    source = StoredExport(hub.database, origin)
    await Export(source, folder, Wanted({}, everything)).run([])
