"""A witness to run at a partner's: it cosigns logs and needs no hub (C2SP tlog-witness).

A directory holds all of it: its key, its name, and the last checkpoint of each log.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from infra.base.clock import Clock, system_clock
from infra.base.files import in_turn, locked, read_or_create_secret, write_whole
from infra.base.repairable import Repairable
from infra.tlog.note import COSIGNATURE, ML_DSA_44, NoteError, VKey
from infra.tlog.signers import Cosigner, NoteSigner
from infra.tlog.witness import MAX_BYTES, TEXT_TYPE, Witness
from infra.web.bodies import Body
from infra.web.entrance import Entrance
from infra.web.server import bind, serve, url_of

log = structlog.get_logger()
BODIES = {"/": Body(MAX_BYTES, seconds=10, open=True)}
NAME, KEY, ML_DSA_KEY = "witness.name", "witness.key", "witness-ml-dsa.key"


class WitnessSetupError(Repairable):
    """A witness that cannot be started so; the text says why."""

    repair = "aiguillage witness --help"


def witness_signers(
    directory: Path, name: str | None, *, ml_dsa: bool = False, clock: Clock = system_clock
) -> list[NoteSigner]:
    """The witness's keys, made at the first run; its name is for ever.

    Without a name it is called after this machine. Raises ``WitnessSetupError`` where it is
    given another name than at the first run, or one that no key can have.
    """
    known = _name(directory, name)
    kinds = [(COSIGNATURE, KEY), *([(ML_DSA_44, ML_DSA_KEY)] if ml_dsa else [])]
    try:
        return [
            Cosigner(known, read_or_create_secret(directory / file), kind, clock)
            for kind, file in kinds
        ]
    except NoteError as error:
        raise WitnessSetupError(str(error)) from error


def witness_app(witness: Witness) -> Starlette:
    """``POST /add-checkpoint``, and ``GET /<origin hash>/checkpoint`` for monitors."""

    async def add_checkpoint(request: Request) -> Response:
        answer = await asyncio.to_thread(witness.add_checkpoint, await request.body())
        # not media_type: Starlette would add a charset that the specification does not have
        headers = {"content-type": answer.content_type}
        return Response(answer.body, answer.status, headers=headers)

    async def checkpoint(request: Request) -> Response:
        note = await asyncio.to_thread(witness.latest, request.path_params["origin"])
        if note is None:
            return PlainTextResponse("nothing was cosigned of that log\n", 404)
        headers = {"cache-control": "public, max-age=5"}
        return Response(note, headers=headers, media_type=TEXT_TYPE)

    async def on_error(request: Request, error: Exception) -> Response:
        log.error("submission failed", exc_info=error)
        return PlainTextResponse("the witness cannot answer now\n", 500)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{origin}/checkpoint", checkpoint, methods=["GET"]),
        ],
        exception_handlers={Exception: on_error},
        middleware=[Middleware(Entrance, bodies=BODIES)],
    )


async def run(
    directory: Path,
    signers: Sequence[NoteSigner],
    logs: Sequence[VKey],
    host: str,
    port: int,
    announce: Callable[[str], None],
) -> None:
    """Serve until told to stop; raises ``AlreadyRunningError`` where another one runs."""
    with locked(directory / "lock"):
        app = witness_app(Witness(directory, signers, logs))
        listening = bind(host, port)
        url = url_of(host, listening.getsockname()[1])
        await serve(app, listening, lambda: announce(url))


def _name(directory: Path, given: str | None) -> str:
    path = directory / NAME
    with in_turn(directory / ".name.lock"):
        known = path.read_text().strip() if path.exists() else None
        if known is not None and given not in (None, known):
            raise WitnessSetupError(f"the witness is called {known}: names are for ever")
        if known is None:
            known = given or f"{socket.gethostname()}/witness"
            write_whole(path, f"{known}\n".encode())
    return known
