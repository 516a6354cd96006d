"""The way into a service while it is not yet fit to serve: alive, and shut."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from infra.web.problems import unavailable

ALWAYS = "/livez"


@dataclass
class ReadinessGate:
    """Nothing but ``/livez`` is answered before ``opened``: 503, come again.

    A process that waits for its database is alive; and whoever a restored backup brought back
    is served to nobody before being erased again.
    """

    app: ASGIApp
    opened: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        app = self.app if self.opened or path == ALWAYS else unavailable()
        await app(scope, receive, send)
