"""The directory in memory: a service is read again only once its partner has published anew."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

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


@dataclass
class Directory:
    """Every service as it is now; ``_known``: service id → position of its word, and itself."""

    _known: dict[str, tuple[int, Service]] = field(default_factory=dict)

    def cases_at_once(self, most: int) -> int:
        """How many cases one transaction may route: it must end within seconds."""
        known = len(self._known)
        return max(1, min(most, RANKED_AT_ONCE // known if known else UNKNOWN_AT_ONCE))

    async def read(
        self, tx: Transaction, today: date
    ) -> tuple[dict[str, Service], DirectoryRead]:
        """The whole directory, with what is open at each service, and as of when.

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
        rows = await tx.fetch(statements.SERVICES)
        if not rows:
            raise DirectoryNotLoadedError
        known = self._known
        fresh = [r for r in rows if known.get(r["service_id"], (0,))[0] != r["position"]]
        for start in range(0, len(fresh), AT_ONCE):
            await self._learn(tx, fresh[start : start + AT_ONCE])
        for row in rows:
            service = known[row["service_id"]][1]
            capacity, load = valid_capacity(row, today), row["load"]
            if (service.capacity, service.load) != (capacity, load):
                service = replace(service, capacity=capacity, load=load)
                known[row["service_id"]] = row["position"], service
        found = {row["service_id"]: known[row["service_id"]][1] for row in rows}
        if len(known) > len(found):  # some were withdrawn
            self._known = {service_id: known[service_id] for service_id in found}
        at = DirectoryRead(position=rows[0]["heard"], referrals=rows[0]["own"], day=today)
        return found, at

    async def _learn(self, tx: Transaction, fresh: Sequence[Any]) -> None:
        expected = {row["service_id"]: row["position"] for row in fresh}
        rows = await tx.fetch(statements.PUBLISHED, list(expected))
        if {row["service_id"]: row["position"] for row in rows} != expected:
            raise _ChangedMeanwhileError
        for row in rows:
            told = ServicePublished.model_validate_json(row["published"])
            self._known[row["service_id"]] = row["position"], as_service(told)
        await asyncio.sleep(0)


def valid_capacity(row: Any, today: date) -> CapacityStatus | None:
    """What a partner last said of a service, unless that has run out."""
    stale = row["capacity_until"] and row["capacity_until"] < today
    return None if stale or not row["capacity"] else CapacityStatus(row["capacity"])


def as_service(told: ServicePublished, **now: Any) -> Service:
    """A service as routing sees it; ``now``: its capacity and its load of the moment."""
    return Service(
        told.service_id, told.partner_id, told.kind, told.name, tuple(told.thematiques),
        tuple(told.zone_eligibilite), told.minimum_age, told.maximum_age, told.policy,
        publics=tuple(told.publics), code_insee=told.code_insee, delay_days=told.delay_days,
        commission=told.commission, opening=told.opening,
        deadlines=told.deadlines or Deadlines(), **now,
    )  # fmt: skip
