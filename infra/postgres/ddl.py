"""DDL scripts in migrations, and what may be wrong with those that were run."""

from collections.abc import Callable
from contextvars import ContextVar
from hashlib import sha256

from sqlalchemy.util import await_only

from infra.base.repairable import Repairable

_recorded: ContextVar[list[str] | None] = ContextVar("recorded", default=None)


class NotMigratedError(Repairable):
    """A database lacks migrations: ``aiguillage migrate`` applies them."""

    repair = "aiguillage migrate"


class ForeignMigrationsError(Repairable):
    """A database was made by migrations that are not those of this code."""

    repair = "install the release that applied it"


def script(sql: str) -> None:
    """Run several statements at once, in the migration's transaction.

    asyncpg prepares what goes through SQLAlchemy, and a prepared statement is only one; its own
    ``execute`` without arguments takes a script.
    """
    if (recorded := _recorded.get()) is not None:
        recorded.append(sql)
        return
    from alembic import op  # services create their tables here, and need it for nothing else

    adapted = op.get_bind().connection.dbapi_connection
    op.execute("SELECT 1")  # SQLAlchemy begins with its first statement
    await_only(adapted.driver_connection.execute(sql))  # type: ignore[union-attr]


def checksum(upgrade: Callable[[], None]) -> str:
    """SHA-256 of the scripts that a migration would run, wherever it takes them from.

    Nothing is run. How lines are indented does not count.
    """
    scripts: list[str] = []
    token = _recorded.set(scripts)
    try:
        upgrade()
    finally:
        _recorded.reset(token)
    lines = (line.strip() for sql in scripts for line in sql.splitlines())
    return sha256("\n".join(filter(None, lines)).encode()).hexdigest()
