"""One PostgreSQL schema, one login and one pool per service."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from infra.postgres import notify
from infra.postgres.pool import ElasticPool
from infra.postgres.transaction import Transaction

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 60
INFRASTRUCTURE_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.CannotConnectNowError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # the server became a replica
    asyncpg.PostgresSystemError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    PoolTimeoutError,
    asyncpg.InternalClientError,  # a rollback on a connection that is being cut
)


def is_infrastructure(error: BaseException | None) -> bool:
    """Return True for infrastructure errors (retry); False for errors of the message (park)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if _of_the_world(error):
            return True
        seen.add(id(error))
        error = getattr(error, "orig", None) or error.__cause__
    return False


def is_unique_violation(error: BaseException) -> bool:
    """Whether there was a row of that key already."""
    return isinstance(error.__cause__ or error, asyncpg.UniqueViolationError) or isinstance(
        getattr(getattr(error, "orig", None), "__cause__", None), asyncpg.UniqueViolationError
    )


def _of_the_world(error: BaseException) -> bool:
    # asyncpg calls a value that does not fit its column an interface error too
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    kafka = sys.modules.get("aiokafka.errors")  # nothing raises its errors before it is loaded
    return isinstance(error, INFRASTRUCTURE_ERRORS) or (
        kafka is not None and isinstance(error, (kafka.KafkaError, kafka.ConsumerStoppedError))
    )


def async_url(url: str) -> URL:
    """The URL with the driver that we use."""
    return make_url(url).set(drivername="postgresql+asyncpg")


def vault_url(url: str) -> str:
    """The database of the keys: beside the main one, so that backups can differ."""
    main = make_url(url)
    return render(main.set(database=f"{main.database}_vault"))


def storable(text: str, most: int) -> str:
    """Text that a column takes, whatever it was: no NUL, no half character, not too long."""
    plain = text[: most + 1].replace("\0", " ").encode("utf-8", "replace").decode()
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def render(url: URL) -> str:
    """The URL as text, password included."""
    return url.render_as_string(hide_password=False)


def role_of(schema: str) -> str:
    """The database role that a service logs in as."""
    return f"aiguillage_{schema}"


def login_url(url: str, schema: str) -> URL:
    """The URL by which a service logs in, as itself: whatever it runs, it stays who it is.

    Its password is in the file that the URL's ``passfile`` names, as PostgreSQL's own tools
    keep them; the embedded server needs none.
    """
    given, role = async_url(url), role_of(schema)
    if given.username == role:
        return given
    # not `set`: it takes a password of None for "as it was", the owner's
    return URL.create(
        given.drivername,
        username=role,
        host=given.host,
        port=given.port,
        database=given.database,
        query=given.query,
    )


class Database:
    """The pool of one service: its own login, its schema first on the search path."""

    def __init__(self, url: str, schema: str, *, pool_size: int = 10) -> None:
        self.schema = schema
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            login_url(url, schema),
            poolclass=ElasticPool,
            pool_size=pool_size,
            max_overflow=10,
            pool_timeout=10,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "server_settings": {
                    "search_path": schema,
                    "application_name": f"aiguillage {schema}",
                    "statement_timeout": str(STATEMENT_SECONDS * 1000),
                    "idle_in_transaction_session_timeout": "60000",
                },
            },
        )
        event.listen(self.engine.sync_engine, "connect", _read_plain_uuids)
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One transaction: committed at the end, rolled back on any error."""
        async with self.engine.begin() as connection:
            yield await Transaction.of(connection)
        notify.notify(self.schema)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """A connection for reads: each statement by itself, nothing to begin and to end."""
        async with self._reader.connect() as connection:
            yield await Transaction.of(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """One moment of the whole database, to compare what was committed together."""
        async with self.engine.connect() as connection:
            same = await connection.execution_options(isolation_level="REPEATABLE READ")
            yield await Transaction.of(same)

    async def probe(self) -> None:
        """Log in anew and write: connections that are open outlive a server that is broken."""
        engine = create_async_engine(self.engine.url, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_current_xact_id()"))  # commits to the log

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """What a query answers, read on a connection of its own."""
        async with self.reading() as tx:
            return [dict(row) for row in await tx.fetch(statement, *values)]

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _read_plain_uuids(connection: Any, *_: object) -> None:
    """asyncpg reads UUIDs as a class of its own, which is not JSON to everybody."""
    connection.run_async(
        lambda driver: driver.set_type_codec(
            "uuid", schema="pg_catalog", format="binary",
            encoder=lambda value: (value if isinstance(value, UUID) else UUID(value)).bytes,
            decoder=lambda raw: UUID(bytes=raw),
        )
    )  # fmt: skip


def _refuse_closed(connection: Any, *_: object) -> None:
    """A statement of the driver's own would not tell the pool that the server has hung up."""
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError("closed by the server")
