"""CloudEvents 1.0 envelopes: HTTP structured, batch and binary, Kafka structured and binary.

Strict: what the specification calls invalid is refused, naming the attribute and never its
value. Data is JSON in every mode. Pure functions between bytes and headers and ``Envelope``.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import orjson

from contracts.types import read_moment

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
MAX_ATTRIBUTE_CHARS = 1024
"""Bound of every attribute's text; the specification leaves it to the receiver."""

_CONTEXT = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}
)
_NAME = re.compile(r"[a-z0-9]{1,64}")
# CloudEvents type String: no control characters, no noncharacters.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_URI = re.compile(r"[^\s\"<>\\^`{|}]+")
_JSON_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/([a-z0-9!#$&^_.+-]+\+)?json", flags=re.ASCII)
_INT32 = 2**31
Extension = str | int | bool
Headers = Iterable[tuple[str, str]]


class Mode(Enum):
    """How a message carries its event."""

    STRUCTURED = "structured"
    BATCH = "batch"
    BINARY = "binary"


class EnvelopeError(ValueError):
    """Not a CloudEvent: ``attribute`` is at fault; the text never quotes a value."""

    def __init__(self, attribute: str, detail: str) -> None:
        super().__init__(f"{attribute}: {detail}")
        self.attribute = attribute
        self.detail = detail


class NotJSONError(ValueError):
    """The body, or the data in it, is not JSON."""


class ContentTypeError(ValueError):
    """A content type that we do not read."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One CloudEvent. ``data`` is its parsed JSON, None where there is none.

    ``time`` keeps the offset that its sender wrote.
    """

    id: str
    source: str
    type: str
    data: Any = None
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, Extension] = field(default_factory=dict)


def http_mode(content_type: str | None, headers: Mapping[str, str]) -> Mode:
    """Return how an HTTP request carries events; raises ``ContentTypeError``."""
    media = _media_type(content_type)
    if media == STRUCTURED:
        return Mode.STRUCTURED
    if media == BATCH:
        return Mode.BATCH
    if _JSON_TYPE.fullmatch(media) and any(name.startswith("ce-") for name in headers):
        return Mode.BINARY
    raise ContentTypeError(f"send {STRUCTURED}, {BATCH}, or ce- headers with {JSON}")


def read_json(body: bytes) -> Any:
    """Parse a body; raises ``NotJSONError`` with the place of the fault."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJSONError(f"not JSON at line {error.lineno}, column {error.colno}") from None


def from_structured(body: bytes) -> Envelope:
    """Read a structured event; raises ``NotJSONError`` and ``EnvelopeError``."""
    return from_object(read_json(body))


def from_batch(body: bytes) -> list[Envelope | EnvelopeError]:
    """Read a batch: one result each, in order; raises ``NotJSONError`` for no JSON array."""
    results: list[Envelope | EnvelopeError] = []
    for item in batch_items(body):
        try:
            results.append(from_object(item))
        except EnvelopeError as error:
            results.append(error)
    return results


def batch_items(body: bytes) -> list[Any]:
    """Parse the events of a batch; raises ``NotJSONError`` for no JSON array."""
    items = read_json(body)
    if not isinstance(items, list):
        raise NotJSONError("a batch is a JSON array of events")
    return items


def from_object(event: Any) -> Envelope:
    """Read one event of the JSON format; raises ``EnvelopeError``."""
    if not isinstance(event, dict):
        raise EnvelopeError("event", "must be a JSON object")
    attributes = {k: v for k, v in event.items() if v is not None}
    data = attributes.pop("data", None)
    if "data_base64" in attributes:
        if data is not None:
            raise EnvelopeError("data_base64", "give data or data_base64, not both")
        encoded = cast(str, attributes.pop("data_base64"))
        try:
            data = read_json(base64.b64decode(encoded, validate=True))
        except (binascii.Error, TypeError, ValueError):
            raise EnvelopeError("data_base64", "must be JSON in base64") from None
    return _envelope(attributes, data)


def from_http_binary(headers: Headers, body: bytes) -> Envelope:
    """Read an event from ``ce-`` headers, whose values are percent-encoded, and its data.

    Raises ``NotJSONError``, ``EnvelopeError`` and ``ContentTypeError``.
    """
    named = _named(headers, "ce-")
    attributes = {name: _percent_decoded(name, value) for name, value in named.items()}
    return _binary(attributes, body)


def from_kafka(headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> Envelope:
    """Read an event from a Kafka record in either mode (Kafka binding 1.0.2 §3).

    Headers that say nothing of the event may hold anything; one without a value is absent.
    Raises ``NotJSONError``, ``EnvelopeError`` and ``ContentTypeError``.
    """
    present = [(name, text) for name, text in headers if text is not None]
    kinds = [(n, _utf8(n, text)) for n, text in present if n.lower() == "content-type"]
    media = _media_type(next((text for _, text in kinds), None) or JSON)
    if media == STRUCTURED:
        return from_structured(value or b"")
    if media.startswith("application/cloudevents"):
        raise ContentTypeError(f"send {STRUCTURED}, or ce_ headers with {JSON}")
    texts = [(n, _utf8(n, text)) for n, text in present if n.lower().startswith("ce_")]
    return _binary(_named([*kinds, *texts], "ce_"), value or b"")


def to_object(envelope: Envelope) -> dict[str, Any]:
    """Return the event in the JSON format, absent attributes left out."""
    time = envelope.time
    given: dict[str, Any] = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": envelope.source,
        "type": envelope.type,
        "subject": envelope.subject,
        "time": time.isoformat().replace("+00:00", "Z") if time else None,
        "datacontenttype": envelope.datacontenttype,
        "dataschema": envelope.dataschema,
        **envelope.extensions,
        "data": envelope.data,
    }
    return {name: value for name, value in given.items() if value is not None}


def to_structured(envelope: Envelope) -> bytes:
    """Write the event as one JSON text, for HTTP and for Kafka (type ``STRUCTURED``)."""
    return orjson.dumps(to_object(envelope))


def _binary(attributes: Mapping[str, Any], body: bytes) -> Envelope:
    content_type = attributes.get("datacontenttype", JSON)
    if not _JSON_TYPE.fullmatch(_media_type(content_type)):
        raise ContentTypeError(f"data must be JSON: send {JSON}")
    return _envelope(attributes, read_json(body) if body else None)


def _envelope(attributes: Mapping[str, Any], data: Any) -> Envelope:
    extensions = _checked(attributes)
    content_type = attributes.get("datacontenttype")
    if content_type is not None and not _JSON_TYPE.fullmatch(_media_type(content_type)):
        raise EnvelopeError("datacontenttype", "data must be JSON")
    return Envelope(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        data=data,
        subject=attributes.get("subject"),
        time=_time(attributes["time"]) if "time" in attributes else None,
        datacontenttype=content_type,
        dataschema=attributes.get("dataschema"),
        extensions=extensions,
    )


def _checked(attributes: Mapping[str, Any]) -> dict[str, Extension]:
    """Check every attribute against the specification. Return the extensions."""
    for name in ("specversion", "id", "source", "type"):
        if name not in attributes:
            raise EnvelopeError(name, "is missing")
    if attributes["specversion"] != "1.0":
        raise EnvelopeError("specversion", "must be 1.0")
    extensions = {}
    for name, value in attributes.items():
        if name in _CONTEXT:
            _check_text(name, value)
        else:
            extensions[name] = _extension(name, value)
    for name in ("source", "dataschema"):
        if name in attributes and not _URI.fullmatch(attributes[name]):
            raise EnvelopeError(name, "must be a URI")
    return extensions


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise EnvelopeError(name, "must be a text that is not empty")
    if len(value) > MAX_ATTRIBUTE_CHARS:
        raise EnvelopeError(name, f"must have at most {MAX_ATTRIBUTE_CHARS} characters")
    if _NOT_TEXT.search(value):
        raise EnvelopeError(name, "must have no control characters")


def _extension(name: str, value: Any) -> Extension:
    if not _NAME.fullmatch(name):
        raise EnvelopeError(_safe(name), "attribute names are lower-case letters and digits")
    if isinstance(value, str):
        if value:
            _check_text(name, value)
        return value
    if isinstance(value, int) and -_INT32 <= value < _INT32:
        return value
    raise EnvelopeError(name, "must be a text, a boolean or a 32-bit integer")


def _safe(name: str) -> str:
    """A stranger's attribute name in an error: only if it could be the name of something."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else "extension"


def _time(text: str) -> datetime:
    try:
        return read_moment(text)
    except ValueError as error:
        raise EnvelopeError("time", str(error)) from None


def _media_type(content_type: str | None) -> str:
    media, _, parameters = (content_type or "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "").partition("charset=")[2]
    if charset.partition(";")[0] not in ("", "utf-8", "utf8", "us-ascii"):
        raise ContentTypeError("JSON is UTF-8")
    return media.strip()


def _named(headers: Headers, prefix: str) -> dict[str, str]:
    """Attribute → text, from the headers with a prefix; content-type is datacontenttype.

    Some SDKs give that one under its own name as well: only a contradiction is refused.
    """
    named: dict[str, str] = {}
    content_type: str | None = None
    for header, value in headers:
        name = header.lower()
        attribute = name[3:] if name.startswith(prefix) else ""
        if name == "content-type":
            if content_type is not None:
                raise EnvelopeError("datacontenttype", "is given twice")
            content_type = value
        elif attribute in named:
            raise EnvelopeError(_safe(attribute), "is given twice")
        elif attribute:
            named[attribute] = value
    if content_type is not None:
        stated = named.setdefault("datacontenttype", content_type)
        if _media_type(stated) != _media_type(content_type):
            raise EnvelopeError("datacontenttype", "contradicts content-type")
    return named


def _percent_decoded(name: str, value: str) -> str:
    if name == "datacontenttype":
        return value
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if "%" not in value and value.isascii():
        return value
    return _utf8(name, unquote_to_bytes(value.encode("latin-1", "replace")))


def _utf8(name: str, text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        attribute = name.removeprefix("ce_")
        raise EnvelopeError(_safe(attribute), "must be UTF-8") from None
