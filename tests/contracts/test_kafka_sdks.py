"""What SDKs of CloudEvents send to Kafka is read: those for JavaScript and for Python."""

from random import Random
from typing import Any

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from contracts import envelope
from contracts.envelope import Envelope, EnvelopeError
from contracts.public import PUBLIC_TYPES, PublicContact
from contracts.tools.examples import envelope as wrap
from tests.support import cloudevents_js

Json = dict[str, Any]
SAID = {"mode": "phone", "person": {"ref": "u-1"}, "note": "Zoé veut un rendez-vous"}


def contact(**given: Any) -> Json:
    made = wrap(PublicContact.TYPE, SAID, Random(7), "urn:library")
    return {**made, "time": "2026-11-02T09:30:00Z", **given}


def assert_read(found: Envelope, event: Json) -> None:
    """As the same event by HTTP, and good for the intake."""
    expected = envelope.from_object(event)
    assert (found.id, found.source, found.type) == (expected.id, expected.source, expected.type)
    assert (found.data, found.time) == (expected.data, expected.time)
    PUBLIC_TYPES[found.type].model_validate(found.data)


@pytest.mark.slow
def test_javascripts_binary_and_structured_records_are_read():
    event = contact()
    binary, structured = cloudevents_js.kafka_records([event])
    assert ("ce_datacontenttype", b"application/json") in binary[0]  # beside content-type
    for headers, value in (binary, structured):
        assert_read(envelope.from_kafka(headers, value), event)


def test_pythons_binary_and_structured_records_are_read():
    event = contact()
    attributes = {k: v for k, v in event.items() if k not in ("data", "time")}
    time = envelope.from_object(event).time
    sent = CloudEvent({**attributes, "time": time}, event["data"])
    for message in (
        kafka.to_binary(sent, JSONFormat()),
        kafka.to_structured(sent, JSONFormat()),
    ):
        assert message.value is not None
        assert_read(envelope.from_kafka(list(message.headers.items()), message.value), event)


@pytest.mark.parametrize(
    ("beside", "fault"),
    [
        ("application/json", None),
        ("Application/JSON", None),
        ("text/xml", "datacontenttype"),
        ("application/json; charset=utf-8", None),
        ("application/vnd.other+json", "datacontenttype"),
    ],
)
def test_only_a_contradicting_datacontenttype_is_refused(beside: str, fault: str | None):
    event = contact()
    named = {k: v for k, v in event.items() if k not in ("data", "datacontenttype")}
    given = [("datacontenttype", beside), *named.items()]
    body = b'{"mode": "phone"}'
    kafka_headers = [(f"ce_{n}", str(v).encode()) for n, v in given]
    kafka_headers.append(("content-type", b"application/json"))
    http_headers = [(f"ce-{n}", str(v)) for n, v in given]
    http_headers.append(("content-type", "application/json"))

    def read_both() -> None:
        for found in (
            envelope.from_kafka(kafka_headers, body),
            envelope.from_http_binary(http_headers, body),
        ):
            assert found.datacontenttype == beside

    if fault is None:
        read_both()
        return
    with pytest.raises(EnvelopeError) as refused:
        envelope.from_kafka(kafka_headers, body)
    assert refused.value.attribute == fault
    with pytest.raises(EnvelopeError) as refused:
        envelope.from_http_binary(http_headers, body)
    assert refused.value.attribute == fault


def test_datacontenttype_alone_says_what_the_data_are():
    event = contact()
    named = {k: v for k, v in event.items() if k != "data"}
    headers = [(f"ce_{n}", str(v).encode()) for n, v in named.items()]
    assert_read(
        envelope.from_kafka(headers, b'{"mode": "phone"}'), {**event, "data": {"mode": "phone"}}
    )
