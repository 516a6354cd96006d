"""A service that is not fit to serve is alive, and shut; one that will never be ends."""

import asyncio
import signal

import aiohttp
import pytest
from fastapi import FastAPI

from infra.web.readiness import ReadinessGate
from infra.web.server import bind, serve


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/livez")
    async def livez() -> str:
        return "alive"

    @app.get("/v1/persons")
    async def persons() -> str:
        return "everybody"

    return app


async def statuses(port: int) -> list[int]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        found = []
        for path in ("/livez", "/readyz", "/v1/persons"):
            async with session.get(path) as answer:
                found.append(answer.status)
        return found


async def test_nothing_but_the_sign_of_life_is_served_before_the_door_opens():
    door, listening = ReadinessGate(application()), bind("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(door, listening, ready.set))
    await ready.wait()
    port = listening.getsockname()[1]
    assert await statuses(port) == [200, 503, 503]
    door.opened = True
    assert await statuses(port) == [200, 404, 200]
    signal.raise_signal(signal.SIGTERM)
    await serving


async def test_serving_ends_with_what_keeps_the_door_shut_for_good():
    async def never() -> None:
        await asyncio.sleep(0.05)
        raise RuntimeError("nobody may come in")

    listening = bind("127.0.0.1", 0)
    opening = asyncio.create_task(never())
    with pytest.raises(RuntimeError, match="nobody"):
        await serve(ReadinessGate(application()), listening, lambda: None, opening)


async def test_service_that_opened_goes_on_serving():
    async def at_once() -> None:
        return None

    ready = asyncio.Event()
    opening = asyncio.create_task(at_once())
    serving = asyncio.create_task(
        serve(application(), bind("127.0.0.1", 0), ready.set, opening)
    )
    await ready.wait()
    await opening
    await asyncio.sleep(0.05)
    assert not serving.done()
    signal.raise_signal(signal.SIGTERM)
    await serving
