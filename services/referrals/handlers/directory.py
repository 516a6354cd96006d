"""The directory in memory: a service is read again only once its partner has published anew."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

from contracts.partners import Deadlines, ServicePublished
from contracts.referrals import DirectoryRead
from contracts.values import CapacityStatus
from infra.postgres.transaction import Transaction
from services.referrals.model.routing import Service
from services.referrals.tables import statements

AT_ONCE = 500
"""Services parsed before others get their turn."""
RANKED_AT_ONCE = 200_000
"""Services ranked in one transaction, all its cases together: some ten seconds."""
UNKNOWN_AT_ONCE = 50
"""Cases before it is known how large the directory is."""


class DirectoryNotLoadedError(TimeoutError):
    """No service is known yet: the directory is still on its way. Waited out, never parked."""


class _ChangedMeanwhileError(Exception):
    """A service was published between two looks at the directory."""


class _Row(NamedTuple):
    """A row of ``SERVICES``."""

    service_id: str
    position: int
    capacity: str | None
    capacity_until: date | None
    load: int
    directory_at: int
    referrals_at: int


@dataclass
class Directory:
    """Every service as it is now; ``_known``: id → position of its publication, and itself."""

    _known: dict[str, tuple[int, Service]] = field(default_factory=dict)

    def cases_at_once(self, most: int) -> int:
        """Return how many cases one transaction may route: it must end within seconds."""
        known = len(self._known)
        return max(1, min(most, RANKED_AT_ONCE // known if known else UNKNOWN_AT_ONCE))

    async def read(
        self, tx: Transaction, today: date
    ) -> tuple[dict[str, Service], DirectoryRead]:
        """Return the whole directory, with what is open at each service, and as of when.

        Raises ``DirectoryNotLoadedError`` while it is empty.
        """
        while True:
            try:
                return await self._read(tx, today)
            except _ChangedMeanwhileError:
                continue

    async def _read(
        self, tx: Transaction, today: date
    ) -> tuple[dict[str, Service], DirectoryRead]:
        rows = [_Row(*row) for row in await tx.fetch(statements.SERVICES)]
        if not rows:
            raise DirectoryNotLoadedError
        known = self._known
        fresh = [r for r in rows if known.get(r.service_id, (0,))[0] != r.position]
        for start in range(0, len(fresh), AT_ONCE):
            await self._learn(tx, fresh[start : start + AT_ONCE])
        for row in rows:
            service = known[row.service_id][1]
            capacity = valid_capacity(row.capacity, row.capacity_until, today)
            if (service.capacity, service.load) != (capacity, row.load):
                service = replace(service, capacity=capacity, load=row.load)
                known[row.service_id] = row.position, service
        services = {row.service_id: known[row.service_id][1] for row in rows}
        if len(known) > len(services):  # some were withdrawn
            self._known = {service_id: known[service_id] for service_id in services}
        position, referrals = rows[0].directory_at, rows[0].referrals_at
        return services, DirectoryRead(position=position, referrals=referrals, day=today)

    async def _learn(self, tx: Transaction, fresh: Sequence[_Row]) -> None:
        expected = {row.service_id: row.position for row in fresh}
        rows = await tx.fetch(statements.PUBLISHED, list(expected))
        if {service_id: position for service_id, position, _ in rows} != expected:
            raise _ChangedMeanwhileError
        for service_id, position, text in rows:
            published = ServicePublished.model_validate_json(text)
            self._known[service_id] = position, as_service(published)
        await asyncio.sleep(0)


def valid_capacity(
    capacity: str | None, until: date | None, today: date
) -> CapacityStatus | None:
    """Return what a partner last reported of a service, unless that has run out."""
    if not capacity or (until and until < today):
        return None
    return CapacityStatus(capacity)


def as_service(
    published: ServicePublished, capacity: CapacityStatus | None = None, load: int = 0
) -> Service:
    """Return a service as routing sees it, with its capacity and load of the moment."""
    return Service(
        service_id=published.service_id,
        partner_id=published.partner_id,
        kind=published.kind,
        name=published.name,
        thematiques=tuple(published.thematiques),
        zone=tuple(published.zone_eligibilite),
        minimum_age=published.minimum_age,
        maximum_age=published.maximum_age,
        policy=published.policy,
        publics=tuple(published.publics),
        code_insee=published.code_insee,
        capacity=capacity,
        delay_days=published.delay_days,
        load=load,
        commission=published.commission,
        opening=published.opening,
        deadlines=published.deadlines or Deadlines(),
    )
