"""The signed log over HTTP: checkpoints, tiles, proofs, and the check of all of it."""

import base64
import random
from uuid import uuid4

import httpx2
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import FastAPI

from infra.tlog import merkle, tiles
from infra.tlog.export.layout import Selection
from infra.tlog.tiles import Tile
from services.audit.handlers.signing import RefusedToSignError, vkey
from tests.support.audit_log import Hub, client_of, plain, unbase64

SIZE = 700
NOBODY = "00000000-0000-4000-8000-000000000000"


async def fill(hub: Hub, count: int = SIZE) -> None:
    """Events of many streams, signed."""
    await hub.fill(count)


async def root_of(hub: Hub, size: int) -> bytes:
    return merkle.root_of((await hub.leaf_hashes())[:size])


async def test_the_checkpoint_is_verified_with_cryptography_alone(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await fill(hub, 35)
    answer = await client.get("/checkpoint", headers={"authorization": ""})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    body, _, signature = answer.text.partition("\n\n")
    name, _, key = vkey(hub.platform.settings).split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    dash, signed_by, value = signature.removesuffix("\n").split(" ")
    public.verify(base64.b64decode(value)[4:], f"{body}\n".encode())
    origin, size, root = body.split("\n")
    assert (dash, signed_by, origin, size) == ("—", name, name, "35")
    assert base64.b64decode(root) == await root_of(hub, 35)


async def test_an_empty_log_is_signed_too_and_nothing_is_signed_twice(hub: Hub) -> None:
    assert [await hub.signer.step() for _ in range(3)] == [True, False, False]
    await fill(hub, 5)
    assert not await hub.signer.step()
    rows = await hub.rows("SELECT size FROM checkpoints ORDER BY size")
    assert [row["size"] for row in rows] == [0, 5]


async def test_the_key_is_the_owners_alone_and_the_same_at_the_next_start(hub: Hub) -> None:
    path = hub.platform.settings.data / "log.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert vkey(hub.platform.settings) == vkey(hub.platform.settings)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM audit.entries WHERE idx = 690",
        "UPDATE audit.entries SET leaf_hash = sha256('x') WHERE idx = 699",
        "UPDATE audit.entries SET leaf_hash = sha256('x') WHERE idx = 700",
        "UPDATE audit.nodes SET hash = sha256('x') WHERE idx = 1",
        "UPDATE audit.checkpoints SET note = replace(convert_from(note, 'UTF8'), "
        "E'\\n700\\n', E'\\n699\\n')::bytea",
    ],
)
async def test_the_signer_refuses_a_log_that_was_changed(hub: Hub, change: str) -> None:
    await fill(hub)
    await hub.append("intake", "s-1", plain(3))
    await hub.read_all()
    await hub.tamper(change)
    with pytest.raises(RefusedToSignError, match="after 700 entries"):
        await hub.signer.step()
    assert len(await hub.rows("SELECT 1 FROM checkpoints")) == 1


@pytest.mark.parametrize("entries_since", [0, 10, 500])
async def test_the_signer_refuses_a_log_that_was_rolled_back(
    hub: Hub, entries_since: int
) -> None:
    await fill(hub, 100)
    (kept,) = await hub.rows("SELECT size, frontier FROM tree")
    await fill(hub, 400)
    await hub.tamper("DELETE FROM audit.entries WHERE idx >= $1", kept["size"])
    await hub.tamper("DELETE FROM audit.nodes")
    await hub.tamper("UPDATE audit.tree SET size = $1, frontier = $2", *kept)
    await hub.append("referrals", "s-new", plain(entries_since) or plain(1))
    if entries_since:
        await hub.read_all()
    with pytest.raises(RefusedToSignError):
        await hub.signer.step()


async def test_the_signer_goes_on_where_the_log_was_only_extended(hub: Hub) -> None:
    for count in (1, 5, 250, 10, 256, 300):
        await hub.append("intake", f"s-{uuid4()}", plain(count))
        await hub.read_all()
        assert await hub.signer.step()


async def test_tiles_and_bundles_alone_reproduce_the_signed_root(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await fill(hub)
    contents = {}
    for tile in tiles.tiles_for(SIZE):
        contents[tile] = tiles.decode_tile(await fetched(client, tile))
    leaves = [leaf for tile in contents if tile.level == 0 for leaf in contents[tile]]
    entries = []
    for bundle in Selection(SIZE, stop=SIZE).bundles():
        answer = await client.get(f"/{bundle.path}")
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        entries += tiles.decode_bundle(answer.content)
    assert [merkle.leaf_hash(entry) for entry in entries] == leaves
    root = merkle.root_at(SIZE, tiles.reader(SIZE, contents.__getitem__))
    assert root == merkle.root_of(leaves) == await root_of(hub, SIZE)


async def fetched(client: httpx2.AsyncClient, tile: Tile) -> bytes:
    answer = await client.get(f"/{tile.path}", headers={"authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    return answer.content


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/002.p/189",
        "tile/0/003",
        "tile/0/002",
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/entries/002.p/200",
        "tile/0/x000/001",
        "tile/nonsense",
        "tile/0/000.p/0",
    ],
)
async def test_what_is_no_tile_of_the_signed_log_is_not_found(
    hub: Hub, client: httpx2.AsyncClient, path: str
) -> None:
    await fill(hub)
    await hub.append("intake", "s-1", plain(100))
    await hub.read_all()
    answer = await client.get(f"/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (404, "No such tile")
    assert answer.headers["cache-control"] == "no-store"


async def test_any_entry_is_proven_to_be_in_any_signed_size(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await fill(hub)
    leaves = await hub.leaf_hashes()
    chance = random.Random(7)
    for _ in range(40):
        size = chance.randint(1, SIZE)
        index = chance.randrange(size)
        asked = {"index": index, "size": size}
        answer = (await client.get("/v1/proofs/inclusion", params=asked)).json()
        leaf, root = unbase64([answer["leaf_hash"], answer["root"]])
        assert (leaf, root) == (leaves[index], merkle.root_of(leaves[:size]))
        merkle.verify_inclusion(leaf, index, size, unbase64(answer["proof"]), root)


async def test_an_event_is_proven_under_the_newest_checkpoint(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await fill(hub, 30)
    (row,) = await hub.rows("SELECT event_id FROM entries WHERE idx = 17")
    asked = {"event_id": str(row["event_id"])}
    answer = (await client.get("/v1/proofs/inclusion", params=asked)).json()
    assert (answer["index"], answer["size"]) == (17, 30)
    assert answer["checkpoint"] == (await client.get("/checkpoint")).text


async def test_any_signed_size_is_proven_to_extend_any_smaller(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await fill(hub)
    chance = random.Random(8)
    for _ in range(40):
        old, new = sorted((chance.randint(0, SIZE), chance.randint(0, SIZE)))
        asked = {"from": old, "to": new}
        answer = (await client.get("/v1/proofs/consistency", params=asked)).json()
        roots = unbase64([answer["from_root"], answer["to_root"]])
        assert roots == [await root_of(hub, old), await root_of(hub, new)]
        merkle.verify_consistency(old, new, unbase64(answer["proof"]), *roots)


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/proofs/inclusion", 422, "event_id"),
        (f"/v1/proofs/inclusion?index=1&event_id={NOBODY}", 422, "event_id"),
        (f"/v1/proofs/inclusion?event_id={NOBODY}", 404, None),
        ("/v1/proofs/inclusion?event_id=x", 422, "event_id"),
        ("/v1/proofs/inclusion?index=30", 404, None),
        ("/v1/proofs/inclusion?index=-1", 422, "index"),
        ("/v1/proofs/inclusion?index=9223372036854775808", 422, "index"),
        ("/v1/proofs/inclusion?index=5&size=31", 422, "size"),
        ("/v1/proofs/inclusion?index=5&size=5", 422, "size"),
        ("/v1/proofs/consistency", 422, "from"),
        ("/v1/proofs/consistency?from=6&to=5", 422, "from"),
        ("/v1/proofs/consistency?from=5&to=31", 422, "to"),
        ("/v1/entries?limit=0", 422, "limit"),
        ("/v1/entries?limit=1001", 422, "limit"),
        ("/v1/entries?from=x", 422, "from"),
    ],
)
async def test_a_question_that_makes_no_sense_is_answered_with_the_field_at_fault(
    hub: Hub, client: httpx2.AsyncClient, path: str, status: int, field: str | None
) -> None:
    await fill(hub, 30)
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert [e["field"] for e in answer.json().get("errors", [])] == ([field] if field else [])


async def test_without_any_checkpoint_nothing_is_proven(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    for path in ("/checkpoint", "/tile/0/000", "/v1/proofs/consistency?from=0"):
        assert (await client.get(path)).status_code == 404
    described = (await client.get("/v1/log")).json()
    assert described["vkey"] == vkey(hub.platform.settings)
    assert (described["size"], described["signed_size"]) == (0, None)


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("adviser", "/v1/entries", 403),
        ("municipal", "/v1/entries", 403),
        ("adviser", "/tile/entries/000", 403),
        ("municipal", "/v1/payload/000", 403),
        ("municipal", f"/v1/persons/{NOBODY}/pathway", 403),
        ("adviser", f"/v1/persons/{NOBODY}/pathway", 404),
    ],
)
async def test_a_role_sees_only_what_it_may(
    hub: Hub, role: str, path: str, status: int
) -> None:
    async with client_of(hub, role) as client:
        assert (await client.get(path)).status_code == status
        assert (await client.get(path, headers={"authorization": ""})).status_code == 401


async def test_the_next_page_is_found_under_the_prefix_that_the_service_was_given(
    hub: Hub,
) -> None:
    await fill(hub, 25)
    async with client_of(hub) as client:
        whole = FastAPI()
        whole.mount("/audit", hub.service.app)
        headers = dict(client.headers)
        transport = httpx2.ASGITransport(whole)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://hub", headers=headers
        ) as mounted:
            first = (await mounted.get("/audit/v1/entries?limit=20")).json()
            rest = (await mounted.get(first["next"])).json()
    assert [item["idx"] for item in rest["entries"]] == [20, 21, 22, 23, 24]
    assert rest["next"] is None


async def test_entries_are_read_page_by_page_with_nothing_unsealed(
    hub: Hub, client: httpx2.AsyncClient
) -> None:
    await fill(hub, 25)
    path, items = "/v1/entries?from=3&limit=10", []
    while path:
        page = (await client.get(path)).json()
        items += page["entries"]
        path = page["next"]
    assert [item["idx"] for item in items] == list(range(3, 25))
    query = (
        "SELECT header, data::text, sealed, salt, sealed_salt, entry FROM entries WHERE idx = 4"
    )
    (row,) = await hub.rows(query)
    assert items[1]["data"] == row["data"]
    for name in ("sealed", "salt", "sealed_salt", "entry"):
        assert unbase64([items[1][name]]) == [row[name]]
    assert items[1]["header"].encode() == row["header"]
    assert orjson.loads(row["header"])["service"] == "intake"
