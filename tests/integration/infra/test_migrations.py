"""A database that other migrations made is named, and nothing is served on it."""

from pathlib import Path

import pytest

from infra.base.settings import Settings
from infra.platform import command_context
from infra.postgres.database import role_of
from infra.postgres.ddl import ForeignMigrationsError, NotMigratedError
from infra.postgres.migrations import SCHEMAS, check, migrate
from services.hub.host import all_services
from services.hub.operations.hub import doctor
from tests.support.postgres import Databases

EDITED = "UPDATE partners.migrations SET sha256 = repeat('0', 64) WHERE revision = '0002'"
NAMED = "partners 0002 was applied as another migration"


def settings_of(databases: Databases) -> Settings:
    return Settings(
        data=databases.directory, database_url=databases.url, vault_url=databases.vault_url
    )


async def change(databases: Databases, statement: str) -> None:
    async with databases.owner() as owner:
        await owner.execute(statement)


async def test_what_this_code_applied_is_sound_to_every_service(databases: Databases):
    await check(databases.url, databases.vault_url)
    assert set(await migrate(databases.url, databases.vault_url)) == set(SCHEMAS)


async def test_migration_edited_since_is_named_and_nothing_is_served(databases: Databases):
    await change(databases, EDITED)
    settings = settings_of(databases)
    with pytest.raises(ForeignMigrationsError, match=NAMED):
        await migrate(databases.url, databases.vault_url)
    with pytest.raises(ForeignMigrationsError, match=NAMED):
        async with command_context(settings):
            pytest.fail("a verb worked on it")
    with pytest.raises(ForeignMigrationsError, match=NAMED):
        async with all_services(settings, "http://127.0.0.1:1"):
            pytest.fail("it was served")
    with pytest.raises(ForeignMigrationsError, match=NAMED):
        await check(databases.url, databases.vault_url, ["partners"])
    found = {line.name: line for line in await doctor(settings)}["migrations"]
    assert (found.ok, NAMED in found.detail) == (False, True)
    assert found.repair == "install the release that applied it"


async def test_later_release_is_named(databases: Databases):
    await change(databases, "INSERT INTO audit.migrations VALUES ('0999', repeat('0', 64))")
    with pytest.raises(
        ForeignMigrationsError, match="audit 0999 was applied by a later release"
    ):
        await migrate(databases.url, databases.vault_url)


async def test_data_from_before_checksums_were_kept_is_not_taken_for_sound(
    databases: Databases, tmp_path: Path
):
    await change(databases, "DROP TABLE intake.migrations")
    with pytest.raises(NotMigratedError, match="intake 0001"):
        await check(databases.url, databases.vault_url)
    with pytest.raises(ForeignMigrationsError, match="intake 0002 was applied before"):
        await migrate(databases.url, databases.vault_url)


async def test_missing_migration_is_named_with_the_verb_that_applies_it(databases: Databases):
    await change(databases, "DELETE FROM referrals.migrations WHERE revision = '0002'")
    with pytest.raises(NotMigratedError, match="not applied: referrals 0002"):
        await check(databases.url, databases.vault_url)
    found = {line.name: line for line in await doctor(settings_of(databases))}["migrations"]
    assert (found.ok, found.repair) == (False, "aiguillage migrate")


async def test_service_cannot_write_what_was_applied(databases: Databases):
    async with databases.owner() as owner:
        for schema in SCHEMAS[:-1]:
            granted = await owner.fetchval(
                "SELECT string_agg(privilege_type, ',') "
                "FROM information_schema.role_table_grants WHERE table_schema = $1 "
                "AND table_name = 'migrations' AND grantee = $2",
                schema, role_of(schema),
            )  # fmt: skip
            assert granted == "SELECT"
