"""A new master key for all that a hub wraps: each kind moves, and none is forgotten."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from contracts.requesters import Requesters
from contracts.values import Channel
from infra.base.settings import Settings
from infra.eventstore.events import EventMetadata
from infra.keys.key_ring import KeyRing
from infra.messaging.sources.base import ForeignRecord
from infra.platform import Platform
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.hub.operations.encrypted_columns import KEPT
from services.intake.handlers.arrivals import Intake
from services.intake.handlers.inbound import InboundValidator
from services.intake.handlers.reactions import PublicRecords
from services.intake.handlers.refused import count_refused
from services.partners.app import channel_context
from services.partners.channels.base import Address
from services.partners.channels.registry import Channels
from services.partners.handlers.directory import seed
from services.partners.handlers.endpoints import Endpoints
from services.partners.handlers.secrets import Secrets
from services.partners.routes.applications import EndpointApplication
from tests.support.bureau import TRAVAIL
from tests.support.masterkeys import Processes
from tests.support.partners import PARTNER, SERVICE

ROOT = Path(__file__).parents[3]
SECRET_ROWS = "SELECT * FROM partners.endpoint_secrets ORDER BY secret_id"


def test_whoever_wraps_says_where_it_is_kept():
    wrapping = set()
    for folder in ("infra", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            if any(_wraps(node) for node in ast.walk(tree)):
                wrapping.add(path.relative_to(ROOT).as_posix())
    assert wrapping == {
        "infra/keys/rewrap.py",  # moves what others keep
        "infra/keys/vault.py",
        "services/intake/handlers/kept.py",
        "services/partners/handlers/secrets.py",
    }
    assert {kept.name for kept in KEPT} == {
        "vault.person_keys", "partners.endpoint_secrets", "intake.refused_records",
    }  # fmt: skip


def _wraps(node: ast.AST) -> bool:
    call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return call and node.func.attr == "wrap"  # type: ignore[attr-defined]


@pytest.fixture
async def platform(processes: Processes) -> Any:
    """Persons, partners' secrets and refused records, by the code that keeps them."""
    databases = processes.databases
    settings = Settings(data=databases.directory, seed="petite-foret")
    platform = Platform(settings, databases.url, databases.vault_url)
    platform.vault = processes.vault(refresh_seconds=0)
    await seed(platform, "petite-foret")
    yield platform
    await platform.close()


def endpoints_of(platform: Platform, partners: Database) -> Endpoints:
    """Registers addresses of every channel, on loopback too."""
    settings = platform.settings.model_copy(
        update={
            "smtp_url": "smtp://127.0.0.1:9",
            "desk_address": "1 place Saint-Martin 59494 Petite-Forêt",
            "delivery_allowed_networks": "127.0.0.0/8",
        }
    )
    channels = Channels(channel_context(settings, platform.clock))
    return Endpoints(partners, platform.writer("partners"), platform.clock, channels)


async def test_secrets_and_refused_records_move_as_well(
    processes: Processes, platform: Platform
):
    partners, intake = processes.database("partners"), processes.database("intake")
    endpoints = endpoints_of(platform, partners)
    address = Address(PARTNER, [SERVICE], "mailto:accueil@ml.example", Channel.EMAIL)
    made = await endpoints.register(address, EventMetadata())
    await endpoints.rotate(made.endpoint_id, EventMetadata())
    records = PublicRecords(
        InboundValidator(platform.vault.index, Requesters(), platform.clock),
        Intake(intake, platform.writer("intake"), platform.clock),
        platform.vault.master, platform.clock,
    )  # fmt: skip
    bad = ForeignRecord("public", 0, 7, b"{not JSON", (("content-type", b"text/plain"),))
    async with intake.transaction() as tx:
        await records.handle([bad], tx)
    before = await _opened(partners, platform.vault.master)
    rotation = await processes.rotate(*KEPT)
    assert (await rotation.status()).under({1}) == {}
    assert (await rotation.status()).under({2}) == {
        "partners.endpoint_secrets": 2, "intake.refused_records": 1,
    }  # fmt: skip
    await rotation.destroy_old()
    assert await _opened(partners, platform.vault.master) == before
    async with intake.transaction() as tx:
        assert await records.replay_refused(tx) == 1
        assert await count_refused(tx) == {"unsupported-media-type": 1}
    assert await _values_under(processes, 1) == []


async def test_credentials_of_an_api_move_as_well(processes: Processes, platform: Platform):
    partners = processes.database("partners")
    endpoints = endpoints_of(platform, partners)
    url = "http://127.0.0.1:9"
    given = EndpointApplication(auth_url=url, client_id="c", client_secret="s").at(url)
    address = Address(TRAVAIL, [], url, Channel.FRANCE_TRAVAIL, application=given)
    made = await endpoints.register(address, EventMetadata())
    await (await processes.rotate(*KEPT)).destroy_old()
    rows = await partners.rows(SECRET_ROWS)
    secrets = await Secrets.of(platform.vault.master, rows)
    assert secrets.applications(rows) == {made.endpoint_id: given}
    assert await _values_under(processes, 1) == []


async def _opened(partners: Database, ring: KeyRing) -> dict[UUID, list[bytes]]:
    rows = await partners.rows(SECRET_ROWS)
    return (await Secrets.of(ring, rows)).open(rows)


async def _values_under(processes: Processes, epoch: int) -> list[str]:
    """Columns of bytes anywhere that hold a value which begins as one of an epoch does."""
    found = []
    for schema in ("vault", "intake", "partners", "referrals", "audit"):
        database = processes.database(schema)
        async with database.reading() as connection:
            for table, column in await _bytes_columns(connection, schema):
                where = f"{schema}.{table} WHERE {column} >= $1 AND {column} < $2"
                bounds = epoch.to_bytes(4), (epoch + 1).to_bytes(4)
                if await connection.fetchval(f"SELECT count(*) FROM {where}", *bounds):
                    found.append(f"{schema}.{table}.{column}")
    return found


async def _bytes_columns(connection: Transaction, schema: str) -> Iterator[tuple[str, str]]:
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = $1 AND data_type = 'bytea'", schema,
    )  # fmt: skip
    return iter([(row["table_name"], row["column_name"]) for row in rows])


async def test_secret_of_a_destroyed_epoch_holds_up_no_other_partner(
    processes: Processes, platform: Platform
):
    partners = processes.database("partners")
    endpoints = endpoints_of(platform, partners)
    for name in ("a", "b"):
        url = f"mailto:{name}@ml.example"
        await endpoints.register(
            Address(PARTNER, [SERVICE], url, Channel.EMAIL), EventMetadata()
        )
    (old, *_) = await partners.rows(SECRET_ROWS)
    await (await processes.rotate(*KEPT)).destroy_old()
    async with partners.transaction() as tx:  # as in a copy from before
        await tx.execute(
            "UPDATE endpoint_secrets SET wrapped = $1 WHERE secret_id = $2",
            old["wrapped"], old["secret_id"],
        )  # fmt: skip
    opened = await _opened(partners, platform.vault.master)
    assert len(opened) == 1
    assert old["endpoint_id"] not in opened
