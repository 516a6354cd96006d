"""Everything that this hub keeps wrapped under its master key, and the rotation of that key."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from infra.keys.rewrap import ColumnLocation, EncryptedColumn
from infra.keys.rotation import Rotation
from infra.keys.vault import PERSON_KEYS
from infra.platform import Platform
from infra.postgres.database import Database
from services.intake.handlers.kept import REFUSED
from services.partners.handlers.secrets import SECRETS

KEPT: Sequence[EncryptedColumn] = (PERSON_KEYS, SECRETS, REFUSED)


@asynccontextmanager
async def rotation_of(platform: Platform) -> AsyncIterator[Rotation]:
    """Open a rotation over all that is kept."""
    places = []
    for kept in KEPT:
        url = platform.vault_url if kept.schema == "vault" else platform.database_url
        places.append(ColumnLocation(Database(url, kept.schema, pool_size=1), kept))
    try:
        yield Rotation(platform.vault.master, places)
    finally:
        for place in places:
            await place.database.close()
