"""Messages and answers as tables, for partners that exchange files (PLIE). Pure.

As French spreadsheets read them: UTF-8 with a mark, semicolons, French headings. A cell that a
spreadsheet would run as a formula is made text (OWASP, CSV injection).
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from unicodedata import combining, normalize

import orjson
from pydantic import ValidationError

from contracts.checks.nir import find_nir
from contracts.days import PARIS
from contracts.fields import FIELDS
from contracts.values import (
    REQUESTER_LABELS,
    BusinessStatus,
    Reason,
    ReferralStatus,
    RequesterKind,
    Thematique,
)
from contracts.webhooks import Answer
from services.partners.model.choices import REASONS
from services.partners.model.letters import label

_FRENCH_PHONE = re.compile(r"\+33[1-9][0-9]{8}")
S, B = ReferralStatus, BusinessStatus
MAX_LINES = 5000
MESSAGES = {
    "referral.requested": "demande",
    "referral.reminded": "rappel",
    "appointment.changed": "rendez-vous déplacé",
    "appointment.cancelled": "rendez-vous annulé",
    "referral.cancelled": "annulation",
    "agreement.withdrawn": "retrait d'accord",
    "person.erased": "effacement",
}
_ABOUT = {
    "referral_id": "reference",
    "partner_reference": "reference_partenaire",
    "service_id": "service",
    "thematique": "besoin",
    "urgent": "urgent",
    "do_not_contact": "ne_pas_contacter",
    "appointment_at": "rendez_vous_propose",
    "agreed_until": "accord_jusqu_au",
    "requested_on": "demande_du",
    "expires_on": "reponse_avant_le",
    "reason": "motif",
    "withdrawn_on": "retrait_du",
    "erased_on": "effacement_du",
}
_REQUESTER = {
    "name": "demandeur",
    "kind": "demandeur_type",
    "phone": "demandeur_telephone",
    "email": "demandeur_courriel",
}
_PERSON = {name: entry.column for name, entry in FIELDS.items() if entry.column}
HEADINGS = ["message", "identifiant", *_ABOUT.values(), *_REQUESTER.values(), *_PERSON.values()]
_UNSEEN = r"[\s\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]*"
_FORMULA = re.compile(rf"(^|[,;|\t\r\n])({_UNSEEN}[=+\-@＝＋－＠])|^(?=[\t\r])")
"""Where a cell begins that a spreadsheet would run: also after what another one splits at, and
behind what nobody sees; the full-width signs count as the others do."""
_STATUSES: dict[str, dict[str, Any]] = {
    "reçue": {"status": S.REQUESTED, "business_status": B.RECEIVED},
    "à l'étude": {"status": S.REQUESTED, "business_status": B.UNDER_STUDY},
    "en commission": {"status": S.REQUESTED, "business_status": B.COMMISSION_SCHEDULED},
    "réunion d'information": {
        "status": S.REQUESTED, "business_status": B.APPOINTMENT_SCHEDULED,
    },
    "acceptée": {"status": S.ACCEPTED},
    "refusée": {"status": S.REJECTED},
    "liste d'attente": {
        "status": S.ON_HOLD, "business_status": B.WAITLISTED, "reason": Reason.NO_CAPACITY,
    },
    "démarrée": {"status": S.IN_PROGRESS},
    "terminée": {"status": S.COMPLETED},
    "non aboutie": {"status": S.FAILED},
}  # fmt: skip
_FIELDS = {
    "referral_id": "reference",
    "status": "statut",
    "reason": "motif",
    "outcome": "resultat",
    "appointment_at": "date_rendez_vous",
    "commission_on": "date_commission",
    "no_capacity_until": "complet_jusqu_au",
    "comment": "commentaire",
    "partner_reference": "reference_partenaire",
    "business_status": "statut",
}


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that was not taken: which heading, and why, in French; never the value."""

    line: int
    heading: str
    detail: str


def written(body: bytes, identifier: str) -> bytes:
    """Return a message of ours as a table of one line; the identifier tells a repeat."""
    message = orjson.loads(body)
    data = message["data"]
    if "thematique" in data:
        data["thematique"] = label(Thematique(data["thematique"]))
    if "appointment_at" in data:
        at = datetime.fromisoformat(data["appointment_at"]).astimezone(PARIS)
        data["appointment_at"] = f"{at:%d/%m/%Y %H:%M}"
    row = {"message": MESSAGES[message["type"]], "identifiant": identifier}
    row |= {heading: _cell(data.get(name)) for name, heading in _ABOUT.items()}
    requester, person = data.get("requester", {}), data.get("person", {})
    if requester:
        requester["kind"] = REQUESTER_LABELS[RequesterKind(requester["kind"])]
    row |= {heading: _cell(requester.get(name)) for name, heading in _REQUESTER.items()}
    row |= {heading: _cell(person.get(name)) for name, heading in _PERSON.items()}
    row[_REQUESTER["phone"]] = _phone(requester.get("phone"))
    row[_PERSON["phone"]] = _phone(person.get("phone"))
    return _table(HEADINGS, [row])


def joined(tables: Sequence[bytes]) -> bytes:
    """Return several tables of ours as one."""
    first, *others = tables
    return first + b"".join(table.partition(b"\r\n")[2] for table in others)


def receipt(taken: Sequence[int], errors: Sequence[LineError]) -> bytes:
    """Return what became of each line, as a table for the partner."""
    rows = {n: {"ligne": str(n), "resultat": "enregistrée"} for n in taken}
    for error in errors:
        rows[error.line] = {
            "ligne": str(error.line),
            "resultat": "refusée",
            "raison": error.detail,
            "colonne": _cell(error.heading),  # it may be a heading of theirs
        }
    return _table(["ligne", "resultat", "colonne", "raison"], [rows[n] for n in sorted(rows)])


def read(content: bytes) -> tuple[list[tuple[int, Answer]], list[LineError]]:
    """Return the answers of a table, by line; and the lines that are none."""
    text = _decoded(content)
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(";,\t", key=first.count)
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    answers: list[tuple[int, Answer]] = []
    errors: list[LineError] = []
    try:
        lines.fieldnames = [_folded(name) for name in lines.fieldnames or ()]
        for line in lines:
            number = lines.line_num
            if any(_texts(line)):  # spreadsheets end in rows of empty cells
                answer = _answer(number, line)
                if isinstance(answer, LineError):
                    errors.append(answer)
                else:
                    answers.append((number, answer))
            if number > MAX_LINES:
                errors.append(LineError(number, "", f"au plus {MAX_LINES} lignes"))
                break
    except csv.Error:
        errors.append(LineError(lines.line_num, "", "illisible à partir de cette ligne"))
    return answers, errors


def _folded(heading: str) -> str:
    """A heading or a word of a list in one spelling: no accents, capitals or spaces."""
    plain = (c for c in normalize("NFKD", heading.casefold()) if not combining(c))
    return re.sub(r"[^a-z0-9]+", "_", "".join(plain)).strip("_")


def _texts(line: dict[str, Any]) -> Iterator[str]:
    for cell in line.values():
        yield from (text.strip() for text in (cell if isinstance(cell, list) else [cell or ""]))


def _decoded(content: bytes) -> str:
    """UTF-8, or what older spreadsheets write."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


_BY_STATUS = {_folded(text): fields for text, fields in _STATUSES.items()}
_BY_REASON = {_folded(text): reason for reason, text in REASONS.items()}


def _answer(number: int, cells: dict[str, str | None]) -> Answer | LineError:
    line = {k: (v or "").strip() for k, v in cells.items() if k}
    if find_nir(line) is not None:
        return LineError(number, str(find_nir(line)), "pas de numéro de sécurité sociale")
    try:
        return Answer.model_validate(_fields(line))
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        return LineError(number, _FIELDS.get(name, name), "valeur absente ou non reconnue")


def _fields(line: dict[str, str]) -> dict[str, Any]:
    status = line.get("statut", "")
    fields = {"status": status.lower(), **_BY_STATUS.get(_folded(status), {})}
    fields["referral_id"] = line.get("reference")
    reason = line.get("motif", "")
    if reason:
        fields["reason"] = _BY_REASON.get(_folded(reason), reason)
    for name in ("resultat", "commentaire", "reference_partenaire"):
        if line.get(name):
            key = next(k for k, heading in _FIELDS.items() if heading == name)
            fields[key] = line[name].removeprefix("'")
    fields |= {
        "appointment_at": _moment(line.get("date_rendez_vous", "")),
        "commission_on": _day(line.get("date_commission", "")),
        "no_capacity_until": _day(line.get("complet_jusqu_au", "")),
    }
    return fields


def _day(text: str) -> date | str | None:
    for form in ("%d/%m/%Y", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=PARIS).date()
        except ValueError:
            continue
    return text or None


def _moment(text: str) -> datetime | str | None:
    for form in ("%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=PARIS)
        except ValueError:
            continue
    return text or None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "oui" if value else "non"
    return _FORMULA.sub(lambda found: f"{found[1] or ''}'{found[2] or ''}", str(value))


def _phone(value: Any) -> str:
    """As it is dialled here."""
    text = str(value or "")
    return "0" + text[3:] if _FRENCH_PHONE.fullmatch(text) else _cell(value)


def _table(headings: Sequence[str], rows: Sequence[dict[str, str]]) -> bytes:
    text = io.StringIO()
    lines = csv.DictWriter(text, headings, delimiter=";", lineterminator="\r\n")
    lines.writeheader()
    lines.writerows(rows)
    return text.getvalue().encode("utf-8-sig")
