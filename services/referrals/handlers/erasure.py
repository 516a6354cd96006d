"""Persons who are erased: their cases end at once, and are forgotten once the keys are gone."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.erasure import ErasureRequested, KeysDestroyed
from contracts.rights import PersonObjected
from infra.eventstore.events import StoredEvent
from infra.postgres.transaction import Transaction
from infra.privacy.erasure import forget, forgotten_events, keys_destroyed
from infra.privacy.restrictions import apply_restrictions
from services.referrals.handlers.reactions import Reactions
from services.referrals.model.erasure import abandon
from services.referrals.tables import statements

_STEPS = (ErasureRequested.type, KeysDestroyed.type, PersonObjected.type)


@dataclass(frozen=True)
class Erasing:
    """Reactions to the steps of an erasure, as the intake announces them."""

    reactions: Reactions

    async def on_intake(self, messages: Sequence[StoredEvent], tx: Transaction) -> None:
        """End cases when an erasure is asked for, or were opened since; then forget."""
        await apply_restrictions(tx, messages)
        steps = {m.person_id: m for m in messages if m.type in _STEPS}
        if not steps:
            return
        destroyed = keys_destroyed(messages, self.reactions.writer.vault)
        work = self.reactions.work(tx)
        fresh = await forget(tx, {p for p in destroyed if p}, self.reactions.clock())
        rows = await tx.fetch(statements.ACTIVE_OF_PERSONS, [p for p in steps if p])
        await work.load_cases(case_id for (case_id,) in rows)
        for case in list(work.cases.values()):
            ended = abandon(case, work.attempts(case.case_id), work.today)
            work.record(ended, case, steps[case.person_id].caused())
        work.gather(forgotten_events("referrals", fresh, steps))
        await work.write(forgetting=True)
