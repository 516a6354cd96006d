"""Persons who are erased: their cases end at once, and are forgotten once the keys are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.erasure import ErasureRequested, KeysDestroyed
from contracts.rights import PersonObjected
from infra.eventstore.events import StoredEvent
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forget, forgotten_events, keys_destroyed
from infra.privacy.restrictions import apply_restrictions
from services.referrals.handlers.reactions import Reactions
from services.referrals.handlers.work import UnitOfWork
from services.referrals.model.erasure import abandon
from services.referrals.tables import statements


@dataclass(frozen=True)
class Erasing:
    """Hears what the intake says of erasures."""

    messages: Reactions

    async def on_intake(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """End cases when an erasure is asked for, or were opened since; then forget."""
        await apply_restrictions(tx, messages)
        heard = {m.person_id: m for m in messages if m.type in _STEPS}
        if not heard:
            return
        destroyed = keys_destroyed(messages, self.messages.writer.vault)
        work = self.messages.work(tx)
        fresh = await forget(tx, {p for p in destroyed if p}, self.messages.clock())
        await self._abandon(tx, work, heard)
        work.gather(forgotten_events("referrals", fresh, heard))
        await work.write(forgetting=True)

    async def _abandon(
        self, tx: Transaction, work: UnitOfWork, heard: dict[UUID | None, StoredEvent]
    ) -> None:
        rows = await tx.fetch(statements.ACTIVE_OF_PERSONS, [p for p in heard if p])
        await work.load_cases(row["case_id"] for row in rows)
        for case in list(work.cases.values()):
            decided = abandon(case, work.attempts(case.case_id), work.today)
            work.record(decided, case, heard[case.person_id].caused())


_STEPS = (ErasureRequested.type, KeysDestroyed.type, PersonObjected.type)
