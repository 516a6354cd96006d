"""Our events as CloudEvents: what is written is read back, by us and by the official SDK."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from infra.base.telemetry import TRACEPARENT, new_traceparent, trace_id
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.messaging.cloudevents import (
    NotOurEventError,
    attributes,
    from_kafka,
    parse_record,
    to_kafka,
    to_record,
)

CANARY = "Zébulon-Canari"
uuids = st.uuids(version=4)
moments = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
plain = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x7f"),
    min_size=1,
    max_size=60,
)
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value, ensure_ascii=False))
metas = st.builds(
    EventMetadata,
    plain,
    st.none() | uuids,
    st.none() | uuids,
    st.none() | st.builds(new_traceparent),
)
salts = st.binary(min_size=32, max_size=32)
events = st.builds(
    StoredEvent,
    st.sampled_from(["intake", "referrals", "partners", "audit"]),
    st.integers(1, 10**17),
    uuids,
    plain,
    st.integers(1, 2**31 - 1),
    plain,
    st.none() | uuids,
    moments,
    moments,
    json_texts.filter(lambda text: text.encode(errors="ignore").decode() == text),
    st.none() | st.binary(min_size=1, max_size=200),
    metas,
    salts,
    salts,
).map(lambda event: event if event.sealed else replace(event, sealed_salt=None))


def example(**changed: object) -> StoredEvent:
    given_values = {
        "service": "intake",
        "position": 41,
        "event_id": uuid4(),
        "stream": f"person-{uuid4()}",
        "version": 3,
        "type": "fr.aiguillage.intake.contact.recorded.v1",
        "person_id": uuid4(),
        "occurred_at": datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        "recorded_at": datetime(2026, 11, 23, 9, 31, 2, 5, tzinfo=UTC),
        "data": '{"a": 1}',
        "sealed": b"\x00\x01ciphertext",
        "meta": EventMetadata("desk", uuid4(), uuid4(), new_traceparent(), "system:a"),
        "salt": bytes(range(32)),
        "sealed_salt": bytes(range(32, 64)) if changed.get("sealed", True) else None,
    }
    return StoredEvent(**{**given_values, **changed})  # type: ignore[arg-type]


@given(events)
def test_event_is_read_back_as_it_was_written(event: StoredEvent):
    _, value, headers = to_kafka(event)
    assert from_kafka(value, headers) == event
    assert parse_record(to_record(event)) == event


@given(events)
def test_entry_of_the_log_survives_the_way_through_kafka(event: StoredEvent):
    _, value, headers = to_kafka(event)
    assert from_kafka(value, headers).entry() == event.entry()


@given(events)
def test_event_without_its_personal_part_is_still_the_one_that_the_log_hashes(
    event: StoredEvent,
):
    stripped = event.stripped()
    assert stripped.sealed is None
    assert stripped.entry() == event.entry()
    _, value, headers = to_kafka(stripped)
    assert from_kafka(value, headers).entry() == event.entry()
    assert parse_record(to_record(stripped)) == stripped


@pytest.mark.parametrize("name", ["sealed", "sealedsalt"])
def test_sealed_part_and_its_salt_come_together_or_not_at_all(name: str):
    _, value, headers = to_kafka(example())
    with pytest.raises(NotOurEventError, match="sealed and sealedsalt come together"):
        from_kafka(value, [(n, v) for n, v in headers if n != f"ce_{name}"])


def test_records_are_keyed_by_person_or_else_by_stream():
    person = uuid4()
    assert to_kafka(example(person_id=person))[0] == str(person).encode()
    assert to_kafka(example(person_id=None, stream="partner-plie"))[0] == b"partner-plie"


@pytest.mark.parametrize("person", [None, UUID(int=7)])
@pytest.mark.parametrize("sealed", [None, b"ciphertext"])
def test_official_sdk_reads_our_records(person: UUID | None, sealed: bytes | None):
    event = example(person_id=person, sealed=sealed)
    key, value, headers = to_kafka(event)
    read = from_binary(
        KafkaMessage(headers=dict(headers), key=key.decode(), value=value), JSONFormat()
    )
    found = dict(read.get_attributes())
    found["time"] = found["time"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert found.pop("datacontenttype") == "application/json"
    assert found == attributes(event)
    assert read.get_data() == {"a": 1}


def test_plain_trace_header_is_a_new_hop_of_the_same_trace():
    event = example()
    headers = dict(to_kafka(event)[2])
    hop, origin = headers["traceparent"].decode(), headers["ce_traceparent"].decode()
    assert origin == event.meta.traceparent
    assert TRACEPARENT.fullmatch(hop)
    assert hop != origin
    assert trace_id(hop) == trace_id(origin)


def test_attributes_of_newer_writers_are_ignored():
    event = example()
    _, value, headers = to_kafka(event)
    stranger = [("ce_invented", b"\xff"), ("x-other", b"\xff"), ("ce_data", b"{}")]
    assert from_kafka(value, [*headers, *stranger]) == event


MALFORMED = {
    "id": ["", "no-uuid", CANARY],
    "source": [CANARY, "urn:other:intake"],
    "type": ["", f"a\x00{CANARY}"],
    "subject": ["", f"{CANARY}\x00", f"{CANARY}\n", CANARY * 100],
    "time": [CANARY, "2026-11-23T09:30:00"],
    "recordedtime": [CANARY, "yesterday"],
    "sequence": ["", "0", "-1", "1_0", "٣", CANARY, "9" * 30],
    "position": ["", "0", "-5", "1e3", CANARY, "9" * 19],
    "personid": ["", CANARY],
    "causationid": [CANARY],
    "correlationid": [CANARY],
    "sealed": [CANARY, "a"],
    "salt": ["", CANARY, "a", "AAAA"],
    "sealedsalt": ["", CANARY, "a", "AAAA"],
    "actor": ["", f"{CANARY}\t"],
    "origin": ["", f"{CANARY}\t"],
    "traceparent": [f"\x1b{CANARY}"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in MALFORMED.items() for text in texts]
)
def test_malformed_attribute_is_named_and_its_value_is_not(name: str, text: str):
    _, value, headers = to_kafka(example())
    changed = [(n, text.encode() if n == f"ce_{name}" else v) for n, v in headers]
    with pytest.raises(NotOurEventError) as refused:
        from_kafka(value, changed)
    assert f"attribute {name} " in str(refused.value)
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "name", ["id", "source", "type", "subject", "time", "recordedtime", "sequence", "position",
             "salt"],
)  # fmt: skip
def test_missing_attribute_is_named(name: str):
    _, value, headers = to_kafka(example())
    with pytest.raises(NotOurEventError, match=f"attribute {name} is missing"):
        from_kafka(value, [(n, v) for n, v in headers if n != f"ce_{name}"])


@pytest.mark.parametrize("name", ["id", "subject", "personid"])
def test_attribute_that_is_not_utf8_is_named(name: str):
    _, value, headers = to_kafka(example())
    changed = [(n, b"\xff\xfe" if n == f"ce_{name}" else v) for n, v in headers]
    with pytest.raises(NotOurEventError, match=f"attribute {name} is not UTF-8"):
        from_kafka(value, changed)


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"{", CANARY.encode()])
def test_data_that_is_not_json_is_refused(value: bytes | None):
    with pytest.raises(NotOurEventError, match="attribute data is") as refused:
        from_kafka(value, to_kafka(example())[2])
    assert CANARY not in str(refused.value)


@given(st.binary(max_size=200), st.lists(st.tuples(st.text(max_size=12), st.binary())))
def test_any_other_record_is_refused_and_breaks_nothing(
    value: bytes, headers: list[tuple[str, bytes]]
):
    with pytest.raises(NotOurEventError):
        from_kafka(value, headers)


@given(
    st.binary(max_size=80)
    | st.sampled_from([b"[]", b"{}", b'"x"', b'{"data": 5}', b'{"topic": "t", "offset": 3}'])
)
def test_any_other_text_is_not_a_kept_event(record: bytes):
    with pytest.raises(NotOurEventError):
        parse_record(record)
