"""Rows of data·inclusion: the same from JSON and from tables; what is refused, and why."""

import csv
import io
from typing import Any

import orjson
import pytest
from data_inclusion.schema.v1 import Service, Structure
from hypothesis import given, settings
from hypothesis import strategies as st

from services.partners.handlers.imports import NETWORKS
from services.partners.handlers.rows import (
    LISTS,
    MOST_BYTES,
    MOST_ROWS,
    Documents,
    ImportRefusedError,
    canonical,
    check,
    read,
    read_csv,
)
from tests.support.inclusion import SERVICES, STRUCTURES

STRUCTURE = {"source": "essai", "id": "essai--1", "nom": "Structure", "date_maj": "2026-10-01"}
SERVICE = {
    "source": "essai", "structure_id": "essai--1", "id": "essai--1--a", "nom": "Service",
    "description": "Un service", "date_maj": "2026-10-01",
}  # fmt: skip


NOWHERE = "holds a code of no commune, EPCI or département of France"
DEEP: list[Any] = []
for _ in range(500):
    DEEP = [DEEP]


def table(row: dict[str, Any], delimiter: str, packed: bool) -> str:
    text = io.StringIO()
    lines = csv.DictWriter(text, [*row, "telephone_2"], delimiter=delimiter)
    lines.writeheader()
    lines.writerow(
        {
            k: (orjson.dumps(v).decode() if packed else "|".join(v)) if k in LISTS else v
            for k, v in row.items()
        }
    )
    return text.getvalue()


@pytest.mark.slow
@given(STRUCTURES, SERVICES, st.sampled_from([",", ";"]), st.booleans())
@settings(max_examples=100)
def test_tables_and_json_say_the_same_in_one_spelling(
    structure: Any, service: Any, delimiter: str, packed: bool
):
    tables = [table(row, delimiter, packed).encode() for row in (structure, service)]
    from_tables = check(read(*tables))
    document = {"structures": [structure], "services": [service]}
    from_json = check(read(orjson.dumps(document)))
    assert from_tables == from_json
    assert from_json.refused == []


@given(SERVICES, st.randoms())
@settings(max_examples=50)
def test_spelling_forgets_the_order_of_fields_and_sets(service: Any, random: Any):
    names = random.sample(sorted(service), len(service))
    shuffled = {name: service[name] for name in names}
    for name in LISTS:
        if name in shuffled:
            shuffled[name] = random.sample(shuffled[name], len(shuffled[name]))
    once = canonical(Service, shuffled)
    assert list(once.items()) == list(canonical(Service, service).items())
    assert canonical(Service, once) == once


def refused(**given: Any) -> list[tuple[str, str]]:
    """(field, why) of a service that is like ours but for these."""
    checked = check(Documents([STRUCTURE], [SERVICE | given]))
    return [(r.field, r.detail) for r in checked.refused]


@pytest.mark.parametrize(
    ("wrong", "field", "detail"),
    [
        ({"description": None}, "description", "must be a text"),
        ({"nom": "ab"}, "nom", "is too short"),
        ({"nom": "a" * 151}, "nom", "is too long"),
        ({"publics": []}, "publics", "must not be empty"),
        ({"publics": ["tous-publics", "femmes"]}, "publics",
         "is not valid by data·inclusion v1"),
        ({"publics": "femmes"}, "publics", "must be a list"),
        ({"thematiques": ["x"]}, "thematiques", "is not a value of data·inclusion v1"),
        ({"date_maj": "hier"}, "date_maj", "must be a date: 2026-11-23"),
        ({"date_maj": "1999-12-31"}, "date_maj", "is not valid by data·inclusion v1"),
        ({"lien_source": "ftp://a.fr"}, "lien_source", "must be an http or https address"),
        ({"code_postal": "5949"}, "code_postal", "is too short"),
        ({"id": "x" * 121}, "id", "has more than 120 characters"),
        ({"nom": "avec \0 dedans"}, "nom", "holds control characters"),
        ({"zone_eligibilite": ["\0\0"]}, "zone_eligibilite", "holds control characters"),
        ({"nom": "a\x1b[2Jb"}, "nom", "holds control characters"),
        ({"nom": "Mission \u202eelacol"}, "nom", "holds control characters"),
        ({"courriel": "=?utf-8?q?=0D=0ABcc:_v@x?=@a.fr"}, "courriel",
         "holds a word encoded for mail"),
        ({"nom": "=?utf-8?q?=0D=0ABcc:_v@x?="}, "nom", "holds a word encoded for mail"),
        ({"a\0b": "x"}, "(row)", "has a heading with characters that cannot be shown"),
        *(({"zone_eligibilite": ["59", code]}, "zone_eligibilite", NOWHERE)
          for code in ("59990", "20", "R32", "059", "59999", "99109", "245900000")),
        ({"latitude": "NaN"}, "latitude", "must be a number"),
        ({"longitude": "-inf"}, "longitude", "must be a number"),
        ({"conditions_acces": "x" * MOST_BYTES}, "(row)", "has more than 64 KiB"),
        ({"publics": ["2 69 05 49 588 157 80"] * 5000}, "(row)", "has more than 64 KiB"),
        ({"conditions_acces": DEEP}, "(row)", "is nested too deeply"),
        ({"conditions_acces": "2 69 05 49 588 157 80"}, "conditions_acces",
         "must not hold a NIR"),
        ({"longitude": "2690549588157"}, "longitude", "must not hold a NIR"),
        ({"(cells)": ["x"]}, "(row)", "has more cells than there are columns"),
    ],
)  # fmt: skip
def test_each_fault_is_told_without_quoting_what_was_sent(
    wrong: dict[str, Any], field: str, detail: str
):
    assert (field, detail) in refused(**wrong)


def test_lines_of_a_description_and_a_name_from_right_to_left_are_taken():
    text = "Première ligne\nDeuxième\tligne"
    assert refused(description=text, nom="البعثة المحلية") == []


def test_rows_of_empty_cells_are_no_rows_of_a_table():
    documents = read_csv(f"source;id;nom\n{';;' + chr(10)}essai;essai--1;A\n;;\n ; ; \n", None)
    assert [row["id"] for row in documents.structures] == ["essai--1"]


def test_words_and_places_that_only_look_wrong_are_taken():
    assert refused(description="Infinity", longitude="3.4829371049583", inconnu="x") == []


def test_every_place_of_the_hierarchy_may_be_a_zone():
    zones = ["59350", "59355", "75101", "2A", "59", "974", "988", "245901160", "99100",
             "france", "97133"]  # fmt: skip
    assert refused(zone_eligibilite=zones) == []


def test_id_that_is_a_nir_is_not_shown():
    checked = check(Documents([], [SERVICE | {"id": "269054958815780"}]))
    assert [(r.id, r.field) for r in checked.refused] == [("", "id")]


def test_id_that_is_listed_twice_counts_once():
    checked = check(Documents([STRUCTURE, 3, STRUCTURE | {"nom": "Autre nom"}], None))
    assert [(r.row, r.detail) for r in checked.refused] == [
        (2, "must be an object"),
        (3, "is listed before, as number 1"),
    ]
    assert checked.structures["essai--1"] == (1, canonical(Structure, STRUCTURE))


def test_one_list_holds_both():
    documents = read(orjson.dumps([STRUCTURE, SERVICE]))
    assert (documents.structures, documents.services) == ([STRUCTURE], [SERVICE])
    assert read(orjson.dumps([STRUCTURE])).services is None
    lists = (orjson.dumps([STRUCTURE]), orjson.dumps([SERVICE]))
    assert read(*lists) == documents


@pytest.mark.parametrize(
    "content",
    [
        (b"",), (b"\xff",), (b"{",), (b"{}",), (b"[]",), (b"3",), (b'{"structures": 4}',),
        (b'{"structures": [], "services": 4}',), (b"nom,adresse\nA,B\n",),
        (b'source,id\n"a,b\n',), (b"source,id\n",), (b"[]", b"{}"),
    ],
)  # fmt: skip
def test_content_without_rows_is_refused_as_a_whole(content: tuple[bytes, ...]):
    with pytest.raises(ImportRefusedError):
        read(*content)


def test_more_rows_than_a_transaction_should_bear_are_refused():
    Documents([{}] * MOST_ROWS, None)
    with pytest.raises(ImportRefusedError, match=str(MOST_ROWS)):
        Documents([{}] * MOST_ROWS, [{}])


def test_networks_that_tell_a_kind_are_those_of_data_inclusion():
    for network in NETWORKS:
        canonical(Structure, STRUCTURE | {"reseaux_porteurs": [network]})


def test_table_with_a_mark_of_its_encoding_is_read():
    text = "\ufeffsource;id;publics\r\nessai;essai--1; femmes | jeunes \r\n"
    assert read(text.encode()).structures == [
        {"source": "essai", "id": "essai--1", "publics": ["femmes", "jeunes"]}
    ]
    assert read_csv(text, None) == read(text.encode())
