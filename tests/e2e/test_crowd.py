"""A crowd of strangers before the door: normal callers are served, and memory stays flat."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import orjson
import pytest

from infra.base.settings import load_settings
from services.audit.handlers.signing import vkey
from services.hub.demo.day import demo_environment
from services.hub.demo.processes import Child, Hub
from tests.e2e.hubs import contact, emit

CROWD = 500
MIB = 1024 * 1024
NOBODY = {"authorization": "Bearer agk_nobody"}
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))
sys.argv[0] = "aiguillage"
runpy.run_module("services.hub.cli.main", run_name="__main__")
"""


def limited(most: int, *arguments: str) -> list[str]:
    """`aiguillage …` under `ulimit -n`."""
    return ["-c", LIMITED.format(most=most), *arguments, "--port", "0", "--json"]


@asynccontextmanager
async def limited_hub(directory: str) -> AsyncIterator[Hub]:
    """A hub whose process may have 400 files open."""
    arguments = limited(400, "up", "--data", f"{directory}/data")
    child = Child("hub", arguments, Path(directory) / "log", demo_environment())
    address = orjson.loads(await child.start())
    made = Hub(address, {"hub": child}, aiohttp.ClientSession())
    yield made
    await made.stop()


@pytest.fixture(scope="module")
async def hub() -> AsyncIterator[Hub]:
    with TemporaryDirectory(prefix="aiguillage-crowd-") as directory:
        async with limited_hub(directory) as made:
            yield made


@asynccontextmanager
async def crowd(url: str, said: bytes) -> AsyncIterator[None]:
    """So many connections that say something slow, and go on saying it."""
    at = urlsplit(url)
    writers: list[asyncio.StreamWriter] = []

    async def one() -> None:
        _, writer = await asyncio.open_connection(at.hostname, at.port)
        writers.append(writer)
        writer.write(said)
        while not writer.is_closing():
            await asyncio.sleep(1)
            writer.write(b"x")

    tasks = [asyncio.create_task(one()) for _ in range(CROWD)]
    try:
        while len(writers) < CROWD:
            await asyncio.sleep(0.05)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def status(url: str, **given: object) -> int:
    """What a caller with a connection of its own is answered."""
    async with aiohttp.request("GET", url, **given) as answer:  # type: ignore[arg-type]
        return answer.status


def slow(path: str, kind: str = "application/json") -> bytes:
    """A request whose body never comes."""
    head = f"POST {path} HTTP/1.1\r\nhost: hub\r\ncontent-type: {kind}\r\n"
    return (head + "content-length: 999\r\n\r\n").encode()


@pytest.mark.parametrize(
    "said",
    [
        b"GET /intake/livez HTTP/1.1\r\nhost: ",
        slow("/intake/v1/events"),
        slow("/partners/v1/answers"),
        slow("/partners/r/" + "t" * 43 + "/answer", "application/x-www-form-urlencoded"),
        b"GET /referrals/livez HTTP/1.1\r\nhost: hub\r\n\r\n",
        b"",
    ],
    ids=["head", "key", "signature", "link", "idle", "silent"],
)
async def test_five_hundred_slow_connections_keep_nobody_out(hub: Hub, said: bytes):
    async with crowd(hub.address["intake"], said):
        for _ in range(5):
            for name in ("intake", "referrals", "partners", "audit"):
                assert await status(f"{hub.address[name]}/livez") == 200
                assert await status(f"{hub.address[name]}/readyz") == 200
            await emit(hub, contact(str(uuid4()), uuid4().int))


def memory(child: Child) -> int:
    """The most that a process ever had in memory, in bytes."""
    assert child.process is not None
    lines = Path(f"/proc/{child.process.pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def endless(size: int) -> AsyncIterator[bytes]:
    """So many bytes, a MiB at a time, without a length that is said before."""
    for _ in range(size // MIB):
        yield b" " * MIB


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "role", "code"),
    [
        ("intake/v1/events", None, 401),
        ("intake/v1/events", "municipal", 413),
        ("intake/v1/duplicates/dismiss", None, 401),
        ("intake/v1/duplicates/dismiss", "adviser", 413),
        ("referrals/v1/proposals/x/choose", None, 401),
        ("referrals/v1/proposals/x/choose", "adviser", 413),
        ("partners/v1/directory/import", None, 401),
        ("partners/v1/directory/import", "adviser", 403),
        ("partners/v1/directory/import", "partner_admin", 413),
        ("partners/v1/answers", None, 413),
        ("audit/v1/persons/x/unmask", None, 401),
        ("audit/v1/persons/x/unmask", "auditor", 413),
    ],
)
async def test_a_body_of_256_mib_is_refused_in_flat_memory(
    hub: Hub, path: str, role: str | None, code: int, chunked: bool
):
    before = memory(hub.children["hub"])
    key = hub.address["keys"][role] if role else "agk_nobody"
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    if not chunked:
        headers["content-length"] = str(256 * MIB)
    url = hub.address["intake"].removesuffix("intake") + path
    async with hub.session.post(url, headers=headers, data=endless(256 * MIB)) as answer:
        assert answer.status == code
        assert (await answer.json(content_type=None))["status"] == code
    assert memory(hub.children["hub"]) - before < 40 * MIB


async def test_a_key_is_looked_at_before_a_byte_of_the_body_comes(hub: Hub):
    at = urlsplit(hub.address["intake"])
    for path in (
        "/intake/v1/events",
        "/partners/v1/directory/import",
        "/audit/v1/persons/x/access",
    ):
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(slow(path))
        assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
        writer.close()


async def test_outside_of_the_services_nothing_is_found_as_a_problem(hub: Hub):
    root = hub.address["intake"].removesuffix("/intake")
    for path in ("/", "/nowhere", "/intakes/livez"):
        async with hub.session.get(root + path) as answer:
            assert answer.status == 404
            assert answer.content_type == "application/problem+json"


async def started(
    name: str, directory: Path, *arguments: str, **more: str
) -> tuple[Child, str]:
    """A process that may have 60 files open, and its address."""
    child = Child(name, limited(60, *arguments), directory / f"{name}.log", more)
    said: Mapping[str, str] = orjson.loads(await child.start())
    return child, said.get("url") or said[name]


async def test_a_process_without_descriptors_serves_and_keeps_quiet(tmp_path: Path):
    data, log = tmp_path / "witness", vkey(load_settings(data=tmp_path / "hub"))
    witness, url = await started(
        "witness", tmp_path, "witness", "--data", str(data), "--log", log
    )
    try:
        async with crowd(url, b"POST /add-checkpoint HTTP/1.1\r\n"):
            for _ in range(10):
                assert await status(f"{url}/{'0' * 64}/checkpoint") == 404
        assert os.path.getsize(tmp_path / "witness.log") < 10_000
    finally:
        await witness.stop()


async def test_one_service_of_its_own_is_held_too(hub: Hub, tmp_path: Path):
    data = hub.children["hub"].log.with_name("data")
    arguments = limited(200, "run", "audit", "--data", str(data))
    child = Child("audit", arguments, tmp_path / "log", demo_environment())
    url = orjson.loads(await child.start())["audit"]
    try:
        async with crowd(url, slow("/v1/persons/x/access")):
            for _ in range(10):
                assert await status(f"{url}/livez") == 200
        async with aiohttp.request("POST", url + "/v1/x", headers=NOBODY, data=b"{}") as answer:
            assert answer.status == 401
    finally:
        await child.stop()
