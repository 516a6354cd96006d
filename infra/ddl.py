"""DDL scripts in migrations."""

from sqlalchemy.util import await_only


def script(sql: str) -> None:
    """Run several statements at once, in the migration's transaction.

    asyncpg prepares what goes through SQLAlchemy, and a prepared statement is only one; its own
    ``execute`` without arguments takes a script.
    """
    from alembic import op  # services create their tables here, and need it for nothing else

    adapted = op.get_bind().connection.dbapi_connection
    op.execute("SELECT 1")  # SQLAlchemy begins with its first statement
    await_only(adapted.driver_connection.execute(sql))  # type: ignore[union-attr]
