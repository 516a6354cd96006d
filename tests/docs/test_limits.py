"""Whatever a reader refuses, a writer cannot make: the table of limits is that of the code."""

import re
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from contracts.sizes import EventTooLargeError
from infra.eventstore import events
from infra.eventstore.events import UnreadableNameError, entry_bytes
from infra.messaging.cloudevents import to_kafka, to_record
from infra.tlog import note, proof, tiles, witness
from infra.tlog.export.layout import MAX_FILE_BYTES
from infra.tlog.merkle import HASH_SIZE
from infra.tlog.note import Note, Signature
from infra.tlog.proof import Proof
from infra.tlog.witness import Submission
from services.audit.routes import log
from tests.support.exports import recorded

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"
ROW = re.compile(
    r"\| (?P<what>[^|]+) \| (?P<written>[\d,]+) \w+ \| `(?P<writer>[^`]+)` "
    r"\| (?P<read>[\d,]+) (?P<unit>\w+) \| `(?P<reader>[^`]+)` \|"
)
ML_DSA_LINE = 4 + 8 + 2420


class Limit(NamedTuple):
    what: str
    written: int
    writer: str
    read: int
    reader: str


def limits() -> list[Limit]:
    """The rows of the table."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    found = [ROW.fullmatch(row) for row in rows]
    assert all(found), "a row that is not of the table's form"
    return [
        Limit(m["what"], _number(m["written"]), m["writer"], _number(m["read"]), m["reader"])
        for m in found
        if m
    ]


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def value(place: str) -> int:
    """What a constant or a topic's setting is in the code."""
    named, _, key = place.partition("[")
    module, _, name = named.rpartition(".")
    found = getattr(import_module(module), name)
    return int(found[key.rstrip("]")] if key else found)


@pytest.mark.parametrize("limit", limits(), ids=lambda limit: limit.what)
def test_the_page_says_what_the_code_holds_and_no_writer_exceeds_its_reader(
    limit: Limit,
) -> None:
    assert value(limit.writer) == limit.written
    assert value(limit.reader) == limit.read
    assert limit.written <= limit.read


@pytest.mark.parametrize("sealed", [None, b"x" * (events.MAX_EVENT_BYTES * 3 // 4 - 2)])
def test_the_largest_event_is_a_record_that_producers_and_topics_take(
    sealed: bytes | None,
) -> None:
    data = "{}" if sealed else orjson.dumps("x" * (events.MAX_EVENT_BYTES - 2)).decode()
    name = "é" * events.MAX_NAME
    largest = recorded(data=data, sealed=sealed, stream=name, type=name, actor=name)
    largest.require_readable()
    key, content, headers = to_kafka(largest)
    size = len(key) + len(content) + sum(len(n) + len(v) for n, v in headers)
    assert size < value("infra.messaging.relay.MAX_RECORD_BYTES")
    assert len(to_record(largest)) < 3 * events.MAX_EVENT_BYTES


@pytest.mark.parametrize(
    "given",
    [
        {"data": orjson.dumps("x" * events.MAX_EVENT_BYTES).decode()},
        {"sealed": b"x" * events.MAX_EVENT_BYTES},
        {"stream": "x" * (events.MAX_NAME + 1)},
        {"type": "a\nb"},
        {"actor": "a\0b"},
    ],
)
def test_what_a_reader_would_refuse_is_not_written(given: dict[str, object]) -> None:
    with pytest.raises((EventTooLargeError, UnreadableNameError)):
        recorded(**given).require_readable()


def test_the_largest_entry_bundle_proof_and_submission_are_read() -> None:
    entry = entry_bytes(bytes(32), bytes(32), bytes(32))
    assert len(entry) <= events.MAX_ENTRY_BYTES
    assert tiles.TILE_WIDTH * (2 + tiles.MAX_ENTRY_SIZE) <= MAX_FILE_BYTES
    line = Signature("a" * 100, bytes(4), bytes(ML_DSA_LINE))
    largest = Note("log\n1\nAAAA\n", (line,) * note.MAX_SIGNATURES).format()
    path = [bytes(HASH_SIZE)] * proof.MAX_PATH
    assert Proof.parse(Proof(2**62, path, largest, entry).format()).extra == entry
    submission = Submission(2**62, path, largest).format()
    assert len(submission) <= witness.MAX_BYTES
    assert Submission.parse(submission).note == largest


def test_a_page_of_entries_is_read_whatever_stands_in_it() -> None:
    """JSON in JSON escapes quotes and backslashes: twice the size; base64 is a third more."""
    data = orjson.dumps('"\\' * (events.MAX_EVENT_BYTES // 4)).decode()
    pages = log.PAGE_BYTES + events.MAX_EVENT_BYTES
    assert len(orjson.dumps(data)) <= 2.1 * len(data)
    assert 3 * pages <= value("infra.tlog.verify.remote.MAX_PAGE_BYTES")
