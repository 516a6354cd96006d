"""Refused records as they are kept: encrypted, and bound to their place."""

import base64
from typing import Any

import orjson

from infra.keys.key_ring import MasterKeys
from infra.keys.rewrap import EncryptedColumn
from infra.messaging.sources.base import ForeignRecord


def closed(record: ForeignRecord, keys: MasterKeys) -> bytes:
    """A record, to be kept."""
    headers = [[name, _base64(value)] for name, value in record.headers]
    text = orjson.dumps([_base64(record.value), headers, record.size])
    return keys.wrap(text, _bound(*place_of(record)))


def opened(row: Any, keys: MasterKeys) -> ForeignRecord:
    """Undo ``closed``, for a row of ``refused_records``."""
    place = (row["topic"], row["partition"], row["offset"])
    value, headers, size = orjson.loads(keys.unwrap(row["raw"], _bound(*place)))
    read = tuple((name, _bytes(text)) for name, text in headers)
    return ForeignRecord(*place, _bytes(value), read, size)


def place_of(record: ForeignRecord) -> tuple[str, int, int]:
    """Where a record is."""
    return record.topic, record.partition, record.offset


def _bound(topic: str, partition: int, offset: int) -> bytes:
    return f"refused record {topic} {partition} {offset}".encode()


REFUSED = EncryptedColumn(
    "intake",
    "refused_records",
    ("topic", "partition", "offset"),
    "raw",
    lambda row: _bound(row["topic"], row["partition"], row["offset"]),
)


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
