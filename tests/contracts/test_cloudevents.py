"""What we produce is read by the CloudEvents project's own SDK."""

from datetime import UTC, datetime
from uuid import UUID

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from contracts.base import dataschema
from contracts.referrals import CaseOpened
from contracts.values import Thematique
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.messaging.cloudevents import to_kafka

PERSON = UUID("5f0c7a53-2d8e-4a53-9d7b-2f6f6c1d9d11")
EVENT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def case_opened() -> CaseOpened:
    need = next(iter(Thematique))
    return CaseOpened(case_id=EVENT, person_id=PERSON, need_id=EVENT, thematique=need)


def recorded() -> StoredEvent:
    moment = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    return StoredEvent(
        service="referrals",
        position=7,
        event_id=EVENT,
        stream=f"case-{EVENT}",
        version=3,
        type=CaseOpened.type,
        person_id=PERSON,
        occurred_at=moment,
        recorded_at=moment,
        data=case_opened().clear_json().decode(),
        sealed=b"\x01sealed",
        meta=EventMetadata("hub", EVENT, EVENT, TRACE),
        salt=bytes(32),
        sealed_salt=bytes(32),
    )


def read_by_sdk() -> CloudEvent:
    key, value, headers = to_kafka(recorded())
    message = KafkaMessage(dict(headers), key.decode(), value)
    event = from_binary(message, JSONFormat(), CloudEvent)
    assert isinstance(event, CloudEvent)
    return event


def test_sdk_reads_our_kafka_record() -> None:
    event = read_by_sdk()
    assert event.get_id() == str(EVENT)
    assert event.get_type() == CaseOpened.type
    assert event.get_source() == "urn:aiguillage:referrals"
    assert event.get_subject() == f"case-{EVENT}"
    assert event.get_time() == datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    assert event.get_dataschema() == dataschema(CaseOpened.type)


def test_sdk_finds_our_extensions() -> None:
    extensions = read_by_sdk().get_extension
    assert extensions("partitionkey") == str(PERSON)
    assert extensions("sequence") == "0000000003"
    assert extensions("position") == "7"
    assert extensions("traceparent") == TRACE


def test_data_arrive_as_the_contract_says() -> None:
    assert CaseOpened.model_validate(read_by_sdk().get_data()) == case_opened()
