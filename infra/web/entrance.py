"""What every request passes before a route sees it: head, coding, key, body, in this order."""

from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.postgres.database import is_infrastructure
from infra.web.auth import Authenticator
from infra.web.bodies import Bodies, body_at, has_body, whole_body
from infra.web.connections import HEAD_BYTES, too_long
from infra.web.problems import Problem, UnsupportedMediaType, unavailable

PRIVATE = (b"cache-control", b"no-store")


class Entrance:
    """Bounds requests, and lets nobody send a body who has no key where one is needed.

    Nothing that is answered is kept by anybody in between, unless the answer says otherwise.
    """

    def __init__(self, app: ASGIApp, bodies: Bodies) -> None:
        self._app = app
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def private(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                if not any(name == b"cache-control" for name, _ in headers):
                    message["headers"] = [*headers, PRIVATE]
            await send(message)

        try:
            admitted = await self._admitted(scope, receive)
        except Exception as error:
            await _refusal(error)(scope, receive, private)
            return
        if admitted is not None:
            await self._app(scope, admitted, private)

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive | None:
        """Return from where the route takes the body; None if the caller left."""
        line = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if line + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES:
            raise too_long()
        headers = dict(scope["headers"])
        if not has_body(headers):
            return receive
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise UnsupportedMediaType(
                "Send the body as it is, without a content coding",
                headers={"accept-encoding": "identity"},
            )
        body = body_at(scope["path"].removeprefix(scope.get("root_path", "")), self._bodies)
        if not body.open:
            authenticator: Authenticator = scope["app"].state.authenticator
            await authenticator.principal(HTTPConnection(scope), *body.roles)
        if body.unread:
            return receive
        content = await whole_body(scope, receive, body)
        return None if content is None else _replayed(content, receive)


def _refusal(error: Exception) -> Response:
    """Return why somebody is not let in; raise again what nobody foresaw."""
    if isinstance(error, Problem):
        return error.response()
    if is_infrastructure(error):
        return unavailable()
    raise error


def _replayed(content: bytes, receive: Receive) -> Receive:
    message: dict[str, Any] | None
    message = {"type": "http.request", "body": content, "more_body": False}

    async def replay() -> Message:
        nonlocal message
        if message is None:
            return await receive()
        given, message = message, None
        return given

    return replay
