"""Behind a proxy that serves us below a path: what we say of our own addresses fits."""

import asyncio
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from infra.web.app import Service, create_app
from infra.web.readiness import ReadinessGate
from infra.web.server import bind, serve, url_of
from tests.support.partners import Hub

PREFIX = "/aiguillage"


@pytest.fixture
async def url(hub: Hub) -> AsyncIterator[str]:
    """The partner service, below its name, as one behind such a proxy sees it."""
    app = Starlette(routes=[Mount("/partners", hub.service.app)])
    door, listening, ready = (
        ReadinessGate(app, opened=True),
        bind("127.0.0.1", 0),
        asyncio.Event(),
    )
    task = asyncio.create_task(serve(door, listening, ready.set, root_path=PREFIX))
    await ready.wait()
    yield url_of("127.0.0.1", listening.getsockname()[1])
    signal.raise_signal(signal.SIGTERM)
    await task


async def test_openapi_and_redirects_begin_with_the_prefix(url: str):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/partners/openapi.json") as answer:
            assert (await answer.json())["servers"] == [{"url": "/aiguillage/partners"}]
        slash = f"{url}/partners/v1/endpoints/"
        async with session.get(slash, allow_redirects=False) as answer:
            assert answer.status == 307
            assert answer.headers["location"].endswith("/aiguillage/partners/v1/endpoints")
        async with session.post(f"{url}/partners/v1/answers", data=b"{}") as answer:
            assert answer.status == 415  # its own rule: no key is asked for
        async with session.post(f"{url}/partners/v1/endpoints", data=b"{}") as answer:
            assert answer.status == 401


async def test_a_shut_door_behind_a_prefix_is_alive(hub: Hub):
    app = create_app("one", "A service by itself.")
    Service("partners", app, hub.database)
    door, listening, ready = ReadinessGate(app), bind("127.0.0.1", 0), asyncio.Event()
    task = asyncio.create_task(serve(door, listening, ready.set, root_path=PREFIX))
    await ready.wait()
    at = url_of("127.0.0.1", listening.getsockname()[1])
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{at}/livez") as answer:
            assert answer.status == 200
        async with session.get(f"{at}/v1/endpoints") as answer:
            assert answer.status == 503
    signal.raise_signal(signal.SIGTERM)
    await task


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("hub.example", "http://hub.example:8000"),
    ],
)
def test_an_address_is_written_as_it_is_called(host: str, shown: str):
    assert url_of(host, 8000) == shown
