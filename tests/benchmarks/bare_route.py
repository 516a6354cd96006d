"""The peer of the intake benchmark: parse, validate, answer; nothing is stored."""

import socket
import sys
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).parents[2]))

from contracts.public import PublicContact


async def events(request: Request) -> Response:
    """Validate one event, or a batch."""
    body = orjson.loads(await request.body())
    for event in body if isinstance(body, list) else [body]:
        PublicContact.model_validate_json(orjson.dumps(event["data"]))
    return Response(b'{"accepted": true}', 202, media_type="application/json")


if __name__ == "__main__":
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    app = Starlette(routes=[Route("/events", events, methods=["POST"])])
    config = uvicorn.Config(
        app, loop="asyncio", http="httptools", log_level="critical", lifespan="off"
    )
    uvicorn.Server(config).run([listening])
