"""What stands before several processes of one service: requests go to one that listens."""

import itertools

import aiohttp
from aiohttp import web

HOP = {"host", "content-length", "transfer-encoding", "connection", "keep-alive"}
SECONDS = 30


class Balancer:
    """An address whose requests are handed in turn to those of ``backends`` that listen.

    Only a refused connection is tried elsewhere: whether a broken one had an effect is for the
    caller to find out, by asking again.
    """

    def __init__(self) -> None:
        self.url = ""
        self.backends: list[str] = []
        self._turns = itertools.count()

    async def start(self) -> "Balancer":
        """Listen on a free port."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {n: v for n, v in request.headers.items() if n.lower() not in HOP}
        turn = next(self._turns)
        for number in range(len(self.backends)):
            backend = self.backends[(turn + number) % len(self.backends)]
            try:
                return await self._ask(backend, request, headers, body)
            except aiohttp.ClientConnectorError:
                continue
            except aiohttp.ClientError:
                break
        return web.json_response({"title": "nobody answers"}, status=502)

    async def _ask(
        self, backend: str, request: web.Request, headers: dict[str, str], body: bytes
    ) -> web.Response:
        async with self._session.request(
            request.method, backend + request.path_qs, headers=headers, data=body
        ) as answer:
            kind = answer.headers.get("content-type", "application/json")
            return web.Response(
                body=await answer.read(), status=answer.status, headers={"content-type": kind}
            )
