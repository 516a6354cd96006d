"""Messages and answers as tables."""

import csv
import io
from datetime import UTC, date, datetime
from typing import Any
from unicodedata import normalize
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.referrals import ReferralRequested
from contracts.values import PartnerKind, Reason, ReferralStatus, RequesterKind, Thematique
from contracts.webhooks import RequesterPart
from services.partners.adapters.csvfile import LineError, joined, read, receipt, written
from services.partners.model.messages import (
    About,
    compose_ping,
    compose_request,
    compose_withdrawal,
)

AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
DESK = RequesterPart(kind=RequesterKind.CCAS, name="CCAS de la ville", phone="+33327000000")
ID = UUID("11111111-1111-4111-8111-111111111111")


def request(at: datetime | None = None, **fields: Any) -> bytes:
    event = ReferralRequested(
        referral_id=ID,
        case_id=uuid4(),
        person_id=uuid4(),
        partner_id="p",
        partner_kind=PartnerKind.PLIE,
        service_id="s",
        thematique=Thematique("se-former--trouver-sa-formation"),
        agreement_id=uuid4(),
        agreed_until=date(2027, 1, 1),
        requested_on=date(2026, 11, 24),
        appointment_at=at,
    )
    return compose_request(event, fields, DESK, AT, "https://hub.example/v1/answers")


def lines(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode("utf-8-sig")), delimiter=";"))


def table(*rows: dict[str, str], separator: str = ";", encoding: str = "utf-8-sig") -> bytes:
    text = io.StringIO()
    made = csv.DictWriter(text, sorted({k for row in rows for k in row}), delimiter=separator)
    made.writeheader()
    made.writerows(rows)
    return text.getvalue().encode(encoding)


def test_request_is_one_line_with_french_headings():
    (line,) = lines(written(request(family_name="Dupont", phone="+33612345678"), "dlv_1"))
    assert line["message"] == "demande"
    assert line["reference"] == str(ID)
    assert (line["nom"], line["telephone"]) == ("Dupont", "0612345678")
    assert line["besoin"] == "Trouver sa formation"
    assert line["urgent"] == "non"
    assert line["prenom"] == ""
    assert (line["demandeur"], line["demandeur_type"]) == ("CCAS de la ville", "CCAS")
    assert (line["demandeur_telephone"], line["demandeur_courriel"]) == ("0327000000", "")


def test_proposed_appointment_is_a_moment_as_a_spreadsheet_here_reads_it():
    (line,) = lines(written(request(datetime(2026, 12, 3, 23, 30, tzinfo=UTC)), "dlv_1"))
    assert line["rendez_vous_propose"] == "04/12/2026 00:30"
    assert lines(written(request(), "dlv_1"))[0]["rendez_vous_propose"] == ""


def test_withdrawal_says_nothing_of_the_person():
    (line,) = lines(written(compose_withdrawal(About(ID, "p", "s", "D-42"), AT), "dlv_1"))
    filled = {name for name, value in line.items() if value}
    assert filled == {
        "message", "identifiant", "reference", "reference_partenaire", "service", "retrait_du",
    }  # fmt: skip


def test_ping_is_no_line_of_a_table():
    with pytest.raises(KeyError):
        written(compose_ping(ID, "p", AT), "dlv_1")


@pytest.mark.parametrize(
    "evil",
    ["=1+1", "+cmd", "-2", "@x", "\tx", "\rx", "＝1+1", "＋cmd", "\u200b=1", "\ufeff@x", " =1",
     "\u202e=1", "+33=1"],
)  # fmt: skip
def test_cell_that_a_spreadsheet_would_run_is_text(evil: str):
    (line,) = lines(written(request(need_note=evil), "dlv_1"))
    assert line["precision_besoin"] == f"'{evil}"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_part_of_a_cell_is_run_by_what_splits_at_another_separator(separator: str):
    (line,) = lines(written(request(need_note=f"un{separator} =1+1"), "dlv_1"))
    assert line["precision_besoin"] == f"un{separator}' =1+1"


def test_telephone_is_written_as_it_is_dialled_and_no_other_text_is():
    given = {"phone": "+33612345678", "project": "+33 idées", "need_note": "+33612345678"}
    (line,) = lines(written(request(**given), "dlv_1"))
    assert line["telephone"] == "0612345678"
    assert (line["projet"], line["precision_besoin"]) == ("'+33 idées", "'+33612345678")


@given(st.text(min_size=1, max_size=60).filter(lambda t: t.isprintable()))
def test_whatever_a_field_holds_comes_back(text: str):
    (line,) = lines(written(request(need_note=text), "dlv_1"))
    assert line["precision_besoin"].replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    "headings",
    [
        ("Référence", "STATUT", "Motif"),
        tuple(normalize("NFD", name) for name in ("référence", "statut", "motif")),
        (" reference ", "Statut ", "MOTIF"),
    ],
)
@pytest.mark.parametrize(
    "status", ["Refusée", "REFUSEE", "refusee", normalize("NFD", "refusée")]
)
def test_headings_and_words_are_read_in_any_spelling(
    headings: tuple[str, str, str], status: str
):
    row = dict(zip(headings, (str(ID), status, "plus de place"), strict=True))
    ((_, answer),), errors = read(table(row))
    assert errors == []
    assert (answer.status, answer.reason) == (ReferralStatus.REJECTED, Reason.NO_CAPACITY)


def test_rows_of_empty_cells_are_no_lines():
    row = {"reference": str(ID), "statut": "acceptee", "commentaire": ""}
    answers, errors = read(table(row) + b";;\r\n" * 3 + b" ; ;\r\n\r\n")
    assert [number for number, _ in answers] == [2]
    assert errors == []


def test_receipt_names_a_heading_of_theirs_as_text():
    error = LineError(2, '=HYPERLINK("x")', "pas de numéro de sécurité sociale")
    assert "'=HYPERLINK" in receipt([], [error]).decode("utf-8-sig")


@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "cp1252", "utf-16"])
def test_answer_is_read_whatever_the_spreadsheet_wrote(separator: str, encoding: str):
    row = {"reference": str(ID), "statut": "Refusée", "motif": "Plus de place"}
    ((number, answer),), errors = read(table(row, separator=separator, encoding=encoding))
    assert errors == []
    assert number == 2
    assert (answer.status, answer.reason) == (ReferralStatus.REJECTED, Reason.NO_CAPACITY)
    assert answer.referral_id == ID


@pytest.mark.parametrize(
    ("row", "field", "value"),
    [
        ({"statut": "accepted"}, "status", ReferralStatus.ACCEPTED),
        ({"statut": "acceptée", "date_rendez_vous": "11/01/2027 10:30"}, "appointment_at", "x"),
        (
            {"statut": "réunion d'information", "date_rendez_vous": "11/01/2027 10:30"},
            "appointment_at",
            "x",
        ),
        (
            {"statut": "en commission", "date_commission": "15/01/2027"},
            "commission_on",
            date(2027, 1, 15),
        ),
        ({"statut": "terminée", "resultat": "enrolled"}, "outcome", "enrolled"),
        (
            {
                "statut": "refusée",
                "motif": "Plus de place",
                "complet_jusqu_au": "31/01/2027",
            },
            "no_capacity_until",
            date(2027, 1, 31),
        ),
        ({"statut": "liste d'attente"}, "status", ReferralStatus.ON_HOLD),
        ({"statut": "reçue", "reference_partenaire": "D-42"}, "partner_reference", "D-42"),
    ],
)
def test_words_and_codes_are_both_read(row: dict[str, str], field: str, value: Any):
    answers, errors = read(table({"reference": str(ID)} | row))
    assert errors == []
    found = getattr(answers[0][1], field)
    if field == "appointment_at":
        assert found.isoformat() == "2027-01-11T10:30:00+01:00"
    else:
        assert found == value


@pytest.mark.parametrize(
    ("row", "heading"),
    [
        ({"statut": "acceptée"}, "reference"),
        ({"reference": str(ID), "statut": "peut-être"}, "statut"),
        ({"reference": str(ID), "statut": "refusée"}, "motif"),
        ({"reference": str(ID), "statut": "terminée"}, "resultat"),
        ({"reference": str(ID), "statut": "acceptée", "date_rendez_vous": "demain"},
         "date_rendez_vous"),
    ],
)  # fmt: skip
def test_line_that_is_no_answer_names_its_column_and_quotes_nothing(
    row: dict[str, str], heading: str
):
    good = {"reference": str(uuid4()), "statut": "acceptée"}
    answers, (error,) = read(table(row, good))
    assert len(answers) == 1
    assert (error.line, error.heading) == (2, heading)
    for value in row.values():
        assert value not in error.detail


def test_social_security_number_is_refused():
    row = {"reference": str(ID), "statut": "acceptée", "commentaire": "2 69 05 49 588 157 80"}
    answers, (error,) = read(table(row))
    assert answers == []
    assert "sécurité sociale" in error.detail


@given(st.binary(max_size=400))
def test_whatever_lies_there_is_answers_and_errors_and_nothing_else(content: bytes):
    read(content)


def test_receipt_says_of_each_line_what_became_of_it():
    _, errors = read(table({"reference": "x", "statut": "acceptée"}))
    first, second, third = lines(receipt([3, 4], errors))
    assert (first["ligne"], first["resultat"], first["colonne"]) == (
        "2",
        "refusée",
        "reference",
    )
    assert (second["ligne"], second["resultat"], second["raison"]) == ("3", "enregistrée", "")
    assert third["ligne"] == "4"


def test_several_tables_are_one_with_one_heading():
    bodies = [request(need_note=note) for note in ("un", "deux", "trois\nlignes")]
    whole = joined([written(body, f"dlv_{n}") for n, body in enumerate(bodies)])
    found = lines(whole)
    assert [line["precision_besoin"] for line in found] == ["un", "deux", "trois\nlignes"]
    assert [line["identifiant"] for line in found] == ["dlv_0", "dlv_1", "dlv_2"]
    assert whole.count(b"\xef\xbb\xbf") == 1
