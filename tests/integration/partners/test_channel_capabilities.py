"""What a channel can do stands beside each address, also of those that were there before."""

from typing import Any
from uuid import uuid4

from infra.postgres.migrations import migrate
from tests.support.bureau import Bureau
from tests.support.partners import PARTNER, Hub, call
from tests.support.postgres import Databases

BEFORE = """
ALTER TABLE partners.endpoints DROP COLUMN keeps_appointments;
ALTER TABLE partners.endpoints ADD CONSTRAINT endpoints_channel_check
  CHECK (channel IN ('webhook', 'rest', 'email', 'sftp'));
ALTER TABLE partners.endpoint_secrets ADD CONSTRAINT endpoint_secrets_kind_check
  CHECK (kind IN ('v1', 'v1a', 'credentials', 'client-certificate', 'application'));
UPDATE partners.alembic_version SET version_num = '0002';
DELETE FROM partners.migrations WHERE revision = '0003';
"""
OLD = """
INSERT INTO partners.endpoints (endpoint_id, partner_id, service_ids, channel, url, created_at)
VALUES ($1, 'p', '{}', $2, $2, now())
"""
KEEPS = "SELECT channel, keeps_appointments FROM endpoints ORDER BY channel"


async def test_addresses_of_before_get_what_their_channel_can_do(databases: Databases):
    async with databases.owner() as owner:
        await owner.execute(BEFORE)
        for channel in ("webhook", "rest", "email", "sftp"):
            await owner.execute(OLD, uuid4(), channel)
    await migrate(databases.url, databases.vault_url)
    database = databases.of("partners")
    found = [tuple(row.values()) for row in await database.rows(KEEPS)]
    assert found == [("email", False), ("rest", True), ("sftp", False), ("webhook", False)]
    await database.close()


async def test_france_travail_is_registered_by_either_name(bureau: Bureau):
    answer = await bureau.registered(channel="france-travail")
    assert (answer.status_code, answer.json()["channel"]) == (201, "rest")
    assert await bureau.rows(KEEPS) == [{"channel": "rest", "keeps_appointments": True}]
    (event,) = await bureau.events("endpoint.registered")
    assert event["channel"] == "rest"


async def test_settings_and_unknown_channels_are_refused(hub: Hub):
    async def refusal(**given: Any) -> dict[str, str]:
        body = {"partner_id": PARTNER, "url": "http://127.0.0.1:9/hook"} | given
        answer = await call(hub, "POST", "/v1/endpoints", json=body)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        return dict(error)

    settings = await refusal(settings={"token": "secret"})
    assert settings == {"field": "settings", "detail": "goes with no channel of this hub"}
    assert (await refusal(channel="manual"))["field"] == "channel"
    assert (await refusal(channel="fax"))["field"] == "channel"
    assert await hub.rows(KEEPS) == []
