"""A transaction that lost against another runs again, a few times."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from infra.eventstore.retrying import retrying
from infra.eventstore.store import ConcurrencyError
from infra.postgres.database import Database


class Transactions:
    """A database that counts how transactions end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        try:
            yield object()
        except BaseException:
            self.ended.append("rolled back")
            raise
        self.ended.append("committed")


def failing(times: int, error: Exception) -> Any:
    left = [error] * times

    async def work(tx: Any) -> str:
        if left:
            raise left.pop()
        return "done"

    return work


async def test_conflict_is_tried_again_in_another_transaction() -> None:
    database = Transactions()
    work = failing(2, ConcurrencyError("somebody was faster"))
    assert await retrying(cast(Database, database), work) == "done"
    assert database.ended == ["rolled back", "rolled back", "committed"]


async def test_conflicts_without_end_are_given_up() -> None:
    database = Transactions()
    with pytest.raises(TimeoutError, match="3 conflicts"):
        await retrying(cast(Database, database), failing(9, ConcurrencyError()), attempts=3)
    assert database.ended == ["rolled back"] * 3


async def test_other_errors_are_not_tried_again() -> None:
    database = Transactions()
    with pytest.raises(ValueError, match="wrong"):
        await retrying(cast(Database, database), failing(1, ValueError("wrong")))
    assert database.ended == ["rolled back"]
