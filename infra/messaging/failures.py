"""Tells a fault of ours, at which a subscription pauses, from the messages of one author.

A batch in which nearly everybody fails says that the code is wrong, and to park everybody would
only make it worse. But who can send messages can send many that fail: so each author counts for
a few persons at most, and nobody can make a subscription pause alone (docs/adr/0021).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from infra.messaging.sources.base import Message

PERSONS_BEFORE_PAUSE = 10
PERSONS_OF_ONE_AUTHOR = 4
"""At most so many of one author's persons count: it takes three authors to pause."""


class TooManyFailuresError(Exception):
    """So much fails at once that the code is wrong, not the messages: pause instead."""


class Failures:
    """Persons who failed, by who caused their messages: in one batch, or batch after batch."""

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._failing: Counter[str] = Counter()

    def forget(self) -> None:
        """Something went well."""
        self._failing.clear()

    def judge(self, messages: Sequence[Message[Any]], failed: Collection[str]) -> None:
        """Count a batch of which these keys failed; raises ``TooManyFailuresError``."""
        persons: dict[str, set[str]] = defaultdict(set)
        for message in messages:
            persons[message.author or message.key].add(message.key)
        everybody = set().union(*persons.values())
        if len(failed) < len(everybody):
            self._failing.clear()
        failing = {author: keys & set(failed) for author, keys in persons.items()}
        self._failing.update({author: len(keys) for author, keys in failing.items() if keys})
        counted = sum(min(n, PERSONS_OF_ONE_AUTHOR) for n in self._failing.values())
        most_authors = self._most(
            [a for a in persons if self._most(failing[a], persons[a])], persons
        )
        if counted >= PERSONS_BEFORE_PAUSE and self._most(failed, everybody) and most_authors:
            authors = len(self._failing)
            self._failing.clear()
            spared = len(everybody) - len(failed)
            raise TooManyFailuresError(
                f"{len(failed)} persons of {authors} authors failed, {spared} did not"
            )

    def _most(self, some: Collection[str], everything: Collection[str]) -> bool:
        return len(some) > self._max_share * len(everything)
