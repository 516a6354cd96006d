"""The application that every service is: problems, health, metrics, and its subscriptions."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog
from asyncpg import UniqueViolationError
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.sizes import EventTooLargeError
from contracts.types import judged_at
from infra.base.clock import Clock, system_clock
from infra.base.missing import NotFoundError
from infra.eventstore.store import ConcurrencyError
from infra.messaging.subscription import Subscription
from infra.postgres.database import Database, is_infrastructure
from infra.privacy.restrictions import LimitedError
from infra.web import problems
from infra.web.auth import Authenticator
from infra.web.bodies import Bodies
from infra.web.entrance import Entrance
from infra.web.openapi import describe
from infra.workers.alarms import Watch
from infra.workers.periodic import PeriodicTask

log = structlog.get_logger()
READY_SECONDS = 5.0
ALARM_SECONDS = 5.0
"""How often the open alarms are counted for Prometheus."""


class Worker(Protocol):
    """Something that runs beside the routes until it is told to stop."""

    name: str
    last_step: float

    async def run(self) -> None: ...
    def stop(self) -> None: ...


class Service:
    """One service: its database, its routes and its workers, wired by its ``app.py``."""

    def __init__(
        self,
        name: str,
        app: FastAPI,
        database: Database,
        workers: Sequence[Worker] = (),
        *,
        stuck_seconds: float = 60,
        stop_seconds: float = 8,
        on_close: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self.name = name
        self.app = app
        self.database = database
        self.workers = list(workers)
        # each schema that is worked on: a relay works on all of them
        subscribed = [w.database for w in workers if isinstance(w, Subscription)]
        schemas = {one.schema: one for one in (database, *subscribed)}
        self._alarms = Watch(list(schemas.values()))
        self._watch = PeriodicTask("alarms", self._alarms.step, ALARM_SECONDS)
        self._stuck_seconds = stuck_seconds
        self._stop_seconds = stop_seconds
        self._on_close = on_close
        self._tasks: list[asyncio.Task[None]] = []
        app.state.authenticator = Authenticator(database)
        app.state.service = self
        _add_health(app, self)
        describe(app)

    async def start(self) -> None:
        """Start the workers."""
        running = [*self.workers, self._watch]
        self._tasks = [asyncio.create_task(w.run(), name=w.name) for w in running]

    async def stop(self) -> None:
        """Stop the workers in an orderly way, within a bound; then close the database."""
        for worker in (*self.workers, self._watch):
            worker.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._stop_seconds)
            for task in late:
                log.warning("worker stopped by force", worker=task.get_name())
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for close in self._on_close:
            with contextlib.suppress(Exception):
                await close()
        await self.database.close()

    def stuck(self) -> list[str]:
        """Workers that ended, or made no step for too long: the process should restart."""
        ended = [t.get_name() for t in self._tasks if t.done()]
        late = time.monotonic() - self._stuck_seconds
        return ended + [w.name for w in self.workers if self._tasks and w.last_step < late]

    async def readiness(self) -> dict[str, int | None]:
        """Each subscription's lag; None where the other side does not say.

        Raises an infrastructure error if the database does not answer, takes no new connection
        or cannot write.
        """
        async with asyncio.timeout(READY_SECONDS), self.database.reading() as tx:
            await tx.execute("SELECT 1")
            await self.database.probe()
        subscriptions = [w for w in self.workers if isinstance(w, Subscription)]
        lags = await asyncio.gather(*map(_lag, subscriptions))
        return {w.name: lag for w, lag in zip(subscriptions, lags, strict=True)}

    def ages(self) -> dict[str, float | None]:
        """Age in seconds of the oldest message that waits, by subscription."""
        return {w.name: w.watch.age for w in self.workers if isinstance(w, Subscription)}

    async def behind(self) -> bool:
        """Whether something was said that this service may not have heard yet."""
        return any(lag != 0 for lag in (await self.readiness()).values())

    async def alarms(self) -> list[dict[str, Any]]:
        """What a human must look at although the service works."""
        async with asyncio.timeout(READY_SECONDS):
            return await self._alarms.read()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        """The service, started, and stopped at the end."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()


async def _lag(subscription: Subscription[Any]) -> int | None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            return await subscription.lag()
    except Exception as error:
        if not is_infrastructure(error):
            raise
        return None


class Judging:
    """Has what a caller sends judged at the moment at which the call came (``judged_at``)."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        with judged_at(self._clock()):
            await self._app(scope, receive, send)


def create_app(
    title: str,
    description: str,
    clock: Clock = system_clock,
    bodies: Bodies | None = None,
) -> FastAPI:
    """An application whose every error is a problem document, behind the entrance.

    ``clock``: by which the horizons of what callers send are judged; ``bodies``: what the
    routes take that do not take the usual.
    """
    app = FastAPI(
        title=title, description=description, version="1.0.0", docs_url=None, redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    app.add_middleware(Judging, clock=clock)
    app.add_middleware(Entrance, bodies=bodies or {})
    app.add_exception_handler(problems.Problem, problems.on_problem)
    app.add_exception_handler(RequestValidationError, problems.on_request_invalid)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(LimitedError, problems.on_limited)
    app.add_exception_handler(EventTooLargeError, problems.on_too_large)
    app.add_exception_handler(NotFoundError, problems.on_missing)
    for lost in (ConcurrencyError, UniqueViolationError, IntegrityError):
        app.add_exception_handler(lost, problems.on_conflict)
    app.add_exception_handler(Exception, problems.on_unexpected)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    async def livez(request: Request) -> Response:
        stuck = service.stuck()
        return JSONResponse({"stuck": stuck}, 503 if stuck else 200)

    async def readyz(request: Request) -> Response:
        try:
            lag, alarms = await service.readiness(), await service.alarms()
            state = {"ready": True, "lag": lag, "oldest": service.ages(), "alarms": alarms}
            return JSONResponse(state)
        except Exception as error:
            return JSONResponse({"ready": False, "error": type(error).__name__}, 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    for route in (livez, readyz, metrics):
        app.add_route(f"/{route.__name__}", route, include_in_schema=False)
