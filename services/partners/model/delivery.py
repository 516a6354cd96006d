"""Pace of messages to one endpoint: shares, rate, breaker, retries. Pure.

Rules from the field (webhook senders compared): a share for each endpoint, so that one that
hangs holds up nobody else; places kept for first attempts, so that a storm of retries does not;
a breaker that defers without using up attempts; nothing sent for ever to what only fails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from contracts.partners import DeliveryChannelChanged, DeliveryManual
from contracts.values import MessageKind

MAX_PER_ENDPOINT = 50
MAX_BATCH = 500
"""Messages in one file."""
BREAK_AFTER = 5
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)
DISABLE_AFTER = timedelta(days=5)
BURST_SECONDS = 10
"""How many seconds' worth of its rate an endpoint may get at once."""
STAYS = frozenset(
    {
        "agreement-expired",
        "agreement-withdrawn",
        "person-erased",
        "not-composed",
        "aborted-by-receiver",
    }
)
"""Ends that another channel would not change."""


def taken_over(about: Mapping[str, Any], error: str) -> DeliveryChannelChanged | DeliveryManual:
    """Return the event of a message that a channel failed to bring for good.

    ``about``: the delivery, ``from_channel``, and ``to_channel``: the partner's next one; none
    where only a human is left.
    """
    kind = DeliveryManual if about["to_channel"] is None else DeliveryChannelChanged
    return kind.model_validate({**about, "error": error})


def blames_address(message: MessageKind, status: int | None) -> bool:
    """Return whether a failure says something of the address.

    "Not found" or "conflict" about what ends a referral says something of the referral.
    """
    return message is MessageKind.REQUESTED or status not in (404, 409)


@dataclass(frozen=True, slots=True)
class Health:
    """Failures in a row (of sends, then of probes), since when, and until when it rests."""

    failures: int = 0
    failing_since: datetime | None = None
    open_until: datetime | None = None

    def after(self, taken: int, failed: int, now: datetime) -> "Health":
        """Return the health after so many messages taken, and so many not.

        One that is taken heals. While it rests, only sends that were under way can fail: they
        say nothing new. A probe that fails doubles the rest.
        """
        if taken:
            return Health()
        if not failed or (self.open_until and now < self.open_until):
            return self
        broken = self.failures >= BREAK_AFTER
        failures = self.failures + 1 if broken else min(self.failures + failed, BREAK_AFTER)
        since = self.failing_since or now
        if failures < BREAK_AFTER:
            return Health(failures, since)
        return Health(failures, since, now + pause(failures - BREAK_AFTER))

    def hopeless(self, now: datetime) -> bool:
        """Return whether nothing was taken for so long that nothing more is sent."""
        return self.failing_since is not None and now - self.failing_since >= DISABLE_AFTER


def pause(doublings: int) -> timedelta:
    """Return how long an endpoint rests after so many failed probes."""
    return min(FIRST_PAUSE * (1 << min(doublings, 16)), LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class EndpointLoad:
    """An endpoint for which something is due. ``rate_at``: when its next send is in time.

    ``batch_minutes``: it takes all that waits as one file, at most that often.
    """

    endpoint_id: UUID
    failures: int = 0
    concurrency: int | None = None
    per_minute: int | None = None
    rate_at: datetime | None = None
    batch_minutes: int | None = None

    def room(self, in_flight: int, now: datetime) -> int:
        """Return how many messages may leave now; one, if it has to prove itself first."""
        if self.failures >= BREAK_AFTER:
            return max(0, 1 - in_flight)
        if self.batch_minutes:
            return 0 if in_flight else MAX_BATCH
        most = min(self.concurrency or MAX_PER_ENDPOINT, MAX_PER_ENDPOINT)
        return max(0, min(most - in_flight, self._in_time(now)))

    def _in_time(self, now: datetime) -> int:
        """Messages that its rate allows (GCRA: the rate is kept, a short burst is allowed)."""
        if self.per_minute is None:
            return MAX_PER_ENDPOINT
        interval = 60 / self.per_minute
        burst = max(1, int(BURST_SECONDS / interval))
        ahead = (max(self.rate_at or now, now) - now).total_seconds()
        return max(0, math.floor(burst - ahead / interval + 1e-9))

    def sent(self, count: int, now: datetime) -> datetime | None:
        """``rate_at`` after so many more; None if no rate is asked for."""
        if self.per_minute is None:
            return None
        return max(self.rate_at or now, now) + timedelta(seconds=count * 60 / self.per_minute)


def allot(
    lanes: Sequence[EndpointLoad], in_flight: Mapping[UUID, int], room: int, now: datetime
) -> dict[UUID, int]:
    """Return how many messages each endpoint may get of ``room``: the same for all.

    A file is one send, however many messages are in it: it is not cut to a share.
    """
    if not lanes or room <= 0:
        return {}
    fair, given = math.ceil(room / len(lanes)), {}
    for lane in lanes:
        most = room if lane.batch_minutes else min(fair, room)
        share = min(lane.room(in_flight.get(lane.endpoint_id, 0), now), most)
        if share > 0:
            given[lane.endpoint_id] = share
            room -= share
    return given


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Seconds before each retry; one entry for each."""

    seconds: tuple[float, ...]
    jitter: float = 0.2

    @classmethod
    def parse(cls, text: str) -> "RetrySchedule":
        """From comma-separated seconds; raises ``ValueError`` for anything else."""
        seconds = tuple(float(item) for item in text.split(",") if item.strip())
        if any(not 0 <= s <= 30 * 86_400 for s in seconds):
            raise ValueError("a retry is due within 30 days")
        return cls(seconds)

    def delay(
        self, attempts: int, share: float, retry_after: float | None = None
    ) -> float | None:
        """Seconds until the next attempt, after so many; None: give up.

        ``share`` in 0…1 places the delay within the jitter; what the partner asked for
        (``Retry-After``) can only make it longer.
        """
        if attempts > len(self.seconds):
            return None
        base = self.seconds[attempts - 1]
        return max(base * (1 + self.jitter * (2 * share - 1)), retry_after or 0.0)
