"""Pace of deliveries: shares, rates, rest, retries."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.partners.model.delivery import (
    BREAK_AFTER,
    DISABLE_AFTER,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_BATCH,
    MAX_PER_ENDPOINT,
    EndpointLoad,
    Health,
    allot,
    pause,
)

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
lanes = st.builds(
    EndpointLoad,
    st.builds(uuid4),
    failures=st.integers(0, 12),
    concurrency=st.none() | st.integers(1, 80),
    per_minute=st.none() | st.integers(1, 5000),
    rate_at=st.none() | st.integers(-90, 90).map(lambda s: NOW + timedelta(seconds=s)),
)


def test_few_failures_in_a_row_do_not_rest_an_endpoint():
    health = Health().after(0, BREAK_AFTER - 1, NOW)
    assert (health.failures, health.open_until) == (BREAK_AFTER - 1, None)
    assert health.failing_since == NOW


def test_many_failures_at_once_rest_it_as_long_as_just_enough_do():
    assert Health().after(0, 500, NOW) == Health().after(0, BREAK_AFTER, NOW)
    assert Health().after(0, 500, NOW).open_until == NOW + FIRST_PAUSE


def test_each_failed_probe_doubles_the_rest_up_to_its_longest():
    health, now, rests = Health(BREAK_AFTER, NOW, NOW), NOW, []
    for _ in range(12):
        health = health.after(0, 1, now)
        assert health.open_until
        rests.append(health.open_until - now)
        now = health.open_until
    assert rests[:3] == [FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8]
    assert rests[-1] == LONGEST_PAUSE
    assert rests == sorted(rests)
    assert pause(10**6) == LONGEST_PAUSE


def test_what_was_under_way_when_the_rest_began_does_not_lengthen_it():
    resting = Health().after(0, BREAK_AFTER, NOW)
    assert resting.after(0, 50, NOW + timedelta(seconds=1)) == resting


def test_one_message_that_is_taken_heals():
    resting = Health().after(0, BREAK_AFTER, NOW)
    assert resting.after(1, 49, NOW + FIRST_PAUSE) == Health()


def test_endpoint_is_hopeless_only_after_days_of_nothing_but_failures():
    health = Health().after(0, BREAK_AFTER, NOW)
    assert not health.hopeless(NOW + DISABLE_AFTER - timedelta(seconds=1))
    assert health.hopeless(NOW + DISABLE_AFTER)
    assert not Health().hopeless(NOW + 10 * DISABLE_AFTER)


def test_endpoint_that_has_rested_gets_one_probe_at_a_time():
    lane = EndpointLoad(UUID(int=1), failures=BREAK_AFTER)
    assert lane.room(0, NOW) == 1
    assert lane.room(1, NOW) == 0


@pytest.mark.parametrize("per_minute", [1, 6, 60, 600])
def test_rate_is_kept_over_any_time_with_a_short_burst_at_most(per_minute: int):
    lane, now, sent = EndpointLoad(UUID(int=1), per_minute=per_minute), NOW, 0
    for _ in range(600):
        count = min(lane.room(0, now), MAX_PER_ENDPOINT)
        sent += count
        rate_at = lane.sent(count, now) if count else lane.rate_at
        lane = EndpointLoad(lane.endpoint_id, per_minute=per_minute, rate_at=rate_at)
        now += timedelta(seconds=1)
    burst = max(1, per_minute // 6)
    assert per_minute * 10 - 1 <= sent <= per_minute * 10 + burst


def test_lane_without_a_rate_keeps_none():
    assert EndpointLoad(UUID(int=1)).sent(5, NOW) is None


@given(st.lists(lanes, max_size=20), st.integers(0, 300))
def test_shares_stay_within_the_room_and_within_each_lane(
    given_lanes: list[EndpointLoad], room: int
):
    found = allot(given_lanes, {}, room, NOW)
    assert sum(found.values()) <= room
    for lane in given_lanes:
        share = found.get(lane.endpoint_id, 0)
        assert share <= min(lane.room(0, NOW), lane.concurrency or MAX_PER_ENDPOINT)
        assert share <= MAX_PER_ENDPOINT


@given(st.integers(1, 30), st.integers(1, 300))
def test_no_endpoint_gets_more_than_its_equal_share(count: int, room: int):
    found = allot([EndpointLoad(uuid4()) for _ in range(count)], {}, room, NOW)
    assert max(found.values()) - min(found.values()) <= -(-room // count)
    assert max(found.values()) <= -(-room // count)


def test_file_takes_all_that_waits_whatever_the_others_share_and_one_at_a_time():
    batch, others = (
        EndpointLoad(uuid4(), batch_minutes=60),
        [EndpointLoad(uuid4()) for _ in range(50)],
    )
    assert allot([batch, *others], {}, 600, NOW)[batch.endpoint_id] == MAX_BATCH
    assert allot([batch, *others], {}, 40, NOW)[batch.endpoint_id] == 40
    assert batch.endpoint_id not in allot([batch], {batch.endpoint_id: 1}, 600, NOW)


def test_full_endpoint_gets_nothing_and_the_others_do():
    full, other = EndpointLoad(uuid4()), EndpointLoad(uuid4())
    found = allot([full, other], {full.endpoint_id: MAX_PER_ENDPOINT}, 100, NOW)
    assert found == {other.endpoint_id: 50}
