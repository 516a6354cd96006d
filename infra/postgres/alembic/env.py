"""Alembic's entry: runs the migrations of one schema on the connection it is given."""

from alembic import context

config = context.config
schema = config.attributes["schema"]
context.configure(
    connection=config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema=schema,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
