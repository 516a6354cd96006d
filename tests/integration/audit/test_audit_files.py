"""The log as plain files: what any web server serves is what the service serves."""

from pathlib import Path

import httpx2
import pytest

from infra.tlog import merkle, tiles
from infra.tlog.note import Checkpoint, Note
from infra.tlog.tilefiles import TileFiles
from infra.tlog.tiles import Tile
from tests.support.audit_log import Hub, audit_hub, client_of, plain
from tests.support.postgres import Databases

ORIGIN = "aiguillage.local/log"


@pytest.fixture
def root(databases: Databases) -> Path:
    return databases.directory / "log" / "aiguillage.local" / "log"


def listed(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


async def grown(hub: Hub, count: int) -> None:
    """More entries, signed and published."""
    await hub.append(
        "intake", f"s-{await hub.rows('SELECT count(*) FROM entries')}", plain(count)
    )
    await hub.read_all()
    await hub.signer.step()
    await hub.publish()


def size_of(root: Path) -> int:
    return Checkpoint.parse(Note.parse((root / "checkpoint").read_bytes()).text).size


async def test_the_files_are_those_of_the_specification_and_what_the_service_serves(
    hub: Hub, root: Path
) -> None:
    await grown(hub, 700)
    expected = tiles.tiles_for(700)
    assert listed(root) == {"checkpoint", *(tile.path for tile in expected)}
    async with client_of(hub) as client:
        for path in listed(root):
            answer = await client.get(f"/{path}", headers={"authorization": ""})
            assert answer.content == (root / path).read_bytes(), path
    read = tiles.reader(700, lambda t: tiles.decode_tile((root / t.path).read_bytes()))
    assert merkle.root_at(700, read) == merkle.root_of(await hub.leaf_hashes())
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in root.rglob("*") if p.is_file())


async def test_partial_tiles_go_when_full_ones_are_there(hub: Hub, root: Path) -> None:
    for count in (100, 100, 100):
        await grown(hub, count)
    assert listed(root) == {
        "checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1",
    }  # fmt: skip


async def test_every_published_size_keeps_its_partial_tiles_until_then(
    hub: Hub, root: Path
) -> None:
    await grown(hub, 10)
    await grown(hub, 20)
    assert {"tile/0/000.p/10", "tile/0/000.p/30"} <= listed(root)


@pytest.mark.parametrize("at", range(3))
async def test_a_publisher_stopped_at_any_file_goes_on_and_shows_nothing_half(
    hub: Hub, root: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grown(hub, 100)
    await hub.append("intake", "s-2", plain(200))
    await hub.read_all()
    await hub.signer.step()
    written: list[Tile] = []
    whole = TileFiles.write

    def write(files: TileFiles, tile: Tile, data: bytes) -> None:
        if len(written) == at:
            raise OSError(28, "No space left on device")
        written.append(tile)
        whole(files, tile, data)

    with monkeypatch.context() as patch:
        patch.setattr(TileFiles, "write", write)
        with pytest.raises(OSError, match="No space"):
            await hub.publish()
    assert size_of(root) == 100
    assert await hub.publish() == 3 - at + 1
    assert size_of(root) == 300
    assert "tile/0/000.p" not in {Path(p).parent.as_posix() for p in listed(root)}
    read = tiles.reader(300, lambda t: tiles.decode_tile((root / t.path).read_bytes()))
    assert merkle.root_at(300, read) == merkle.root_of(await hub.leaf_hashes())


async def test_what_is_published_is_never_taken_back_or_contradicted(
    hub: Hub, root: Path
) -> None:
    await grown(hub, 50)
    before = (root / "checkpoint").read_bytes()
    await hub.tamper("UPDATE audit.entries SET leaf_hash = sha256('x') WHERE idx = 7")
    await hub.append("intake", "s-2", plain(5))
    await hub.read_all()
    keys = hub.signing.keys
    forged = Checkpoint(keys.origin, 55, bytes(32))
    await hub.tamper(
        "INSERT INTO audit.checkpoints VALUES ($1, 55, $2, $3, now())",
        keys.origin, forged.root, keys.sign(forged.body()),
    )  # fmt: skip
    with pytest.raises(merkle.ProofError):
        await hub.publish()
    assert (root / "checkpoint").read_bytes() == before


async def test_nothing_new_writes_nothing(hub: Hub, root: Path) -> None:
    assert await hub.publish() == 0
    await grown(hub, 5)
    assert await hub.publish() == 0


async def test_files_can_be_switched_off(databases: Databases) -> None:
    async with audit_hub(databases, log_directory="") as hub:
        await hub.fill(5)
        assert [w.name for w in hub.service.workers if w.name == "log-files"] == []
    assert not (databases.directory / "log").exists()


@pytest.mark.parametrize(
    ("origin", "path"),
    [
        ("town.example/log", "town.example/log"),
        ("../../etc", "%2E%2E/%2E%2E/etc"),
        ("/absolute", "%/absolute"),
        ("a b/é", "a%20b/%C3%A9"),
    ],
)
def test_no_origin_leads_out_of_the_directory(tmp_path: Path, origin: str, path: str) -> None:
    assert TileFiles(tmp_path, origin).directory == tmp_path / path


async def test_the_service_answers_as_the_specification_asks(hub: Hub) -> None:
    await grown(hub, 300)
    async with (
        client_of(hub) as client,
        httpx2.AsyncClient(transport=client._transport, base_url="http://audit") as anybody,
    ):
        head = await anybody.head("/checkpoint")
        assert (head.status_code, head.headers["cache-control"]) == (200, "public, max-age=1")
        assert head.headers["content-type"] == "text/plain; charset=utf-8"
        tile = await anybody.head("/tile/0/001.p/44")
        assert (tile.status_code, tile.headers["content-length"]) == (200, str(44 * 32))
        assert (await anybody.head("/tile/0/001.p/45")).status_code == 404
        for coding, packed in (("gzip", True), ("br, gzip;q=0.5", True), ("identity", False),
                               ("gzip;q=0", False), ("", False)):  # fmt: skip
            headers = {"accept-encoding": coding}
            bundle = await client.get("/tile/entries/000", headers=headers)
            assert ("content-encoding" in bundle.headers) is packed, coding
            assert bundle.headers["vary"] == "accept-encoding, authorization"
            assert len(tiles.decode_bundle(bundle.content)) == 256
            hashes = await anybody.get("/tile/0/000", headers=headers)
            assert "content-encoding" not in hashes.headers
