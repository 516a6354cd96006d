"""A partner whose server wants to know who we are: mutual TLS."""

import os
import shlex
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.delivery.ssrf_guard import Guard, parse_networks
from infra.delivery.webhook.sender import Sender
from tests.support import hostile as h
from tests.support.partners import PARTNER, SERVICE, Hub, call, register

OPEN = Guard(parse_networks("127.0.0.0/8"))


TRY = """
import sys
from infra.delivery.webhook.sender import ClientCertificate, client_context
try:
    client_context(ClientCertificate(*(open(path, "rb").read() for path in sys.argv[1:])))
except ValueError:
    print("refused")
"""


def encrypted(key: str) -> str:
    private = h.serialization.load_pem_private_key(key.encode(), None)
    return private.private_bytes(
        h.serialization.Encoding.PEM,
        h.serialization.PrivateFormat.PKCS8,
        h.serialization.BestAvailableEncryption(b"a pass phrase"),
    ).decode()


def test_encrypted_key_is_refused_also_on_a_terminal_that_could_be_asked(tmp_path: Path):
    certificate, key = h.Authority.new().pair()
    (tmp_path / "certificate").write_text(certificate)
    (tmp_path / "key").write_text(encrypted(key))
    (tmp_path / "try.py").write_text(TRY)
    names = (tmp_path / name for name in ("try.py", "certificate", "key"))
    command = shlex.join([sys.executable, *map(str, names)])
    # a terminal that stays open and silent: whoever asks it waits for ever
    silent, ours = os.pipe()
    try:
        done = subprocess.run(
            ["script", "--quiet", "--return", "--command", command, "/dev/null"],
            stdin=silent, capture_output=True, timeout=60, check=True, text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip
    finally:
        os.close(silent)
        os.close(ours)
    assert done.stdout.strip() == "refused"


async def takes(server: h.Hostile, reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def strict(authority: h.Authority, directory: Path) -> ssl.SSLContext:
    """A server that takes nobody without a certificate of its authority."""
    context = authority.server(directory)
    context.verify_mode = ssl.CERT_REQUIRED
    pem = authority.certificate.public_bytes(h.serialization.Encoding.PEM).decode()
    context.load_verify_locations(cadata=pem)
    return context


@pytest.mark.parametrize("shown", [True, False])
async def test_message_is_taken_from_who_shows_the_certificate_alone(
    hub: Hub, tmp_path: Path, shown: bool
):
    authority = h.Authority.new()
    certificate, key = authority.pair()
    given = {"certificate": certificate, "private_key": key}
    trusting = Sender(OPEN, deadline_seconds=5, tls=authority.trusted())
    hub.channels["webhook"].sender = trusting
    async with h.hostile(takes, strict(authority, tmp_path)) as server:
        await register(hub, server.url, **({"client_certificate": given} if shown else {}))
        await hub.refer()
        await hub.hear()
        await hub.turn()
        assert server.requests == (1 if shown else 0)
    (row,) = await hub.rows("SELECT state FROM deliveries")
    assert row["state"] == ("succeeded" if shown else "pending")


async def test_certificate_is_kept_sealed_and_shown_to_nobody(hub: Hub):
    certificate, key = h.Authority.new().pair()
    given = {"certificate": certificate, "private_key": key}
    answer = await register(hub, "http://127.0.0.1:9/hook", client_certificate=given)
    assert "client_certificate" not in answer
    secret = key.splitlines()[1]
    assert secret not in (await call(hub, "GET", "/v1/endpoints")).text
    assert secret not in repr(await hub.rows("SELECT * FROM endpoint_secrets"))


@pytest.mark.parametrize("kind", ["expired", "mismatched", "garbage", "encrypted"])
async def test_certificate_that_cannot_serve_is_refused_at_once(hub: Hub, kind: str):
    authority = h.Authority.new()
    certificate, key = authority.pair()
    if kind == "expired":
        certificate, key = authority.pair(begins=-40)
    elif kind == "mismatched":
        _, key = authority.pair()
    elif kind == "encrypted":
        key = encrypted(key)
    else:
        certificate = "-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----"
    answer = await call(
        hub, "POST", "/v1/endpoints",
        json={
            "partner_id": PARTNER, "service_ids": [SERVICE], "url": "http://127.0.0.1:9/x",
            "client_certificate": {"certificate": certificate, "private_key": key},
        },
    )  # fmt: skip
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "client_certificate"
    assert key.splitlines()[1] not in answer.text
