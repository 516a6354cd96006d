"""A subscription pauses for a fault of ours; nobody can make it pause alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.eventstore.events import EventMetadata, StoredEvent
from infra.messaging.failures import (
    PERSONS_BEFORE_PAUSE,
    PERSONS_OF_ONE_AUTHOR,
    Failures,
    TooManyFailuresError,
)
from infra.messaging.sources.base import Message


def messages(author: str | None, *numbers: int) -> list[Message[str]]:
    return [Message(n, f"{author}-{n}", "x", n, author=author) for n in numbers]


def judged(
    failures: Failures, failing: Sequence[Message[str]], sound: Sequence[Message[str]]
) -> bool:
    """Whether a batch of these pauses."""
    try:
        failures.judge([*failing, *sound], {message.key for message in failing})
    except TooManyFailuresError:
        return True
    return False


def test_one_authors_messages_never_pause_however_many_fail():
    failures = Failures(0.5)
    assert not judged(failures, messages("partner:a", *range(500)), [])
    for number in range(500):
        assert not judged(failures, messages("partner:a", number), [])


def test_a_few_authors_among_many_never_pause():
    failing = [m for a in "abcd" for m in messages(f"partner:{a}", *range(100))]
    sound = [m for a in "efghi" for m in messages(f"partner:{a}", 1)]
    assert not judged(Failures(0.5), failing, sound)


def test_persons_of_several_authors_pause_when_most_of_them_fail():
    failing = [m for a in "abc" for m in messages(f"system:{a}", *range(4))]
    assert judged(Failures(0.5), failing, messages("system:d", 1))


def test_what_the_hub_did_by_itself_has_no_author_and_counts_person_by_person():
    assert judged(Failures(0.5), messages(None, *range(PERSONS_BEFORE_PAUSE)), [])
    assert not judged(Failures(0.5), messages(None, *range(PERSONS_BEFORE_PAUSE - 1)), [])


def test_failures_one_by_one_add_up_until_something_goes_well():
    failures = Failures(0.5)
    for number in range(PERSONS_BEFORE_PAUSE - 1):
        assert not judged(failures, messages(None, number), [])
    assert judged(failures, messages(None, 99), [])
    for number in range(PERSONS_BEFORE_PAUSE - 1):
        assert not judged(failures, messages(None, number), [])
    failures.forget()
    assert not judged(failures, messages(None, 99), [])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60),
    st.lists(st.integers(0, 20), max_size=3),
)
def test_whatever_one_author_sends_pauses_nothing_unless_others_fail_too(
    hostile: list[tuple[int, bool]], accidents: list[int]
):
    """Up to two accidents beside do not help: it takes persons of other authors."""
    failing = messages("partner:h", *{n for n, fails in hostile if fails})
    sound = messages("partner:h", *({n for n, _ in hostile} - {n for n, f in hostile if f}))
    beside = [m for n in set(accidents) for m in messages(f"system:{n}", 1)]
    assert len(beside) + PERSONS_OF_ONE_AUTHOR < PERSONS_BEFORE_PAUSE
    assert not judged(Failures(0.5), [*failing, *beside], sound)


def recorded(meta: EventMetadata) -> StoredEvent:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return StoredEvent(
        "intake", 1, uuid4(), "s", 1, "t", uuid4(), at, at, "{}", None, meta, b""
    )


@pytest.mark.parametrize(
    ("meta", "author"),
    [
        (EventMetadata(), None),
        (EventMetadata("hub:deadline"), None),
        (EventMetadata("partner:p1"), "partner:p1"),
        (EventMetadata(origin="partner:p1"), "partner:p1"),
        (EventMetadata("adviser:x", origin="partner:p1"), "partner:p1"),
    ],
)
def test_the_author_is_who_acted_from_outside_first(meta: EventMetadata, author: str | None):
    event = recorded(meta)
    assert event.author == author
    assert recorded(event.caused()).author == author
    assert recorded(recorded(event.caused()).caused()).author == author
    assert EventMetadata.parse(event.caused().json()) == event.caused()
