"""A new master key for everything, while the hub serves.

Begin an epoch; wait until no process wraps under an older one any more; rewrap what is left
under older ones; make sure that nothing is; and then, as a step of its own, destroy their keys.
Every step looks at what is there and does the rest: a run that was killed is run again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from infra.keys.key_ring import Epoch, KeyRing
from infra.keys.rewrap import ColumnLocation

PASSES = 5
"""Whoever was still writing when the rewrapping began is met by the next pass."""


class StillWrappedError(Exception):
    """Something is wrapped under an older epoch: where, and how many rows."""

    def __init__(self, left: dict[str, int]) -> None:
        super().__init__(", ".join(f"{name}: {count}" for name, count in left.items()))
        self.left = left


class NotRotatedError(Exception):
    """No rotation has come to its end since the older epochs: nothing may be destroyed."""


@dataclass(frozen=True)
class Step:
    """Where a rotation is: what it does (to which table), and how much of how much is done."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Status:
    """Every epoch, and for each table how many rows are wrapped under which."""

    epochs: Sequence[Epoch]
    counts: dict[str, dict[int, int]]

    @property
    def live(self) -> list[Epoch]:
        """The epochs whose keys exist, the newest last."""
        return [epoch for epoch in self.epochs if epoch.destroyed_at is None]

    def under(self, epochs: set[int]) -> dict[str, int]:
        """Table → rows that are wrapped under these, where there are any."""
        counted = {
            name: sum(count for epoch, count in counts.items() if epoch in epochs)
            for name, counts in self.counts.items()
        }
        return {name: count for name, count in counted.items() if count}

    @property
    def dead(self) -> dict[str, int]:
        """Table → rows that nobody opens again: of epochs destroyed, or never known here."""
        live = {epoch.number for epoch in self.live}
        return self.under({e for counts in self.counts.values() for e in counts} - live)


@dataclass(frozen=True)
class Rotation:
    """Moves everything that ``places`` keep to the newest master key."""

    ring: KeyRing
    places: Sequence[ColumnLocation]

    async def run(self) -> AsyncIterator[Step]:
        """Go on with the rotation under way, or begin one.

        While the older epoch's key exists, there is no further epoch: a second run finds
        nothing to do. Raises ``StillWrappedError`` if something cannot be rewrapped.
        """
        await self.ring.keys()  # the first epoch begins at its first use
        live = await self._live()
        if len(live) == 1:
            await self.ring.begin(after=live[-1].number)
            live = await self._live()
        known = f"epoch {live[-1].number} known everywhere"
        yield Step(known, 0, 1)
        await asyncio.sleep(self.ring.lease_seconds)
        yield Step(known, 1, 1)
        for _ in range(PASSES):
            async for step in self._rewrap(range(live[0].number, live[-1].number)):
                yield step
            if not (left := await self._left(live[:-1])):
                await self.ring.rewrapped(live[-1].number)
                return
        raise StillWrappedError(left)

    async def destroy_old(self) -> list[int]:
        """Destroy the keys of all epochs but the newest; answers which.

        Raises ``NotRotatedError`` and ``StillWrappedError``.
        """
        live = await self._live()
        old = live[:-1]
        if old and live[-1].rewrapped_at is None:
            raise NotRotatedError
        if left := await self._left(old):
            raise StillWrappedError(left)
        for epoch in old:
            await self.ring.destroy(epoch)
        return [epoch.number for epoch in old]

    async def status(self, *, settled: bool = False) -> Status:
        """How things stand; ``settled``: once whoever is writing now has committed."""
        counts = {p.kept.name: await p.counts(settled=settled) for p in self.places}
        return Status(await self.ring.epochs(), counts)

    async def _live(self) -> list[Epoch]:
        return Status(await self.ring.epochs(), {}).live

    async def _left(self, old: Sequence[Epoch]) -> dict[str, int]:
        status = await self.status(settled=True)
        return status.under({epoch.number for epoch in old})

    async def _rewrap(self, epochs: range) -> AsyncIterator[Step]:
        for place in self.places:
            name, done, after = place.kept.name, 0, ()
            counts = await place.counts()
            total = sum(count for epoch, count in counts.items() if epoch in epochs)
            yield Step(name, 0, total)
            while (moved := await place.rewrap(self.ring, epochs, after)).last is not None:
                done, after = done + moved.rows, moved.last
                yield Step(name, done, total)
