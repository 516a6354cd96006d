"""CloudEvents envelopes: against the official SDK, and what is refused by which name."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event
from cloudevents.core.bindings.http import to_structured_event as to_structured_http
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from cloudevents.core.bindings.kafka import to_binary_event as to_binary_kafka
from cloudevents.core.bindings.kafka import to_structured_event as to_structured_kafka
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from contracts import envelope
from contracts.envelope import (
    ContentTypeError,
    Envelope,
    EnvelopeError,
    Mode,
    NotJSONError,
)
from contracts.public import PUBLIC_TYPES
from contracts.tools.examples import example

SOUND = {"specversion": "1.0", "id": "a-1", "source": "/desk", "type": "t"}
DATA = {"mode": "walk-in", "note": "à bientôt"}
FULL = Envelope(
    id='é 1%"x',
    source="https://petite-foret.example/desk?a=b",
    type="fr.aiguillage.public.contact.recorded.v1",
    data=DATA,
    subject="guichet n° 2",
    time=datetime(2026, 11, 23, 10, 0, 0, 123456, UTC),
    datacontenttype="application/json",
    dataschema="https://aiguillage.fr/schemas/x.json",
    extensions={"traceparent": "00-ab", "urgence": "1"},
)


def sdk_event(event: Envelope) -> CloudEvent:
    attributes = envelope.to_object(event)
    data = attributes.pop("data")
    if event.time:
        attributes["time"] = event.time
    return CloudEvent(attributes, data)


def known_to_sdk(event: Any) -> dict[str, Any]:
    """What the SDK read, as our envelope writes it."""
    attributes = {k: v for k, v in event.get_attributes().items() if v is not None}
    if isinstance(time := attributes.get("time"), datetime):
        attributes["time"] = time.isoformat().replace("+00:00", "Z")
    data = event.get_data()
    parsed = orjson.loads(data) if isinstance(data, str | bytes) else data
    return {**attributes, "data": parsed}


# The SDK reads what we write, we read what it writes


def test_sdk_reads_our_structured_event():
    headers = {"content-type": envelope.STRUCTURED}
    read = from_http_event(HTTPMessage(headers, envelope.to_structured(FULL)))
    assert known_to_sdk(read) == envelope.to_object(FULL)


def test_sdk_reads_our_structured_event_from_a_kafka_record():
    headers = {"content-type": envelope.STRUCTURED.encode()}
    read = from_kafka_event(KafkaMessage(headers, None, envelope.to_structured(FULL)))
    assert known_to_sdk(read) == envelope.to_object(FULL)


def test_sdks_structured_http_event_is_read():
    message = to_structured_http(sdk_event(FULL))
    assert envelope.http_mode(message.headers["content-type"], message.headers) is (
        Mode.STRUCTURED
    )
    assert envelope.from_structured(message.body) == FULL


def test_sdks_binary_http_event_is_read():
    message = to_binary_event(sdk_event(FULL))
    assert envelope.http_mode(message.headers["content-type"], message.headers) is Mode.BINARY
    assert envelope.from_http_binary(message.headers.items(), message.body) == FULL


def test_sdks_binary_kafka_record_is_read():
    message = to_binary_kafka(sdk_event(FULL))
    assert envelope.from_kafka(message.headers.items(), message.value) == FULL


def test_sdks_structured_kafka_record_is_read():
    message = to_structured_kafka(sdk_event(FULL))
    assert envelope.from_kafka(message.headers.items(), message.value) == FULL


@pytest.mark.parametrize("event_type", sorted(PUBLIC_TYPES))
def test_sdk_accepts_the_examples_as_printed(event_type: str):
    body = orjson.dumps(event := example(event_type))
    read = from_http_event(HTTPMessage({"content-type": envelope.STRUCTURED}, body))
    assert (read.get_id(), read.get_type()) == (event["id"], event_type)
    assert envelope.from_structured(body).data == event["data"]


text = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=40)


@given(text, text, st.recursive(st.integers(-99, 99) | text, st.lists, max_leaves=5))
def test_every_way_carries_an_event_unchanged(event_id: str, subject: str, data: Any):
    event = Envelope(
        event_id, "/desk", "t", data, subject, FULL.time, datacontenttype="application/json"
    )
    http, record = to_binary_event(sdk_event(event)), to_binary_kafka(sdk_event(event))
    body = json.dumps(data).encode()
    assert envelope.from_structured(envelope.to_structured(event)) == event
    assert envelope.from_http_binary(http.headers.items(), body) == event
    assert envelope.from_kafka(record.headers.items(), body) == event


# What is read leniently, because the specification says so


def test_null_attribute_is_an_absent_one():
    assert envelope.from_object({**SOUND, "subject": None, "time": None}).time is None


def test_base64_data_is_decoded():
    encoded = base64.b64encode(orjson.dumps(DATA)).decode()
    assert envelope.from_object({**SOUND, "data_base64": encoded}).data == DATA


def test_header_names_and_content_types_are_of_any_case():
    headers = {f"CE-{name.title()}": value for name, value in SOUND.items()}
    headers |= {"Content-Type": "Application/JSON; charset=UTF-8"}
    assert envelope.from_http_binary(headers.items(), b"{}").id == "a-1"
    assert envelope.http_mode("APPLICATION/CloudEvents+JSON;charset=utf-8", {}) is (
        Mode.STRUCTURED
    )
    assert envelope.http_mode("application/cloudevents-batch+json", {}) is Mode.BATCH


def test_quoted_header_value_is_unquoted():
    headers = {f"ce-{k}": v for k, v in SOUND.items()} | {"ce-subject": '"a \\"b\\""'}
    assert envelope.from_http_binary(headers.items(), b"").subject == 'a "b"'


def test_extension_data_type_of_the_json_format_is_read():
    headers = {f"ce-{k}": v for k, v in SOUND.items()}
    headers["content-type"] = "application/vnd.desk+json"
    found = envelope.from_http_binary(headers.items(), b"[]")
    assert (found.data, found.datacontenttype) == ([], "application/vnd.desk+json")


def test_batch_gives_one_result_for_each_in_order():
    good, bad, other = envelope.from_batch(orjson.dumps([SOUND, {}, {**SOUND, "id": "b"}]))
    assert isinstance(good, Envelope)
    assert isinstance(bad, EnvelopeError)
    assert isinstance(other, Envelope)
    assert (good.id, bad.attribute, other.id) == ("a-1", "specversion", "b")


# What is refused, and the attribute that the error names

WRONG: dict[str, list[Any]] = {
    "specversion": [None, "", "0.3", "1", 1.5],
    "id": [None, "", 7, {}, "a\x00b", "a\nb", "a\ufffeb", "x" * 1025],
    "source": [None, "", 7, "a b", "<x>", "a\u00a0b"],
    "type": [None, "", True],
    "subject": ["", [], "\x85"],
    "dataschema": ["", "a b", 5],
    "datacontenttype": ["text/xml", "application/octet-stream", "json"],
    "time": [
        "yesterday", "2026-11-23", "2026-11-23T10:00:00", "2026-11-23 10:00:00Z", 1732,
        "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+14:00", "2026-11-23T10:00:00+0100",
    ],
    "sequence": [2**31, 1.5, {}, [], "a\x01"],
    "data_base64": ["%%%", "e30", 7, base64.b64encode(b"<a/>").decode()],
}  # fmt: skip


@pytest.mark.parametrize("attribute", WRONG)
def test_wrong_attribute_is_named_and_never_quoted(attribute: str):
    for value in WRONG[attribute]:
        with pytest.raises(EnvelopeError) as caught:
            envelope.from_object({**SOUND, attribute: value})
        assert caught.value.attribute == attribute
        assert str(value) not in caught.value.detail or len(str(value)) < 3


@pytest.mark.parametrize("name", ["Urgent", "my-ext", "é", "x" * 65, ""])
def test_extension_names_are_lower_case_letters_and_digits(name: str):
    with pytest.raises(EnvelopeError, match="lower-case letters and digits"):
        envelope.from_object({**SOUND, name: "x"})


@pytest.mark.parametrize("name", ["Marie Dupont", "x" * 65])
def test_name_that_could_be_anybodys_is_not_repeated(name: str):
    with pytest.raises(EnvelopeError) as caught:
        envelope.from_object({**SOUND, name: "x"})
    assert name not in str(caught.value)


@pytest.mark.parametrize("item", [None, [], "x", 1])
def test_event_that_is_no_object_is_refused(item: Any):
    with pytest.raises(EnvelopeError, match="event: must be a JSON object"):
        envelope.from_object(item)


def test_data_in_both_forms_is_refused():
    with pytest.raises(EnvelopeError, match="not both"):
        envelope.from_object({**SOUND, "data": {}, "data_base64": "e30="})


@pytest.mark.parametrize(
    ("extra", "attribute"),
    [
        ([("ce-id", "again")], "id"),
        ([("ce-datacontenttype", "text/a"), ("content-type", "text/b")], "datacontenttype"),
        ([("content-type", "application/json")] * 2, "datacontenttype"),
        ([("ce-subject", "%ff")], "subject"),
    ],
)
def test_wrong_binary_header_is_named(extra: list[tuple[str, str]], attribute: str):
    headers = [(f"ce-{k}", v) for k, v in SOUND.items()] + extra
    with pytest.raises(EnvelopeError) as caught:
        envelope.from_http_binary(headers, b"")
    assert caught.value.attribute == attribute


def test_kafka_header_that_is_not_utf8_is_named():
    headers = [(f"ce_{k}", v.encode()) for k, v in SOUND.items()] + [("ce_ext", b"\xff")]
    with pytest.raises(EnvelopeError, match="ext: must be UTF-8"):
        envelope.from_kafka(headers, b"{}")


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/cloudevents+avro", "application/json",
     "application/cloudevents+json; charset=latin1"],
)  # fmt: skip
def test_other_content_types_are_not_read(content_type: str | None):
    with pytest.raises(ContentTypeError):
        envelope.http_mode(content_type, {"host": "x"})


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents-batch+json", b"application/xml"]
)
def test_kafka_record_of_another_content_type_is_not_read(content_type: bytes):
    headers = [(f"ce_{k}", v.encode()) for k, v in SOUND.items()]
    with pytest.raises(ContentTypeError):
        envelope.from_kafka([*headers, ("content-type", content_type)], b"{}")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\\ud800"', b"NaN", b"[" * 2000])
def test_what_is_not_json_is_refused_without_quoting_it(body: bytes):
    with pytest.raises(NotJSONError, match=r"^not JSON at line \d+, column \d+$"):
        envelope.from_structured(body)


def test_batch_that_is_no_array_is_refused():
    with pytest.raises(NotJSONError, match="a JSON array"):
        envelope.from_batch(orjson.dumps(SOUND))
