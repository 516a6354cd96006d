"""Whatever is wrong with a stranger's record, it is read where it is sound, else kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.envelope import STRUCTURED
from infra.messaging.sources.base import ForeignRecord
from infra.platform import Platform
from services.intake.handlers.arrivals import Intake
from services.intake.handlers.inbound import InboundValidator
from services.intake.handlers.kept import Place, opened
from tests.integration.intake.test_intake_kafka import (
    CANARY,
    binary,
    contact,
    structured,
)
from tests.support.topic import Topic


async def test_headers_that_say_nothing_of_the_event_may_hold_anything(topic: Topic):
    beside = (("x-null", None), ("x-bytes", b"\xff\xfe"), ("\x00", b"\x00"), ("", None),
              ("traceparent", None), ("ce_subject", None))  # fmt: skip
    sound = [structured(contact()), binary(contact())]
    others = [structured(contact()), binary(contact())]
    given = sound + [replace(one, headers=beside + one.headers) for one in others]
    unread = replace(structured(contact()), headers=(("ce_id", b"\xff"), *given[0].headers))
    given.append(unread)  # of a structured event its headers are no attributes
    await topic.deliver(*given)
    assert await topic.refused() == []
    assert await topic.contacts() == 5


async def test_an_attribute_without_a_value_is_missing_and_its_record_is_kept_whole(
    topic: Topic, platform: Platform
):
    event = contact()
    sound = binary(event)
    without = replace(
        sound, headers=tuple((n, None if n == "ce_id" else v) for n, v in sound.headers)
    )
    unread = replace(
        sound, headers=tuple((n, b"\xff" if n == "ce_id" else v) for n, v in sound.headers)
    )
    await topic.deliver(without, unread)
    assert await topic.refused() == [(0, "invalid", ["id"], 1), (1, "invalid", ["id"], 1)]
    assert await topic.replay() == 2
    keys = await platform.vault.master.keys()
    rows = await topic.rows("SELECT * FROM refused_records ORDER BY 1, 2, 3")
    kept = [
        opened(Place(row["topic"], row["partition"], row["offset"]), row["raw"], keys)
        for row in rows
    ]
    assert [(r.value, r.headers) for r in kept] == [
        (r.value, r.headers) for r in (without, unread)
    ]


async def test_a_fault_of_ours_keeps_the_record_until_we_are_repaired(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
):
    def faulty(self: InboundValidator, found: Any, *_: Any) -> Any:
        raise KeyError(CANARY)

    async def stumbling(self: Intake, tx: Any, arrivals: Sequence[Any]) -> Any:
        if any(arrival.payload.note == "stumble" for arrival in arrivals):
            raise KeyError(CANARY)
        return await apply(self, tx, arrivals)

    apply = Intake.apply
    with monkeypatch.context() as patched:
        patched.setattr(InboundValidator, "validate", faulty)
        await topic.deliver(structured(contact()))
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "apply", stumbling)
        given = [contact(), contact(note="stumble"), contact()]
        async with topic.service.database.transaction() as tx:
            await topic.records.handle([structured(e, n) for n, e in enumerate(given, 1)], tx)
    assert await topic.refused() == [(0, "internal", [], 1), (2, "internal", [], 1)]
    assert await topic.contacts() == 2
    assert await topic.replay() == 0
    assert await topic.contacts() == 4


NAMES = st.sampled_from(["content-type", "ce_id", "ce_type", "ce_source", "ce_specversion",
                         "ce_time", "ce_", "CE_ID", "ce_\x00", "traceparent", "x"])  # fmt: skip
VALUES = st.one_of(
    st.none(), st.binary(max_size=20), st.sampled_from([STRUCTURED.encode(), b"1.0", b"urn:a"])
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=8),
    value=st.one_of(st.none(), st.binary(max_size=40), st.just(b"[" * 9000), st.just(b"{}")),
)
async def test_whatever_a_record_is_it_is_taken_or_kept(
    topic: Topic, headers: list[tuple[str, bytes | None]], value: bytes | None
):
    before = await topic.contacts() + len(await topic.refused())
    hostile = ForeignRecord("public", 1, before, value, tuple(headers))
    async with topic.service.database.transaction() as tx:
        await topic.records.handle([hostile, structured(contact(), before + 10_000)], tx)
    assert await topic.contacts() + len(await topic.refused()) == before + 2
