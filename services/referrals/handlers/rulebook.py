"""The rules in force: the newest that were published, parsed once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from contracts.referrals import RulesPublished
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending
from infra.postgres.transaction import Transaction
from services.referrals.model.rules import Rules
from services.referrals.tables import statements

STREAM = "rules"
"""One stream for all rule sets of a site: what was published last is in force."""


@dataclass
class RuleBook:
    """Finds the rules in force; a service that has none publishes those it came with."""

    built_in: Path
    _parsed: dict[str, Rules] = field(default_factory=dict)

    async def current(self, tx: Transaction) -> tuple[Rules, Pending | None]:
        """The rules in force, and what must be written first if none were published yet.

        Two processes that publish at once: one gets a ``ConcurrencyError`` and looks again.
        """
        row = await tx.fetchrow(statements.RULES_IN_FORCE)
        if row:
            return self._parse(row), None
        rules = Rules.parse(self.built_in.read_bytes(), self.built_in.stem, 1)
        return rules, publication(rules, 0)

    async def of_digest(self, tx: Transaction, digest: str) -> Rules | None:
        """Rules that were once in force; None if nobody published such."""
        row = await tx.fetchrow(statements.RULES_OF_DIGEST, digest)
        if row is None:
            return None
        return Rules.parse(row["content"].encode(), row["rules"], row["version"])

    def _parse(self, row: Any) -> Rules:
        if row["digest"] not in self._parsed:
            content = row["content"].encode()
            self._parsed = {row["digest"]: Rules.parse(content, row["rules"], row["version"])}
        return self._parsed[row["digest"]]


def publication(rules: Rules, version: int, meta: EventMetadata | None = None) -> Pending:
    """The event that puts rules into force; ``version`` is the stream's."""
    published = RulesPublished(
        rules=rules.name,
        version=rules.version,
        digest=rules.digest,
        content=orjson.loads(rules.content),
    )
    return Pending(STREAM, [published], None, meta or EventMetadata(), version)
