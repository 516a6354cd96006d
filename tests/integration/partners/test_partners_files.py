"""A partner that exchanges files: requests laid down, answers collected, errors told."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from contracts.referrals import ReferralRequested
from tests.support.partners import (
    CANARY,
    PARTNER,
    SERVICE,
    Hub,
    call,
    register,
)
from tests.support.sftp import PASSWORD, Server, sftp_server


@dataclass
class Exchange:
    """A hub, a partner's file server, and one request that lies there."""

    hub: Hub
    server: Server
    referral: ReferralRequested

    async def answer(self, name: str, *lines: str) -> int:
        """Lay answers down and let them be collected."""
        text = "\r\n".join(["reference;statut;motif;commentaire", *lines])
        (self.server.root / "answers" / name).write_bytes(text.encode("utf-8-sig"))
        return await self.collect()

    async def collect(self) -> int:
        (ticker,) = [w for w in self.hub.service.workers if w.name == "files"]
        done: int = await ticker._step()  # type: ignore[attr-defined]
        return done

    async def statuses(self) -> list[str]:
        return [event["status"] for event in await self.hub.events("answer.received")]


_KEY = asyncssh.generate_private_key("ssh-ed25519")
HOST_KEY = _KEY.export_public_key().decode()
ENCRYPTED_KEY = _KEY.export_private_key("pkcs8-pem", passphrase="a pass phrase").decode()


def credentials(server: Server) -> dict[str, Any]:
    return {"host_key": server.host_key, "password": PASSWORD}


@pytest.fixture
async def exchange(hub: Hub, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with sftp_server(tmp_path / "sftp") as server:
        given = {"channel": "sftp", "credentials": credentials(server)}
        await register(hub, server.url, **given)
        referral = await hub.refer()
        await hub.hear()
        await hub.turn()
        yield Exchange(hub, server, referral)


async def test_request_lies_there_as_a_table_with_what_was_agreed(exchange: Exchange):
    (name,) = exchange.server.files()
    assert name.startswith("dlv_")
    text = (exchange.server.root / name).read_text("utf-8-sig")
    assert CANARY in text
    assert str(exchange.referral.referral_id) in text
    assert len(await exchange.hub.events("delivery.succeeded")) == 1


async def test_answer_laid_down_is_taken_and_moved_away(exchange: Exchange):
    assert await exchange.answer("a.csv", f"{exchange.referral.referral_id};acceptée") == 1
    assert await exchange.statuses() == ["accepted"]
    assert exchange.server.files("answers/taken") == ["a.csv", "a.csv.ack.csv"]
    told = (exchange.server.root / "answers/taken/a.csv.ack.csv").read_text("utf-8-sig")
    assert "2;enregistrée" in told
    assert await exchange.collect() == 0


@pytest.mark.parametrize("name", ["réponse du 3.CSV", "a b;c.csv", "=1.csv"])
async def test_answers_are_taken_from_a_table_of_any_name(exchange: Exchange, name: str):
    assert await exchange.answer(name, f"{exchange.referral.referral_id};acceptée") == 1
    assert await exchange.statuses() == ["accepted"]
    assert exchange.server.files("answers/taken") == sorted([name, f"{name}.ack.csv"])


async def test_what_cannot_be_an_answer_is_put_aside_with_the_reason_whatever_its_name(
    exchange: Exchange,
):
    answers = exchange.server.root / "answers"
    odd = {b"note.txt": b"x", b"caf\xe9.xlsx": b"x", b"sans nom": b""}
    for name, content in odd.items():
        path = os.path.join(os.fsencode(answers), name)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (0, 0))
    (answers / "large.csv").write_bytes(b"x" * (1024 * 1024 + 1))
    (answers / "being-written.csv.part").write_bytes(b"x")
    line = f"{exchange.referral.referral_id};acceptée"
    assert await exchange.answer("z.csv", line) == len(odd) + 2
    assert await exchange.statuses() == ["accepted"]
    aside = {os.fsencode(path.name) for path in (answers / "refused").iterdir()}
    assert aside == {n + end for n in [*odd, b"large.csv"] for end in (b"", b".ack.csv")}
    assert exchange.server.files("answers") == ["being-written.csv.part"]
    told = (answers / "refused/note.txt.ack.csv").read_text("utf-8-sig")
    assert "seuls les fichiers .csv sont lus" in told
    told = (answers / "refused/large.csv.ack.csv").read_text("utf-8-sig")
    assert "fichier de plus de 1 Mio" in told


async def test_acknowledgement_of_a_name_that_is_no_text_is_put_aside(exchange: Exchange):
    acknowledged = exchange.server.root / "acknowledged"
    acknowledged.mkdir()
    for name in (b"caf\xe9", *map(os.fsencode, exchange.server.files())):
        with open(os.path.join(os.fsencode(acknowledged), name), "wb"):
            pass
    await exchange.collect()
    assert [os.fsencode(p.name) for p in (acknowledged / "unknown").iterdir()] == [b"caf\xe9"]
    assert len(await exchange.hub.events("delivery.acknowledged")) == 1


async def test_file_that_comes_back_is_one_answer(exchange: Exchange):
    """As after a crash between taking it and moving it away."""
    line = f"{exchange.referral.referral_id};acceptée"
    await exchange.answer("a.csv", line)
    await exchange.answer("b.csv", line)
    assert await exchange.statuses() == ["accepted"]
    assert exchange.server.files("answers/taken") == [
        "a.csv", "a.csv.ack.csv", "b.csv", "b.csv.ack.csv",
    ]  # fmt: skip


async def test_line_that_cannot_be_taken_is_told_with_its_reason_and_stops_no_other(
    exchange: Exchange,
):
    other = await exchange.hub.refer()
    await exchange.hub.hear()
    await exchange.answer(
        "a.csv",
        "00000000-0000-4000-8000-000000000000;acceptée",
        f"{exchange.referral.referral_id};terminée",
        f"{other.referral_id};acceptée",
    )
    assert await exchange.statuses() == ["accepted"]
    assert exchange.server.files("answers/refused") == ["a.csv", "a.csv.ack.csv"]
    told = (exchange.server.root / "answers/refused/a.csv.ack.csv").read_text("utf-8-sig")
    assert "2;refusée;reference;référence inconnue" in told
    assert "3;refusée;resultat" in told
    assert "4;enregistrée" in told


async def test_partner_answers_for_no_other_partners_referral(exchange: Exchange):
    rows = await exchange.hub.rows(
        "SELECT partner_id, service_id FROM services WHERE partner_id <> $1 LIMIT 1", PARTNER
    )
    foreign = await exchange.hub.refer(rows[0]["partner_id"], rows[0]["service_id"])
    await exchange.hub.hear()
    await exchange.answer("a.csv", f"{foreign.referral_id};acceptée")
    assert await exchange.statuses() == []
    told = (exchange.server.root / "answers/refused/a.csv.ack.csv").read_text("utf-8-sig")
    assert "référence inconnue" in told


async def test_login_is_kept_sealed_and_shown_to_nobody(exchange: Exchange):
    listed = (await call(exchange.hub, "GET", "/v1/endpoints")).text
    assert PASSWORD not in listed
    rows = await exchange.hub.rows("SELECT * FROM endpoint_secrets")
    assert PASSWORD not in repr(rows)
    rows = await exchange.hub.rows("SELECT data::text FROM events")
    assert PASSWORD not in repr(rows)


async def test_server_that_is_away_is_waited_for(hub: Hub, tmp_path: Path):
    async with sftp_server(tmp_path / "sftp") as server:
        given = {"channel": "sftp", "credentials": credentials(server)}
        await register(hub, server.url, **given)
    exchange = Exchange(hub, server, await hub.refer())
    assert await exchange.collect() == 0


@pytest.mark.parametrize(
    ("url", "given", "field"),
    [
        ("sftp://user@127.0.0.1/box", {}, "credentials"),
        ("sftp://127.0.0.1/box", {"host_key": "x" * 30}, "url"),
        ("sftp://u:p@127.0.0.1/box", {"host_key": "x" * 30}, "url"),
        ("https://u@127.0.0.1/box", {"host_key": "x" * 30}, "url"),
        ("sftp://u@127.0.0.1/box", {"host_key": "x" * 30}, "credentials.host_key"),
        (
            "sftp://u@127.0.0.1/box",
            {"host_key": HOST_KEY, "private_key": ENCRYPTED_KEY},
            "credentials.private_key",
        ),
        (
            "sftp://u@127.0.0.1/box",
            {"host_key": HOST_KEY, "private_key": "x" * 30},
            "credentials.private_key",
        ),
    ],
)
async def test_address_that_cannot_be_is_refused_with_its_field(
    hub: Hub, url: str, given: dict[str, str], field: str
):
    body = {"partner_id": PARTNER, "service_ids": [SERVICE], "url": url, "channel": "sftp"}
    answer = await call(
        hub, "POST", "/v1/endpoints", json=body | ({"credentials": given} if given else {})
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "url",
    ["sftp://[", "sftp://a@[::1", "sftp://a@h:99999/x", "sftp://a@h:0x16/", "sftp://a@\u2100/",
     "sftp://a@h/%00", "sftp://a%0A@h/", "sftp://a@h/ x"],
)  # fmt: skip
async def test_address_that_cannot_be_read_names_the_field(hub: Hub, url: str):
    login = {"host_key": HOST_KEY, "password": "p"}
    body = {"partner_id": PARTNER, "url": url, "channel": "sftp", "credentials": login}
    answer = await call(hub, "POST", "/v1/endpoints", json=body)
    assert answer.status_code == 422, answer.text
    assert [e["field"] for e in answer.json()["errors"]] == ["url"]
