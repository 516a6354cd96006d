"""What the audit service's routes share."""

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from infra.database import Database, driver
from infra.tlog.keyring import LogKeys
from infra.tlog.note import MAX_SIZE
from infra.web.problems import Problem
from services.audit import tables
from services.audit.handlers.signing import Signing
from services.audit.tables import Signed

MAX_LIMIT = 1000
NEVER = {"cache-control": "no-store"}
Index = Annotated[int, Query(ge=0, le=MAX_SIZE)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


async def _transaction(request: Request) -> AsyncIterator[Any]:
    database: Database = request.app.state.service.database
    async with database.reading() as tx:
        yield tx


Reading = Annotated[Any, Depends(_transaction)]


def keys_of(request: Request) -> LogKeys:
    """The log's keys, and its name."""
    signing: Signing = request.app.state.signing
    return signing.keys


async def _signed_now(request: Request, tx: Reading) -> Signed:
    """The newest checkpoint; raises ``Problem`` 404 before the first."""
    signed = await tables.last_signed(await driver(tx), keys_of(request).origin)
    if signed is None:
        raise Problem(
            404, "not-found", "No such checkpoint", "Nothing is signed yet", headers=NEVER
        )
    return signed


SignedNow = Annotated[Signed, Depends(_signed_now)]


def nonsense(field: str, detail: str) -> Problem:
    """A parameter that makes no sense."""
    errors = [{"field": field, "detail": detail}]
    return Problem(422, "invalid", "The request is not valid", errors=errors)


def encoded(value: bytes) -> str:
    """As base64."""
    return base64.b64encode(value).decode()


def all_encoded(values: Sequence[bytes]) -> list[str]:
    """Each as base64."""
    return [encoded(value) for value in values]
