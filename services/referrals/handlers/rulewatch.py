"""Alarms for kinds of partners without rules in force: one each, until there are rules."""

from dataclasses import dataclass

from infra.postgres.database import Database
from infra.workers.alarms import clear_alarm, raise_alarm
from services.referrals.handlers.rulebook import RuleBook
from services.referrals.tables import statements

NO_RULES = "no-rules"
"""The alarm's kind; its subject is the kind of partner. The worklist reads it too."""
DETAIL = "no rules are in force for this kind of partner: it is proposed to nobody"


@dataclass(frozen=True)
class RuleWatch:
    """Compares the kinds that the directory has with those of the rules in force."""

    database: Database
    rulebook: RuleBook

    async def step(self) -> int:
        """Raise and clear alarms; there is never more to do at once."""
        async with self.database.transaction() as tx:
            rules, _ = await self.rulebook.current(tx)
            kinds = {kind for (kind,) in await tx.fetch(statements.KINDS)}
            alarms = await tx.fetch(statements.ALARMS_OF, NO_RULES)
            raised = {kind for (kind,) in alarms}
            missing = kinds - set(rules.tables)
            for kind in sorted(missing - raised):
                await raise_alarm(tx, NO_RULES, kind, DETAIL)
            for kind in sorted(raised - missing):
                await clear_alarm(tx, NO_RULES, kind)
        return 0
