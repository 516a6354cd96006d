"""Witnesses cosign the log, over HTTP; none of them ever holds it up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from prometheus_client import REGISTRY

from infra.tlog import merkle
from infra.tlog.note import ML_DSA_44, Checkpoint, Note, VKey, open_checkpoint
from infra.tlog.policy import Policy
from infra.tlog.proof import Proof
from infra.tlog.signers import Cosigner
from infra.tlog.witness import Submission
from services.audit.handlers.signing import vkey
from services.audit.handlers.witnessing import ContradictedError, NotCosignedError
from tests.support.audit_log import Hub, audit_hub, client_of, plain
from tests.support.postgres import Databases
from tests.support.tlog import LOG, checkpoint, note_at, witness_key
from tests.support.witnesses import Scripted, Town, serving, town


@asynccontextmanager
async def witnessed(
    databases: Databases, *lines: str, quorum: str = "none"
) -> AsyncIterator[Hub]:
    """A hub with this policy."""
    path = databases.directory / "policy"
    path.write_text("".join(f"{line}\n" for line in (*lines, f"quorum {quorum}")))
    async with audit_hub(databases, log_policy=path) as hub:
        yield hub


@pytest.fixture
async def towns(databases: Databases, tmp_path: Path) -> AsyncIterator[list[Town]]:
    """Three witnesses of the hub's log."""
    async with audit_hub(databases) as hub:
        log = VKey.parse(vkey(hub.platform.settings))
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                town(tmp_path / name, f"{name}.example/witness", [log])
            )
            for name in ("a", "b", "c")
        ]


async def served_checkpoint(hub: Hub) -> bytes:
    async with client_of(hub) as client:
        return (await client.get("/checkpoint")).content


async def more(hub: Hub, count: int) -> None:
    await hub.append("intake", f"s-{uuid4()}", plain(count))
    await hub.read_all()
    await hub.signer.step()


async def test_a_checkpoint_is_cosigned_served_and_proven_to_a_quorum(
    databases: Databases, towns: list[Town]
) -> None:
    lines = [t.line(n) for t, n in zip(towns, "abc", strict=True)]
    group = "group two 2 a b c"
    async with witnessed(databases, *lines, group, quorum="two") as hub:
        await hub.fill(300)
        policy = Policy.parse(
            "\n".join([f"log {vkey(hub.platform.settings)}", *lines, group, "quorum two", ""])
            .encode()
        )  # fmt: skip
        assert "has 0 of the 2" in policy.assess(await served_checkpoint(hub)).reason
        await hub.tick("witness-a")
        assert "has 1 of the 2" in policy.assess(await served_checkpoint(hub)).reason
        await hub.tick("witness-c")
        assert policy.assess(await served_checkpoint(hub)).cosigned_by == ("a", "c")
        (row,) = await hub.rows("SELECT event_id, entry FROM entries WHERE idx = 123")
        await more(hub, 7)
        async with client_of(hub) as client:
            answer = await client.get(
                f"/v1/proofs/{row['event_id']}.tlog-proof", headers={"authorization": ""}
            )
            said = (await client.get("/v1/log")).json()["witnesses"]
        proof = Proof.parse(answer.content)
        assert proof.check(row["entry"], policy) == (
            "entry 123 of 300 in aiguillage.local/log: signed by the log, cosigned by a, c"
        )
        assert proof.extra == row["entry"]
        assert [(w["name"], w["size"], w["alarm"]) for w in said] == [
            ("a", 300, None), ("b", None, None), ("c", 300, None)
        ]  # fmt: skip
        await hub.publish()
        await hub.tick("witness-b")
        await hub.publish()
        published = next(databases.directory.glob("log/**/checkpoint")).read_bytes()
        assert published == await served_checkpoint(hub)
        assert "has 1 of the 2" in policy.assess(published).reason


async def test_without_the_quorum_the_newest_checkpoint_proves_what_it_can(
    databases: Databases, towns: list[Town]
) -> None:
    async with witnessed(databases, towns[0].line("a"), quorum="a") as hub:
        await hub.fill(10)
        (row,) = await hub.rows("SELECT event_id, entry FROM entries WHERE idx = 3")
        async with client_of(hub) as client:
            answer = await client.get(f"/v1/proofs/{row['event_id']}.tlog-proof")
        trusted = Policy.of_logs([VKey.parse(vkey(hub.platform.settings))])
        assert (
            Proof.parse(answer.content).check(row["entry"], trusted).startswith("entry 3 of 10")
        )


async def test_what_is_not_under_a_signature_has_no_proof_file(hub: Hub) -> None:
    await hub.fill(5)
    (logged,) = await hub.append("intake", "s-1", plain(1))
    async with client_of(hub) as client:
        for event in (logged.event_id, uuid4()):
            assert (await client.get(f"/v1/proofs/{event}.tlog-proof")).status_code == 404
        await hub.read_all()
        assert (await client.get(f"/v1/proofs/{logged.event_id}.tlog-proof")).status_code == 404
        await hub.signer.step()
        answer = await client.get(f"/v1/proofs/{logged.event_id}.tlog-proof")
        assert (answer.status_code, answer.headers["content-type"]) == (
            200, "text/plain; charset=utf-8"
        )  # fmt: skip
        assert (await client.get("/v1/proofs/nonsense.tlog-proof")).status_code == 422


async def test_a_witness_far_behind_or_unknown_to_us_is_brought_up(
    databases: Databases, towns: list[Town]
) -> None:
    async with witnessed(databases, towns[0].line("a")) as hub:
        await hub.fill(20)
        await hub.tick("witness-a")
        for count in (30, 5, 260):
            await more(hub, count)
        assert await hub.tick("witness-a") == 0
        await hub.tamper("DELETE FROM audit.signatures")  # we forget where it stands: 409
        await more(hub, 5)
        await hub.tick("witness-a")
        sizes = await hub.rows("SELECT size FROM signatures ORDER BY size")
        assert [row["size"] for row in sizes] == [320]
        assert REGISTRY.get_sample_value("aiguillage_witness_size", {"witness": "a"}) == 320


async def test_an_idle_log_asks_nobody(databases: Databases, towns: list[Town]) -> None:
    async with witnessed(databases, towns[0].line("a")) as hub:
        assert await hub.tick("witness-a") == 0
        await hub.fill(5)
        await hub.tick("witness-a")
        kept = (towns[0].directory).rglob("checkpoint")
        before = [path.read_bytes() for path in kept]
        await hub.tick("witness-a")
        assert [p.read_bytes() for p in towns[0].directory.rglob("checkpoint")] == before


async def test_a_rolled_back_log_is_found_out_by_its_witness(
    databases: Databases, towns: list[Town]
) -> None:
    """Where every memory of ours went back together, a witness still knows."""
    async with witnessed(databases, towns[0].line("a")) as hub:
        await hub.fill(20)
        (tree,) = await hub.rows("SELECT size, frontier FROM tree")
        await more(hub, 5)
        await hub.tick("witness-a")
        await hub.tamper("DELETE FROM audit.signatures")
        await hub.tamper("DELETE FROM audit.checkpoints WHERE size = 25")
        await hub.tamper("DELETE FROM audit.entries WHERE idx >= 20")
        await hub.tamper("UPDATE audit.tree SET size = $1, frontier = $2", *tree)
        with pytest.raises(ContradictedError, match="cosigned 25 entries, we have 20"):
            await hub.tick("witness-a")
        async with client_of(hub) as client:
            alarms = (await client.get("/readyz")).json()["alarms"]
        assert [(a["kind"], a["subject"], a["detail"]) for a in alarms] == [
            ("witness-contradicts", "a", "it has cosigned 25 entries, we have 20")
        ]


async def test_signing_goes_on_while_witnesses_hang_or_are_away(databases: Databases) -> None:
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # until the hub gives up
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    lines = [
        f"witness {name} {witness_key(number).vkey.encode()} http://127.0.0.1:{reached}"
        for name, number, reached in (("away", 1, 1), ("hangs", 2, port))
    ]
    async with witnessed(databases, *lines) as hub:
        hub.service._stop_seconds = 0.2
        async with hub.service.running():
            for size in (7, 14):
                await hub.append("intake", f"s-{size}", plain(7))
                async with asyncio.timeout(30):
                    while not await hub.rows("SELECT 1 FROM checkpoints WHERE size = $1", size):
                        await asyncio.sleep(0.05)
                    await asked.wait()
            assert hub.service.stuck() == []
    server.close()


def line_for(hub_note: bytes, signer: Any) -> str:
    return str(signer.signature(Note.parse(hub_note).text).line())


TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"


@pytest.mark.parametrize(
    ("answers", "error", "why"),
    [
        ([(403, TEXT, "no\n")], NotCosignedError, "answered 403"),
        ([(404, TEXT, "no\n")], NotCosignedError, "answered 404"),
        ([(500, TEXT, "no\n")], NotCosignedError, "answered 500"),
        ([(307, TEXT, "")], NotCosignedError, "answered 307"),
        ([(422, TEXT, "no\n")], ContradictedError, "does not extend"),
        ([(409, SIZE, "12\n")], ContradictedError, "cosigned 12 entries, we have 10"),
        ([(409, SIZE, "5\n"), (422, TEXT, "")], ContradictedError, "does not extend"),
        ([(409, SIZE, "5\n"), (409, SIZE, "5\n")], NotCosignedError, "answered 409"),
        ([(409, TEXT, "5\n")], NotCosignedError, "without a size"),
        ([(409, SIZE, "5")], NotCosignedError, "without a size"),
        ([(409, SIZE, "05\n")], NotCosignedError, "without a size"),
        ([(409, SIZE, "-5\n")], NotCosignedError, "without a size"),
        ([(409, SIZE, "9" * 5000)], NotCosignedError, "without a size"),
        ([(200, TEXT, "")], NotCosignedError, "does not hold"),
        ([(200, TEXT, "nonsense\n")], NotCosignedError, "does not hold"),
        ([(200, TEXT, "x" * 100_000)], NotCosignedError, "BodyTooLargeError"),
        ([(200, TEXT, "stranger")], NotCosignedError, "without a cosignature of its own"),
        ([(200, TEXT, "wrong")], NotCosignedError, "does not hold"),
        ([(200, TEXT, "timeless")], NotCosignedError, "without a cosignature of its own"),
    ],
)
async def test_an_answer_that_is_no_cosignature_is_kept_by_nobody(
    databases: Databases, answers: list[tuple[int, str, str]], error: type[Exception], why: str
) -> None:
    key, other = witness_key(1, ML_DSA_44), witness_key(2)
    timeless = Cosigner(
        key.vkey.name,
        (1).to_bytes(32, "big"),
        ML_DSA_44,
        lambda: datetime(1970, 1, 1, tzinfo=UTC),
    )
    made = {
        "stranger": lambda note: line_for(note, other),
        "wrong": lambda note: key.signature(checkpoint(3).body()).line(),
        "timeless": lambda note: line_for(note, timeless),
    }
    script = Scripted([])
    async with serving(script.app) as url:
        lines = [f"witness w {key.vkey.encode()} {url}"]
        async with witnessed(databases, *lines) as hub:
            await hub.fill(10)
            note = await served_checkpoint(hub)
            script.answers = [(s, k, made[b](note) if b in made else b) for s, k, b in answers]
            with pytest.raises(error, match=why):
                await hub.tick("witness-w")
            assert await hub.rows("SELECT 1 FROM signatures") == []
            cosigner = hub.service.app.state.witnesses.all[0]
            assert (cosigner.alarm is not None) is (error is ContradictedError)
            script.answers = [(200, TEXT, line_for(note, other) + line_for(note, key))]
            await hub.tick("witness-w")
            assert cosigner.alarm is None
            rows = await hub.rows("SELECT name FROM signatures")
            assert [row["name"] for row in rows] == [key.vkey.name]


async def test_two_keys_of_a_witness_at_one_address_cost_one_request(
    databases: Databases,
) -> None:
    """Every line is taken; a key that it does not have is not asked for again and again."""
    keys = [witness_key(1), witness_key(1, ML_DSA_44), witness_key(2)]
    script = Scripted([])
    async with serving(script.app) as url:
        lines = [f"witness k{n} {k.vkey.encode()} {url}" for n, k in enumerate(keys)]
        lines[1] += "/"
        async with witnessed(databases, *lines) as hub:
            await hub.fill(10)
            note = await served_checkpoint(hub)
            both = line_for(note, keys[0]) + line_for(note, keys[1])
            script.answers = [(200, TEXT, both)]
            for _ in range(3):
                await hub.tick("witness-k0+k1+k2")
            assert len(script.asked) == 1
            rows = await hub.rows("SELECT key_id FROM signatures")
            assert {row["key_id"] for row in rows} == {key.vkey.key_id for key in keys[:2]}
            async with client_of(hub) as client:
                said = (await client.get("/v1/log")).json()["witnesses"]
            assert [(w["name"], w["size"]) for w in said] == [
                ("k0", 10), ("k1", 10), ("k2", None)
            ]  # fmt: skip


async def test_a_submission_bears_the_log_s_signatures_and_a_proof_that_holds(
    databases: Databases, towns: list[Town]
) -> None:
    script = Scripted([(409, SIZE, "4\n"), (500, TEXT, "")])
    key = witness_key(1)
    async with serving(script.app) as url:
        lines = [f"witness w {key.vkey.encode()} {url}/", towns[0].line("a")]
        async with witnessed(databases, *lines) as hub:
            await hub.fill(10)
            await hub.tick("witness-a")
            with pytest.raises(NotCosignedError):
                await hub.tick("witness-w")
            first, second = map(Submission.parse, script.asked)
            assert (first.old, first.proof, second.old) == (0, [], 4)
            root = merkle.root_of(await hub.leaf_hashes())
            old = merkle.root_of((await hub.leaf_hashes())[:4])
            merkle.verify_consistency(4, 10, second.proof, old, root)
            (signature,) = Note.parse(second.note).signatures
            assert signature.name == hub.signing.keys.origin


async def test_our_witness_answers_over_http_as_the_specification_asks(tmp_path: Path) -> None:
    async with (
        town(tmp_path, "w.example", [LOG.vkey], ml_dsa=True) as served,
        aiohttp.ClientSession() as session,
    ):
        home = sha256(LOG.vkey.name.encode()).hexdigest()

        async def post(body: bytes) -> tuple[int, str, str]:
            async with session.post(f"{served.url}/add-checkpoint", data=body) as answer:
                return answer.status, answer.headers["content-type"], await answer.text()

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"{served.url}/{path}") as answer:
                return answer.status, await answer.text()

        assert (await get(f"{home}/checkpoint"))[0] == 404
        status, kind, body = await post(b"old 0\n\n" + note_at(3))
        assert (status, kind, body.count("\n")) == (200, "text/plain; charset=utf-8", 2)
        vkeys = [signer.vkey for signer in served.signers]
        whole = f"{checkpoint(3).body()}\n{body}".encode()
        for key in vkeys:
            assert open_checkpoint(whole, [key], LOG.vkey.name) == checkpoint(3)
        assert await post(b"old 0\n\n" + note_at(4)) == (409, "text/x.tlog.size", "3\n")
        assert (await post(b"old 4\n\n" + note_at(3)))[0] == 400
        assert (await post(b"x" * 600_000))[0] == 413
        status, note = await get(f"{home}/checkpoint")
        assert status == 200
        assert open_checkpoint(note.encode(), [LOG.vkey, *vkeys], LOG.vkey.name) == checkpoint(
            3
        )
        async with session.get(f"{served.url}/add-checkpoint") as answer:
            assert answer.status == 405


async def test_a_damaged_witness_answers_500_and_no_more(tmp_path: Path) -> None:
    async with (
        town(tmp_path, "w.example", [LOG.vkey]) as served,
        aiohttp.ClientSession() as session,
    ):
        url = f"{served.url}/add-checkpoint"
        async with session.post(url, data=b"old 0\n\n" + note_at(3)) as answer:
            assert answer.status == 200
        next(tmp_path.rglob("checkpoint")).write_bytes(b"nonsense")
        async with session.post(url, data=b"old 3\n\n" + note_at(3)) as answer:
            assert (answer.status, await answer.text()) == (
                500, "the witness cannot answer now\n"
            )  # fmt: skip


async def test_a_forked_log_gets_a_cosignature_on_one_side_only(
    databases: Databases, towns: list[Town]
) -> None:
    async with witnessed(databases, towns[0].line("a")) as hub:
        await hub.fill(10)
        await hub.tick("witness-a")
        keys = hub.signing.keys
        fork = keys.sign(Checkpoint(keys.origin, 10, bytes(32)).body())
        async with aiohttp.ClientSession() as session:
            body = Submission(10, [], fork).format()
            async with session.post(f"{towns[0].url}/add-checkpoint", data=body) as answer:
                assert answer.status == 422
        (evidence,) = towns[0].directory.rglob("fork-10-*")
        assert evidence.read_bytes() == fork
