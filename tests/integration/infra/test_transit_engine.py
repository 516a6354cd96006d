"""The transit engine: what it answers, and what we make of it when it does not."""

import asyncio
import traceback
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from infra.keys.master_key import KeyUnavailableError
from infra.keys.transit import TransitProvider
from infra.postgres.database import is_infrastructure
from tests.support.hostile import Authority
from tests.support.transit import Engine, Key, simulated

TOO_OLD = "ciphertext or signature version is disallowed by policy (too old)"


async def test_engine_answers_as_the_simulator_was_written_from_the_real_one(
    transit_engine: Engine,
):
    name = await transit_engine.new_key()

    async def said(path: str, **given: Any) -> Any:
        status, body = await transit_engine.ask("POST", f"transit/{path}", **given)
        return status if status == 200 else (status, body["errors"])

    async def wrapped() -> str:
        _, body = await transit_engine.ask("POST", f"transit/datakey/wrapped/{name}", bits=256)
        assert "plaintext" not in body["data"]
        text: str = body["data"]["ciphertext"]
        return text

    keys, decrypt = f"keys/{name}", f"decrypt/{name}"
    unset = "minimum available version cannot be set when minimum encryption version is not set"
    low = "min decryption version should not be less then min available version"
    first = await wrapped()
    assert first.startswith("vault:v1:")
    assert await said(f"{keys}/rotate") == 200
    second = await wrapped()
    assert second.startswith("vault:v2:")
    assert await said(decrypt, ciphertext=first) == 200
    assert await said(f"{keys}/trim", min_available_version=2) == (400, [unset])
    both = {"min_decryption_version": 2, "min_encryption_version": 2}
    assert await said(f"{keys}/config", **both) == 200
    assert await said(decrypt, ciphertext=first) == (400, [TOO_OLD])
    assert await said(f"{keys}/trim", min_available_version=2) == 200
    assert await said(f"{keys}/trim", min_available_version=2) == 200
    assert await said(f"{keys}/config", **both) == 200
    assert await said(f"{keys}/config", min_decryption_version=1) == (400, [low])
    assert await said(decrypt, ciphertext=first) == (400, [TOO_OLD])
    assert await said(decrypt, ciphertext=second) == 200
    assert (await said(decrypt, ciphertext="garbage"))[0] == 400
    assert await said("keys/none/rotate") == (400, ["key not found"])
    assert await said("decrypt/none", ciphertext=second) == (400, ["encryption key not found"])
    status, _ = await transit_engine.ask("POST", "nowhere/decrypt/x", ciphertext=second)
    assert status == 404


async def test_we_never_ask_for_the_key_in_clear_when_it_is_made(tmp_path: Path):
    async with simulated(tmp_path) as engine:
        name = await engine.new_key()
        engine.calls.clear()
        await TransitProvider(engine.transit(name)).create(2)
        assert engine.calls == [f"keys/{name}/rotate", f"datakey/wrapped/{name}"]


async def test_destroyed_version_is_gone_even_for_who_may_everything(transit_engine: Engine):
    name = await transit_engine.new_key()
    provider = TransitProvider(transit_engine.transit(name))
    first = await provider.create(1)
    await provider.create(2)
    await provider.destroy(1, first)
    status, _ = await transit_engine.ask(
        "POST", f"transit/keys/{name}/config", min_decryption_version=1
    )
    assert status == 400
    _, shown = await transit_engine.ask("GET", f"transit/keys/{name}")
    assert shown["data"]["min_available_version"] == 2


async def refused(provider: TransitProvider) -> KeyUnavailableError:
    """What ``open`` raises: an error to wait for, and to tell."""
    with pytest.raises(KeyUnavailableError) as failed:
        await provider.open(1, b"vault:v1:" + b"A" * 80)
    assert is_infrastructure(failed.value)
    return failed.value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token": "s.canary-of-a-wrong-token"}, "the token is refused"),
        ({"mount": "elsewhere"}, "nothing is mounted there"),
        ({"key": "no-such-key"}, "no such key"),
        ({"url": "http://vault.example"}, "must begin with https://"),
        ({"url": "http://127.0.0.1.example"}, "must begin with https://"),
        ({"token_file": Path("absent.token")}, "FileNotFoundError"),
        ({"ca_file": Path("absent.pem")}, "FileNotFoundError"),
    ],
)
async def test_what_is_wrong_is_said_in_our_words(
    transit_engine: Engine, given: dict[str, Any], said: str
):
    name = await transit_engine.new_key()
    error = await refused(TransitProvider(transit_engine.transit(**{"key": name} | given)))
    assert said in str(error)
    assert "canary" not in "".join(traceback.format_exception(error))


async def test_sealed_engine_is_waited_for(tmp_path: Path):
    async with simulated(tmp_path) as engine:
        engine.sealed = True
        assert "sealed" in str(await refused(TransitProvider(engine.transit("k"))))


async def test_engine_that_hangs_is_given_up(tmp_path: Path):
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with simulated(tmp_path) as engine:
        engine.reply = hang
        assert "Timeout" in str(
            await refused(TransitProvider(engine.transit("k", seconds=0.05)))
        )


@pytest.mark.parametrize(
    "body",
    [b"", b"not JSON", b"[]", b"null", b'{"data": null}', b'{"data": {"plaintext": 5}}',
     b'{"data": {"plaintext": "AAAA"}}', b'{"data": {"plaintext": "\xc3\xa9"}}',
     b'{"data": "' + b"x" * 100_000],
)  # fmt: skip
async def test_answer_that_is_not_the_engines_is_no_key(tmp_path: Path, body: bytes):
    async def reply(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with simulated(tmp_path) as engine:
        engine.reply = reply
        await refused(TransitProvider(engine.transit("k")))


async def test_redirect_is_not_followed_with_the_token(tmp_path: Path):
    async def reply(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("/v1/transit/elsewhere")

    async with simulated(tmp_path) as engine:
        engine.reply = reply
        await refused(TransitProvider(engine.transit("k")))
        assert engine.calls == ["decrypt/k"]


async def test_token_shows_in_no_error_whatever_the_other_side_sends(tmp_path: Path):
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    engine = Engine(url, "s.canary", tmp_path)
    provider = TransitProvider(engine.transit("k"))
    error = await refused(provider)
    server.close()
    assert error.__context__ is None
    assert "canary" not in "".join(traceback.format_exception(error)) + repr(provider)


@pytest.mark.parametrize("trusted", [True, False])
async def test_engine_is_known_by_the_authority_of_its_certificate(
    tmp_path: Path, trusted: bool
):
    authority, stranger = Authority.new(), Authority.new()
    async with simulated(tmp_path, authority.server(tmp_path)) as engine:
        engine.keys["k"] = Key()
        known = authority if trusted else stranger
        file = tmp_path / "ca.pem"
        file.write_bytes(known.certificate.public_bytes(serialization.Encoding.PEM))
        provider = TransitProvider(engine.transit("k", ca_file=file))
        if trusted:
            assert len(await provider.open(1, await provider.create(1))) == 32
            return
        with pytest.raises(KeyUnavailableError, match="Certificate"):
            await provider.create(1)
        assert engine.calls == []
