"""Each fact by each operator of a rule's cell, and with a list for a value: nothing breaks."""

from dataclasses import replace
from datetime import date
from types import UnionType
from typing import Any, Union, get_args, get_origin

import orjson
import pytest

from contracts.fields import Facts
from contracts.values import PartnerKind
from services.referrals.app import RULES
from services.referrals.model.proposals import propose
from services.referrals.model.routing import known_facts
from services.referrals.model.rulecheck import FIELDS, findings
from services.referrals.model.rules import UNKNOWN, Rules, Table
from tests.support.referrals import JOB, TODAY, person, service

KIND = PartnerKind.TEMP_AGENCY
SHIPPED = Rules.parse(RULES.read_bytes(), "shipped", 1)
OPERATORS = [
    '"rsa"', '"rsa", "ass"', '!= "rsa"', 'in ["rsa"]', 'not in ["rsa"]', "> 3", "<= 3",
    "[1..3]", "(1..3)", "true", "false", "null", "len($) > 1", 'contains($, "rsa")',
    'startsWith($, "59")', 'some($, # == "rsa")', 'd($) > d("2026-01-01")',
]  # fmt: skip
VALUES = [
    ["rsa"], ["rsa", "ass"], [], [1, 2], ["rsa", ["ass"]], "rsa", 3, True,
    date(2026, 1, 1), None,
]  # fmt: skip


def rules_of(fact: str, cell: str) -> Rules:
    """Rules whose one table for a kind looks at one fact by one operator."""
    graph = orjson.loads(RULES.read_bytes())
    (node,) = [node for node in graph["nodes"] if node["name"] == KIND]
    node["content"]["inputs"] = [{"id": "in", "name": fact, "field": fact}]
    words = {"out-condition": '"judged"', "out-text": '"Dit."', "out-source": '"essai"'}
    yes = {"out-result": '"matched"', "out-question": ""}
    ask = {"out-result": '"unknown"', "out-question": '"Et ?"'}
    node["content"]["rules"] = [
        {"_id": "t-matched", "in": cell, **words, **yes},
        {"_id": "t-ask", "in": "null", **words, **ask},
    ]
    return Rules.parse(orjson.dumps(graph), "one", 1)


def table_of(fact: str, cell: str) -> Table:
    return rules_of(fact, cell).tables[KIND]


@pytest.mark.slow
@pytest.mark.parametrize("fact", sorted(FIELDS))
@pytest.mark.parametrize("cell", OPERATORS)
def test_each_fact_by_each_operator_is_checked_and_judged(fact: str, cell: str):
    table = table_of(fact, cell)  # alone: the other kinds' tables are as they were
    assert all(finding.where for finding in findings(replace(SHIPPED, tables={KIND: table})))
    for value in VALUES:
        found = table.conditions({fact: value})
        assert {condition.code for condition in found} == {"judged"}, value


@pytest.mark.parametrize("fact", sorted(FIELDS))
def test_list_where_the_table_compares_with_one_value_is_unknown_not_eligible(fact: str):
    (condition,) = table_of(fact, '"rsa"').conditions({fact: ["rsa", "ass"]})
    assert (condition.result, condition.row) == (UNKNOWN, None)


def test_table_may_look_into_a_list():
    table = table_of("minimum_benefit", 'some($, # == "rsa")')
    assert table.conditions({"minimum_benefit": ["ass", "rsa"]})[0].row == "t-matched"
    assert table.conditions({"minimum_benefit": ["ass"]})[0].result == UNKNOWN


def test_two_lists_are_told_apart_when_a_verdict_is_found_again():
    table = table_of("minimum_benefit", 'some($, # == "rsa")')
    for _ in range(2):
        assert table.conditions({"minimum_benefit": ["rsa"]})[0].row == "t-matched"
        assert table.conditions({"minimum_benefit": ["ass"]})[0].row is None


def test_what_a_table_is_silent_about_is_asked_and_never_taken_for_granted():
    rules = rules_of("situation", '"in-school"')  # and nothing for a job seeker
    found = propose(JOB, person(), [service(KIND)], rules, TODAY)
    assert found.candidates[0].verdict == UNKNOWN
    assert [question.text for question in found.questions] == ["Et ?"]


def test_code_of_a_place_and_a_day_are_tried_with_the_texts_that_the_cells_name():
    assert findings(rules_of("commune", 'in ["59459", "59606"]'))[0].what.startswith(
        "no row for"
    )
    assert not [f for f in findings(rules_of("commune", '"59459"')) if "never" in f.what]


def test_table_may_look_at_a_day():
    """Once a table that names one passed the check, and then no case at all was routed."""
    table = table_of("birth_date", 'd($) > d("2006-01-01")')
    assert table.conditions({"birth_date": date(2006, 5, 17)})[0].row == "t-matched"
    assert table.conditions({"birth_date": date(1985, 5, 17)})[0].result == UNKNOWN


def test_no_fact_of_today_is_a_list():
    """One that becomes a list is judged all the same; the check's grid has to learn it."""
    for name, field in Facts.model_fields.items():
        for option in get_args(field.annotation):
            if option is not type(None):
                value = option.model_fields["value"].annotation
                kinds = get_args(value) if get_origin(value) in (Union, UnionType) else (value,)
                assert not [k for k in kinds if get_origin(k) in (list, tuple, set)], name
    values: dict[str, Any] = {n: f.value for n, f in known_facts(person(), TODAY).items()}
    assert not [name for name, value in values.items() if isinstance(value, list)]
