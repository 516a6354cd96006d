"""An audit service whose workers are stepped by hand, and a caller of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.hub.cli.main import app
from services.hub.operations import audit, export
from tests.support.audit_log import Hub, audit_hub, client_of
from tests.support.postgres import Databases
from tests.support.whole import whole

__all__ = ["whole"]
Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def hub_options() -> dict[str, Any]:
    """Settings, and a clock, other than the usual: a file may say them."""
    return {}


@pytest.fixture
async def hub(databases: Databases, hub_options: dict[str, Any]) -> AsyncIterator[Hub]:
    """The service with hands on what it stands on."""
    async with audit_hub(databases, **hub_options) as hub:
        yield hub


@pytest.fixture
def role() -> str:
    """Of whom the client has the key."""
    return "auditor"


@pytest.fixture
async def client(hub: Hub, role: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller with a key of that role."""
    async with client_of(hub, role) as client:
        yield client


@pytest.fixture
def run(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`aiguillage audit …`, in a thread: it runs a loop of its own."""
    # the runner's stderr is closed at its end: the log of later tests must not go there
    for verbs in (audit, export):
        monkeypatch.setattr(verbs, "configure_logging", lambda *args, **given: None)
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", databases.url)
    monkeypatch.setenv("AIGUILLAGE_VAULT_URL", databases.vault_url)
    monkeypatch.setenv("AIGUILLAGE_DATA", str(databases.directory))

    async def run(*words: object) -> Result:
        typed = ["audit", *map(str, words)]
        return await asyncio.to_thread(CliRunner().invoke, app, typed)

    return run
