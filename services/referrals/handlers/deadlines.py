"""Deadlines as the calendar reaches them: reminders, escalations, requests that lapse."""

import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from contracts.days import local_day
from contracts.values import Author, Reason, ReferralStatus
from infra.eventstore.events import EventMetadata
from infra.postgres.database import Database, is_infrastructure
from infra.postgres.transaction import Transaction
from services.referrals.handlers.reactions import Reactions
from services.referrals.model.referral import Move, pass_deadline
from services.referrals.tables import statements

BATCH = 200
RETRY_SECONDS = 600.0
LAPSED = Move(ReferralStatus.CANCELLED, Author.HUB, Reason.NO_RESPONSE)
log = structlog.get_logger()


@dataclass
class DeadlineClock:
    """Takes the steps that are due, in sets; a referral that fails waits and blocks nobody."""

    database: Database
    reactions: Reactions
    _failed: dict[UUID, float] = field(default_factory=dict)

    async def step(self) -> int:
        """Take what is due today; return how many referrals were looked at."""
        try:
            async with self.database.transaction() as tx:
                ids = await self._due(tx, BATCH)
                if ids:
                    await self.take(tx, ids)
                return len(ids)
        except Exception as error:
            if is_infrastructure(error):
                raise
            log.warning("deadlines one by one", error=type(error).__name__)
            return await self._one_by_one()

    async def _one_by_one(self) -> int:
        async with self.database.reading() as connection:
            ids = await self._due(connection, BATCH)
        for referral_id in ids:
            try:
                async with self.database.transaction() as tx:
                    await self.take(tx, [referral_id])
            except Exception as error:
                if is_infrastructure(error):
                    raise
                log.error(
                    "deadline failed", referral=str(referral_id), error=type(error).__name__
                )
                self._failed[referral_id] = time.monotonic() + RETRY_SECONDS
        return len(ids)

    async def _due(self, tx: Transaction, limit: int) -> list[UUID]:
        now = time.monotonic()
        self._failed = {i: until for i, until in self._failed.items() if until > now}
        today = local_day(self.reactions.clock())
        rows = await tx.fetch(statements.DUE, today, list(self._failed), limit)
        return [referral_id for (referral_id,) in rows]

    async def take(self, tx: Transaction, ids: list[UUID]) -> None:
        """Take the steps of these referrals that are due."""
        work = self.reactions.work(tx)
        await work.load_referrals(ids)
        await work.load_context({case.person_id for case in work.cases.values()})
        for referral_id in ids:
            referral = work.referrals[referral_id]
            events = pass_deadline(referral, work.today)
            work.follow(referral, events, LAPSED, EventMetadata("hub:deadline"))
        await work.write()
