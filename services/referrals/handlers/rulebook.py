"""The rules in force: the newest that were published, parsed once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from contracts.referrals import RulesPublished
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending
from infra.postgres.transaction import Transaction
from services.referrals.model.rules import Rules
from services.referrals.tables import statements

STREAM = "rules"
"""One stream for all rule sets of a site: what was published last is in force."""


class PublishedRules(NamedTuple):
    """A row of ``RULES_IN_FORCE``."""

    version: int
    name: str
    digest: str
    content: str

    def parse(self) -> Rules:
        """Return the rules that the row holds."""
        return Rules.parse(self.content.encode(), self.name, self.version)


async def published(tx: Transaction, digest: str | None = None) -> PublishedRules | None:
    """Return the rules in force, or those of a digest; None if nobody published such."""
    if digest is None:
        row = await tx.fetchrow(statements.RULES_IN_FORCE)
    else:
        row = await tx.fetchrow(statements.RULES_OF_DIGEST, digest)
    return PublishedRules(*row) if row else None


@dataclass
class RuleBook:
    """The rules in force; a service that has none publishes those it came with."""

    built_in: Path
    _parsed: dict[str, Rules] = field(default_factory=dict)

    async def current(self, tx: Transaction) -> tuple[Rules, Pending | None]:
        """Return the rules in force, and what must be written first if there were none yet.

        Two processes that publish at once: one gets a ``ConcurrencyError`` and looks again.
        """
        row = await published(tx)
        if row is None:
            rules = Rules.parse(self.built_in.read_bytes(), self.built_in.stem, 1)
            return rules, publication(rules, 0)
        if row.digest not in self._parsed:
            self._parsed = {row.digest: row.parse()}
        return self._parsed[row.digest], None

    async def of_digest(self, tx: Transaction, digest: str) -> Rules | None:
        """Return rules that were once in force; None if nobody published such."""
        row = await published(tx, digest)
        return row.parse() if row else None


def publication(rules: Rules, version: int, meta: EventMetadata | None = None) -> Pending:
    """Return the event that puts rules into force; ``version`` is the stream's."""
    event = RulesPublished(
        rules=rules.name,
        version=rules.version,
        digest=rules.digest,
        content=orjson.loads(rules.content),
    )
    return Pending(STREAM, [event], None, meta or EventMetadata(), version)
