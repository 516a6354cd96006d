"""What mails to partners say, and what they leave out."""

from datetime import date

import pytest

from services.partners.model import letters

DAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("D-42", True),
        ("ML-2026-4711", True),
        ("PLIE.26/0012", True),
        ("20260042", True),
        ("2026_17", True),
        ("Lefebvre-42", False),
        ("Élodie42", False),
        ("dossier de Zoé 7", False),
        ("4711\nInès", False),
        ("D", False),
        ("", False),
    ],
)
def test_only_what_is_a_number_is_mailed(reference: str, number: bool):
    assert letters.mailable(reference) is number


@pytest.mark.parametrize(
    "letter",
    [
        letters.reminder(DAY, "D-42", "https://hub.example/r/x", DAY),
        letters.cancellation("ref", "D-42"),
        letters.withdrawal("ref", "D-42"),
    ],
)
def test_what_follows_a_request_names_the_partners_number(letter: letters.Letter):
    assert "Votre dossier : D-42\n" in letter.text
    assert "D-42" not in letter.subject


@pytest.mark.parametrize("theirs", [None, "Mme Lefebvre"])
def test_without_a_number_there_is_no_line_for_it(theirs: str | None):
    assert "dossier" not in letters.cancellation("ref", theirs).text
