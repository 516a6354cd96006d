"""Migrations that were released are never edited: what they run is frozen."""

import json

from infra.postgres.ddl import checksum, script
from infra.postgres.migrations import FROZEN, SCHEMAS, checksums


def test_what_migrations_run_is_what_was_frozen():
    frozen = json.loads(FROZEN.read_text())
    found = {schema: checksums(schema) for schema in SCHEMAS}
    assert found == frozen, (
        "add a new revision; only until the first release: "
        "python -m infra.postgres.migrations --freeze"
    )


def test_checksum_is_of_the_sql_wherever_it_is_written():
    def shared(column: str) -> None:
        script(f"CREATE TABLE t ({column} int)")

    assert checksum(lambda: shared("a")) != checksum(lambda: shared("b"))
    assert checksum(lambda: script("A;\n  B;")) == checksum(lambda: script("\n    A;\n\nB;"))
    assert checksum(lambda: script("A; B;")) != checksum(lambda: script("A;"))
