"""Rows of data·inclusion v1: read from JSON or CSV, checked one by one, in one spelling.

Refusals are in words of our own: a message of the schema might quote what was sent.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from unicodedata import bidirectional, category

import orjson
from data_inclusion.schema.v1 import Service, Structure
from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.checks.communes import zone_exists
from contracts.checks.nir import find_nir
from contracts.types import PastDay

MOST_ROWS = 200_000
"""Four times the services of a large national source; checked and compared in memory."""
MOST_BYTES = 64 * 1024
"""Of one row: one event holds it, and Kafka and every subscriber have to carry it."""
MOST_ID = 120
LISTS = (
    "thematiques",
    "publics",
    "modes_accueil",
    "zone_eligibilite",
    "modes_mobilisation",
    "mobilisable_par",
    "reseaux_porteurs",
)
_IDS = ("source", "id", "structure_id")
_NUMBERS = ("longitude", "latitude", "volume_horaire_hebdomadaire")
_CHANGED: TypeAdapter[date] = TypeAdapter(PastDay)
_DECIMAL = re.compile(r"[+-]?\d{1,3}\.\d+(?:e-\d+)?", re.IGNORECASE)
_NO_NUMBERS = ("nan", "inf", "infinity")
"""The schema would take these words of a table for numbers; JSON has no such numbers."""
_LISTS_WANTED = "give an object with the lists `structures` and `services`, or a list of both"
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bq]\?[^?]*\?=", re.IGNORECASE)
"""RFC 2047: a mail program would read another text out of it, line breaks too."""
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_LINES = ("\n", "\r", "\t")
_WRONG = {
    "missing": "is required",
    "enum": "is not a value of data·inclusion v1",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "does not have the form of data·inclusion v1",
    "string_type": "must be a text",
    "set_type": "must be a list",
    "list_type": "must be a list",
    "url_parsing": "must be an http or https address",
    "url_scheme": "must be an http or https address",
    "date_from_datetime_parsing": "must be a date: 2026-11-23",
    "date_parsing": "must be a date: 2026-11-23",
    "value_error": "is not valid by data·inclusion v1",
}
Row = dict[str, Any]


class ImportRefusedError(Exception):
    """Nothing was imported: why, in words."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Structures and services of one source; ``services`` None: nothing is said of them.

    ``ages``: minimum and maximum age by service, where a format knows them.
    """

    structures: Sequence[Any]
    services: Sequence[Any] | None
    ages: Mapping[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < len(self.structures) + len(self.services or ()) <= MOST_ROWS:
            raise ImportRefusedError(f"give at least one row, and at most {MOST_ROWS}")


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not taken: which (counted from 1), which field, and why."""

    what: str
    row: int
    id: str
    field: str
    detail: str


def read(first: bytes, second: bytes | None = None) -> Documents:
    """Read JSON or CSV, by the first character; ``second``: services, if they are apart.

    Raises ``ImportRefusedError``.
    """
    if first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        return read_csv(_text(first), None if second is None else _text(second))
    if second is None:
        return read_json(first)
    structures, services = _json(first), _json(second)
    if not isinstance(structures, list) or not isinstance(services, list):
        raise ImportRefusedError("two JSON files are two lists: structures, then services")
    return Documents(structures, services)


def together(parts: Sequence[Documents]) -> Documents:
    """Join the parts of one source; raises ``ImportRefusedError`` where it is too large."""
    services = [row for part in parts for row in part.services or ()]
    listed = any(part.services is not None for part in parts)
    structures = [row for part in parts for row in part.structures]
    return Documents(structures, services if listed else None)


def read_json(content: bytes) -> Documents:
    """Read ``structures`` and ``services``, or one list; raises ``ImportRefusedError``."""
    document = _json(content)
    if isinstance(document, list):
        offers = [row for row in document if _is_service(row)]
        return Documents([row for row in document if not _is_service(row)], offers or None)
    if not isinstance(document, dict) or not {"structures", "services"} & document.keys():
        raise ImportRefusedError(_LISTS_WANTED)
    structures: Any = document.get("structures", [])
    services: Any = document.get("services")
    if not isinstance(structures, list) or not isinstance(services, list | None):
        raise ImportRefusedError(_LISTS_WANTED)
    return Documents(structures, services)


def read_csv(structures: str, services: str | None) -> Documents:
    """Read two tables with data·inclusion's columns; lists as JSON or with ``|`` between."""
    return Documents(_table(structures), None if services is None else _table(services))


def _is_service(row: Any) -> bool:
    return isinstance(row, dict) and "structure_id" in row


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise ImportRefusedError("this is not JSON in UTF-8") from error


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportRefusedError("a table is in UTF-8") from error


def _table(text: str) -> list[Row]:
    text = text.removeprefix("\ufeff")
    head = text.partition("\n")[0]
    delimiter = ";" if head.count(";") > head.count(",") else ","
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        if not {"source", "id"} <= set(lines.fieldnames or ()):
            raise ImportRefusedError("a table has the columns of data·inclusion: source, id, …")
        rows = []
        for line in lines:
            # an empty cell is absent, one too many is kept to be refused
            cells = {
                name if name is not None else "(cells)": _cell(name, value)
                for name, value in line.items()
                if value and (not isinstance(value, str) or value.strip())
            }
            if cells:
                rows.append(cells)
        return rows
    except csv.Error as error:
        raise ImportRefusedError("a table cannot be read as CSV") from error


def _cell(name: str | None, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value.strip()
    if name not in LISTS:
        return value
    if value.startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return [value]
    return [item.strip() for item in value.split("|") if item.strip()]


def canonical(schema: type[BaseModel], row: Row) -> Row:
    """Return a row as it is stored: in the schema's order, sets sorted, no blanks.

    Raises ``ValidationError``.
    """
    values = schema.model_validate(row).model_dump(mode="json", exclude_none=True)
    return {
        name: sorted(set(value)) if isinstance(value, list) else value
        for name, value in values.items()
    }


@dataclass(slots=True)
class Checked:
    """Rows that fit, by id, with their number; and what was refused."""

    structures: dict[str, tuple[int, Row]] = field(default_factory=dict)
    services: dict[str, tuple[int, Row]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, what: str, number: int, row: Any, name: str, detail: str) -> None:
        """Keep a row out."""
        self.refused.append(Refused(what, number, id_of(row), name, detail))


def check(documents: Documents) -> Checked:
    """Check each row by the schema, and by what no schema says; not by what is known."""
    checked = Checked()
    tables: list[tuple[str, Sequence[Any], type[BaseModel], dict[str, tuple[int, Row]]]] = [
        ("structure", documents.structures, Structure, checked.structures),
        ("service", documents.services or (), Service, checked.services),
    ]
    for what, rows, schema, good in tables:
        seen: dict[str, int] = {}
        for number, item in enumerate(rows, 1):
            faults = list(_faults(item, schema))
            if not faults and (before := seen.setdefault(item["id"], number)) != number:
                faults = [("id", f"is listed before, as number {before}")]
            for name, detail in faults:
                checked.refuse(what, number, item, name, detail)
            if not faults:
                good[item["id"]] = number, canonical(schema, item)
    return checked


def _faults(row: Any, schema: type[BaseModel]) -> Iterator[tuple[str, str]]:
    if not isinstance(row, dict):
        yield "(row)", "must be an object"
    elif "(cells)" in row:
        yield "(row)", "has more cells than there are columns"
    else:
        yield from _faults_of_object(row, schema)


def _faults_of_object(row: Row, schema: type[BaseModel]) -> Iterator[tuple[str, str]]:
    try:
        content = orjson.dumps(row)
    except orjson.JSONEncodeError:
        yield "(row)", "is nested too deeply"
        return
    if len(content) > MOST_BYTES:
        yield "(row)", f"has more than {MOST_BYTES // 1024} KiB"
        return
    # a table's numbers are texts: the places of a longitude are no NIR
    searched = {
        name: value
        for name, value in row.items()
        if not (name in _NUMBERS and _DECIMAL.fullmatch(str(value)))
    }
    if (place := find_nir(searched)) is not None:
        yield place, "must not hold a NIR"
        return
    yield from _unstorable(row)
    if misfits := _misfits(row, schema):
        yield from misfits.items()
        return
    # a zone that nobody lies in would leave a service without anybody, in silence
    name = "zone_eligibilite"
    if any(isinstance(zone, str) and not zone_exists(zone) for zone in _items(row.get(name))):
        yield name, "holds a code of no commune, EPCI or département of France"


def _unstorable(row: Row) -> Iterator[tuple[str, str]]:
    for name in _IDS:
        if len(str(row.get(name, ""))) > MOST_ID:
            yield name, f"has more than {MOST_ID} characters"
    for name, value in row.items():
        if not name.isprintable():
            yield "(row)", "has a heading with characters that cannot be shown"
            continue
        # what acts rather than shows: controls, other than of lines, and those that turn the
        # direction of what follows (UAX 9)
        if any(
            (category(c) == "Cc" and c not in _LINES) or bidirectional(c) in _TURNING
            for text in _texts(value)
            for c in text
        ):
            yield name, "holds control characters"
        if any(_ENCODED_WORD.search(text) for text in _texts(value)):
            yield name, "holds a word encoded for mail"
        if name in _NUMBERS and str(value).lower().strip("+- ") in _NO_NUMBERS:
            yield name, "must be a number"


def _texts(value: Any) -> Iterable[str]:
    return [value] if isinstance(value, str) else [str(v) for v in _items(value)]


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _misfits(row: Row, schema: type[BaseModel]) -> dict[str, str]:
    """Return field → why it does not fit the schema, or data·inclusion's days."""
    misfits: dict[str, str] = {}
    try:
        schema.model_validate(row)
    except ValidationError as error:
        misfits = {
            (str(f["loc"][0]) if f["loc"] else "(row)"): _WRONG.get(f["type"], "is not valid")
            for f in error.errors(include_input=False, include_url=False)
        }
    try:  # the schema takes numbers for days, and any year
        _CHANGED.validate_python(row.get("date_maj", "1970-01-01"))
    except ValidationError as error:
        detail = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        misfits.setdefault("date_maj", detail)
    return misfits


def id_of(row: Any) -> str:
    """Return what a row calls itself, to be shown: nothing that has not the form of an id."""
    name = row.get("id") if isinstance(row, dict) else None
    if not isinstance(name, str) or len(name) > MOST_ID or not name.isprintable():
        return ""
    return "" if find_nir({"id": name}) else name
