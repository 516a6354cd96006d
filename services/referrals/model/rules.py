"""A rule set: one decision graph (JDM, as the ZEN engine reads it), a table per partner kind.

Each table collects: every row whose cells match gives the result of one condition. A condition
gives exactly one result at every point of its input space, ``null`` standing for an unknown
fact (``findings`` checks it). The weights of the ranking stand in the node ``ranking``.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson
import zen

from contracts.bounds import RULES_BYTES
from contracts.explanation import Condition
from contracts.values import PartnerKind

MATCHED, FAILED, UNKNOWN = "matched", "failed", "unknown"
CACHED = 20_000
"""Verdicts kept per kind; a person's facts take few values, so that most are found again."""
MOST_CONTENT_BYTES = RULES_BYTES // 2
"""Most bytes of a file: stored, a character of it may take more."""
MOST_ROWS = 250
MOST_CONDITIONS = 15
"""Most conditions of one table: a proposal tells each of them, for each service."""
MOST_TEXT = 400
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
Facts = Mapping[str, Any]


class InvalidRulesError(ValueError):
    """The document is no rule set; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: the condition, its result, the text for the person and its source."""

    name: str
    kind: PartnerKind
    condition: str
    result: str
    text: str
    question: str
    source: str
    cells: Mapping[str, str]


@dataclass
class Table:
    """The eligibility of one partner kind.

    Its conditions depend on nothing but the facts that its columns name: that is why a verdict
    may be kept.
    """

    kind: PartnerKind
    fields: tuple[str, ...]
    rows: Mapping[str, Row]
    decision: Any
    _known: OrderedDict[tuple[Any, ...], tuple[Condition, ...]] = field(
        default_factory=OrderedDict
    )

    def conditions(self, facts: Facts) -> tuple[Condition, ...]:
        """Apply each condition to these facts; a fact that is absent is unknown.

        A condition that no row answers at this point, such as for a list where the table
        compares with one value, is unknown: nobody suits because a table is silent.
        """
        key = tuple([_kept(facts.get(name)) for name in self.fields])
        known = self._known.get(key)
        if known is None:
            rows = [self.rows[name] for name in self.matching(key)]
            applied = [Condition(code=r.condition, result=r.result, row=r.name) for r in rows]
            silent = {row.condition for row in self.rows.values()} - {c.code for c in applied}
            applied += [Condition(code=code, result=UNKNOWN) for code in sorted(silent)]
            known = self._known[key] = tuple(applied)
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        return known

    def matching(self, values: Sequence[Any]) -> list[str]:
        """Return the names of the rows that match, as the engine traces them."""
        facts = dict(zip(self.fields, values, strict=True))
        trace = self.decision.evaluate(facts, {"trace": True})["trace"]
        return [hit["rule"]["_id"] for hit in trace["table"]["traceData"] or ()]


def _kept(value: Any) -> Any:
    """A fact as the engine takes it and a key may hold it: lists as tuples, days as text."""
    if isinstance(value, list | tuple):
        return tuple(map(_kept, value))
    return value.isoformat() if isinstance(value, date) else value


@dataclass(frozen=True)
class Weights:
    """The weights of the ranking, as the rule set states them."""

    fit_exact: float
    fit_category: float
    unknown: float
    no_capacity: float
    waitlist: float
    delay_per_week: float
    delay_most: float
    same_epci: float
    same_department: float
    further: float
    load_per_open: float
    load_most: float
    preference: Mapping[str, float]


@dataclass(frozen=True)
class Rules:
    """A version of the rules; ``digest`` identifies its exact content."""

    name: str
    version: int
    digest: str
    content: bytes
    tables: Mapping[PartnerKind, Table]
    weights: Weights

    @classmethod
    def parse(cls, content: bytes, name: str, version: int) -> "Rules":
        """Read a decision graph. Its digest is that of its canonical JSON, so that the order
        of keys and white space mean nothing.

        Raises ``InvalidRulesError`` if it is no graph, or one without tables or weights.
        """
        if len(content) > MOST_CONTENT_BYTES:
            raise InvalidRulesError(f"larger than {MOST_CONTENT_BYTES // 1024} KiB")
        try:
            graph = orjson.loads(content)
            nodes = {node["name"]: node for node in graph["nodes"]}
            tables = {kind: _table(kind, nodes[kind]) for kind in PartnerKind if kind in nodes}
            weights = Weights(**_ranking(nodes["ranking"]))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidRulesError(f"not a rule set: {error!r}") from error
        _check_bounds(tables)
        canonical = orjson.dumps(graph, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(canonical).hexdigest()
        return cls(
            name=name,
            version=version,
            digest=digest,
            content=canonical,
            tables=tables,
            weights=weights,
        )

    def row(self, name: str) -> Row | None:
        """Return a row by its name, for its text and its source."""
        rows = (table.rows.get(name) for table in self.tables.values())
        return next((row for row in rows if row), None)

    @property
    def rows(self) -> dict[str, Row]:
        """All rows, by name."""
        return {name: row for table in self.tables.values() for name, row in table.rows.items()}


def _check_bounds(tables: Mapping[PartnerKind, Table]) -> None:
    """Raise ``InvalidRulesError`` unless what a proposal quotes of a rule fits its event."""
    rows = [row for table in tables.values() for row in table.rows.values()]
    if len(rows) > MOST_ROWS:
        raise InvalidRulesError(f"more than {MOST_ROWS} rows")
    for row in rows:
        if not (_NAME.fullmatch(row.name) and _NAME.fullmatch(row.condition or "none")):
            raise InvalidRulesError("names of rows and conditions are letters, digits, _.:-")
        if max(len(text) for text in (row.text, row.question, row.source)) > MOST_TEXT:
            raise InvalidRulesError(f"{row.name}: a text of more than {MOST_TEXT} characters")
    for kind, table in tables.items():
        if len({row.condition for row in table.rows.values()}) > MOST_CONDITIONS:
            raise InvalidRulesError(f"{kind}: more than {MOST_CONDITIONS} conditions")


def _table(kind: PartnerKind, node: Mapping[str, Any]) -> Table:
    content = node["content"]
    inputs = {column["id"]: column["field"] for column in content["inputs"]}
    outputs = {column["field"]: column["id"] for column in content["outputs"]}
    rows: dict[str, Row] = {}
    for rule in content["rules"]:
        # an output cell is an expression; ours are plain strings
        texts = {
            name: str(zen.evaluate_expression(cell))
            if (cell := rule.get(i, "")).strip()
            else ""
            for name, i in outputs.items()
        }
        row = Row(
            name=rule["_id"],
            kind=kind,
            condition=texts["condition"],
            result=texts["result"],
            text=texts["text"],
            question=texts["question"],
            source=texts["source"],
            cells={name: cell for i, name in inputs.items() if (cell := rule.get(i, ""))},
        )
        if row.name in rows:
            raise InvalidRulesError(f"{kind}: two rows of one name")
        rows[row.name] = row
    alone = {**content, "outputPath": None, "inputField": None}
    decision = zen.ZenEngine().create_decision(orjson.dumps(_graph(alone)).decode())
    return Table(kind, tuple(inputs.values()), rows, decision)


def _graph(table: Mapping[str, Any]) -> dict[str, Any]:
    """A graph of one table, so that one kind is evaluated without the others."""
    place = {"x": 0, "y": 0}
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in", "position": place},
        {"id": "table", "type": "decisionTableNode", "name": "table", "content": table},
        {"id": "out", "type": "outputNode", "name": "out", "position": place},
    ]
    nodes[1]["position"] = place
    edges = [
        {"id": "1", "type": "edge", "sourceId": "in", "targetId": "table"},
        {"id": "2", "type": "edge", "sourceId": "table", "targetId": "out"},
    ]
    return {"nodes": nodes, "edges": edges}


def _ranking(node: Mapping[str, Any]) -> dict[str, Any]:
    weights: dict[str, Any] = {"preference": {}}
    for expression in node["content"]["expressions"]:
        group, _, key = expression["key"].partition(".")
        value = float(zen.evaluate_expression(expression["value"]))
        if key:
            weights[group][key] = value
        else:
            weights[group] = value
    return weights
