"""Rule sets: read, checked before they are published, compared."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from contracts.fields import Facts
from contracts.values import PartnerKind
from services.referrals.app import RULES
from services.referrals.model import rulecheck
from services.referrals.model.rulecheck import differences, findings
from services.referrals.model.rules import InvalidRulesError, Rules
from tests.support.referrals import ALL_RULES

Graph = dict[str, Any]
Fault = Callable[[Graph], None]


def changed(fault: Fault) -> Rules:
    graph: Graph = orjson.loads(RULES.read_bytes())
    fault(graph)
    return Rules.parse(orjson.dumps(graph), "changed", 2)


def node(graph: Graph, name: str) -> Any:
    (found,) = [n for n in graph["nodes"] if n["name"] == name]
    return found


def row(graph: Graph, kind: str, name: str) -> Any:
    (found,) = [r for r in node(graph, kind)["content"]["rules"] if r["_id"] == name]
    return found


def test_rules_that_come_with_the_project_may_be_published():
    assert findings(ALL_RULES) == []


def no_table(graph: Graph) -> None:
    graph["nodes"] = [n for n in graph["nodes"] if n["name"] != "plie"]


def unreachable(graph: Graph) -> None:
    row(graph, "clap", "clap-too-old")["in-age"] = "[20..10]"
    row(graph, "clap", "clap-age")["in-age"] = ">= 15"


def contradiction(graph: Graph) -> None:
    row(graph, "clap", "clap-age")["in-age"] = "[15..40]"


def gap(graph: Graph) -> None:
    row(graph, "mission-locale", "ml-too-old")["in-age"] = ">= 31"


def silent_on_unknown(graph: Graph) -> None:
    content = node(graph, "plie")["content"]
    content["rules"] = [r for r in content["rules"] if r["_id"] != "plie-age-unknown"]


def unknown_fact(graph: Graph) -> None:
    node(graph, "clap")["content"]["inputs"][0]["field"] = "shoe_size"


def no_such_result(graph: Graph) -> None:
    row(graph, "clap", "clap-age")["out-result"] = '"perhaps"'


def no_source(graph: Graph) -> None:
    row(graph, "clap", "clap-age")["out-source"] = ""


def no_question(graph: Graph) -> None:
    row(graph, "clap", "clap-age-unknown")["out-question"] = ""


def question_to_nobody(graph: Graph) -> None:
    row(graph, "clap", "clap-age")["out-question"] = '"Quel âge ?"'


def no_preference(graph: Graph) -> None:
    content = node(graph, "ranking")["content"]
    content["expressions"] = [e for e in content["expressions"] if "plie" not in e["key"]]


def full_is_better(graph: Graph) -> None:
    for expression in node(graph, "ranking")["content"]["expressions"]:
        if expression["key"] == "no_capacity":
            expression["value"] = "5"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "where", "what"),
    [
        (no_table, "plie", "no table"),
        (unreachable, "clap-too-old", "never reached"),
        (contradiction, "clap, age", "contradict"),
        (gap, "mission-locale, age", "no row for {'age': 30"),
        (silent_on_unknown, "plie, age", "no row for {'age': None"),
        (unknown_fact, "clap", "no such fact: shoe_size"),
        (no_such_result, "clap-age", "no such result: perhaps"),
        (no_source, "clap-age", "source are needed"),
        (no_question, "clap-age-unknown", "a question belongs"),
        (question_to_nobody, "clap-age", "a question belongs"),
        (no_preference, "ranking", "no preference for plie"),
        (full_is_better, "ranking", "must not be an advantage"),
    ],
)
def test_each_fault_is_found_and_named(fault: Fault, where: str, what: str):
    found = findings(changed(fault))
    assert any(f.where == where and what in f.what for f in found), [str(f) for f in found]


def test_values_that_the_check_tries_are_those_of_the_contract():
    schema = Facts.model_json_schema()["$defs"]
    dated = {name: [d for d in schema if d.startswith(("Dated", "Sensitive"))] for name in "x"}
    assert dated["x"]
    for name in ("minimum_benefit", "study_level", "mobility", "situation"):
        choice = Facts.model_json_schema()["properties"][name]["anyOf"][0]["$ref"]
        value = schema[choice.rpartition("/")[2]]["properties"]["value"]
        if "$ref" in value:
            value = schema[value["$ref"].rpartition("/")[2]]
        assert list(rulecheck._VALUES[name]) == value["enum"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"nodes": []}', b'{"nodes": [{"name": "ranking", "content": {}}]}'],
)
def test_what_is_no_rule_set_is_said_to_be_none(content: bytes):
    with pytest.raises(InvalidRulesError, match="not a rule set"):
        Rules.parse(content, "x", 1)


def test_two_rows_of_one_name_are_refused():
    def twice(graph: Graph) -> None:
        row(graph, "clap", "clap-age")["_id"] = "clap-too-old"

    with pytest.raises(InvalidRulesError, match="two rows of one name"):
        changed(twice)


def test_digest_is_of_the_content_not_of_its_spelling():
    graph = orjson.loads(RULES.read_bytes())
    spelt = orjson.dumps(
        {key: graph[key] for key in reversed(graph)}, option=orjson.OPT_INDENT_2
    )
    assert Rules.parse(spelt, "x", 1).digest == ALL_RULES.digest
    assert changed(full_is_better).digest != ALL_RULES.digest


def test_verdict_found_again_is_the_verdict_that_was_found():
    """What is kept per table depends on nothing but the facts that its columns name."""
    table = ALL_RULES.tables[PartnerKind.MISSION_LOCALE]
    facts = {"age": 27, "situation": "job-seeker"}
    first = table.conditions(facts)
    assert table.conditions({**facts, "commune": "59459"}) is first
    assert table.conditions({**facts, "recognised_disability": True}) != first


def test_differences_name_rows_and_weights():
    def otherwise(graph: Graph) -> None:
        row(graph, "clap", "clap-age")["in-age"] = "[15..25]"
        row(graph, "clap", "clap-too-old")["in-age"] = "> 25"
        full_is_better(graph)

    said = [str(change) for change in differences(ALL_RULES, changed(otherwise))]
    assert [line.partition(":")[0] for line in said] == [
        "~ clap/clap-age",
        "~ clap/clap-too-old",
        "~ ranking/no_capacity",
    ]
    assert "[15..30]" in said[0]
    assert "[15..25]" in said[0]
    assert differences(ALL_RULES, ALL_RULES) == []


def test_differences_name_what_was_added_and_removed():
    kinds = {change.where: change for change in differences(ALL_RULES, changed(no_table))}
    assert kinds["plie/plie-age"].after is None
    back = {change.where: change for change in differences(changed(no_table), ALL_RULES)}
    assert back["plie/plie-age"].before is None
