"""Check of a rule set before it is published, and differences between two. Pure.

Each table is tried on a grid: for every field it names, the values at which its cells change
their mind (bounds of numbers and their neighbours, every value of a list, unknown). So each
row that can ever match does, and no two points of one cell behave differently between them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import product
from typing import Any

from contracts.fields import NOT_KNOWN, RULE_FACTS, codes_of, value_of
from contracts.values import PartnerKind
from services.referrals.model.routing import DERIVED
from services.referrals.model.rules import FAILED, MATCHED, UNKNOWN, Row, Rules, Table, Weights

FIELDS = frozenset({*RULE_FACTS, *DERIVED})
MOST_POINTS = 50_000
_NUMBERS = re.compile(r"\d+")
_QUOTED = re.compile(r'"([^"]*)"')
_VALUES: Mapping[str, Sequence[Any]] = {
    **{
        name: [code for code in codes if code != NOT_KNOWN]
        for name in RULE_FACTS
        if (codes := codes_of(name))
    },
    "has_project": [True],  # a project that nobody spoke of is unknown, never false
}
_TEXTS = [name for name in RULE_FACTS if value_of(name).annotation in (str, date)]
"""Facts that are codes or days: tried with the texts that the cells name, and with another."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a rule set: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def findings(rules: Rules) -> list[Finding]:
    """Return everything that keeps a rule set from being published; empty if nothing does."""
    against = [
        Finding(kind, "no table for this kind of partner")
        for kind in PartnerKind
        if kind not in rules.tables
    ]
    against += _of_weights(rules.weights)
    for table in rules.tables.values():
        against += _of_texts(table)
        unknown = [name for name in table.fields if name not in FIELDS]
        against += [Finding(table.kind, f"no such fact: {name}") for name in unknown]
        if not unknown:
            against += _of_grid(table)
    return against


def _of_weights(weights: Weights) -> Iterator[Finding]:
    for kind in PartnerKind:
        if kind not in weights.preference:
            yield Finding("ranking", f"no preference for {kind}")
    for name in (field.name for field in fields(Weights)):
        if name in ("unknown", "no_capacity", "waitlist") and getattr(weights, name) > 0:
            yield Finding("ranking", f"{name} must not be an advantage")


def _of_texts(table: Table) -> Iterator[Finding]:
    for row in table.rows.values():
        if row.result not in (MATCHED, FAILED, UNKNOWN):
            yield Finding(row.name, f"no such result: {row.result}")
        if not row.condition or not row.text or not row.source:
            yield Finding(row.name, "condition, text and source are needed")
        if (row.result == UNKNOWN) != bool(row.question):
            yield Finding(row.name, "a question belongs to an unknown fact, and only there")


def _of_grid(table: Table) -> list[Finding]:
    axes = [_axis(name, table) for name in table.fields]
    points = 1
    for axis in axes:
        points *= len(axis)
    if points > MOST_POINTS:
        return [Finding(table.kind, "too many facts in one table to be checked")]
    fired: Counter[str] = Counter()
    against: dict[Finding, None] = {}
    conditions = {row.condition for row in table.rows.values()}
    for point in product(*axes):
        rows = [table.rows[name] for name in table.matching(point)]
        fired.update(row.name for row in rows)
        against |= dict.fromkeys(_of_point(table, conditions, rows, point))
    never = [name for name in table.rows if not fired[name]]
    return [*against, *(Finding(name, "this row is never reached") for name in never)]


def _of_point(
    table: Table, conditions: set[str], rows: Sequence[Row], point: tuple[Any, ...]
) -> Iterator[Finding]:
    results: dict[str, set[str]] = {}
    for row in rows:
        results.setdefault(row.condition, set()).add(row.result)
    for condition in sorted(conditions):
        outcomes = results.get(condition, set())
        if len(outcomes) > 1:
            names = sorted(row.name for row in rows if row.condition == condition)
            what = f"{' and '.join(names)} contradict each other"
            yield Finding(f"{table.kind}, {condition}", what)
        if not outcomes:
            facts = dict(zip(table.fields, point, strict=True))
            yield Finding(f"{table.kind}, {condition}", f"no row for {facts}")


def _axis(name: str, table: Table) -> list[Any]:
    if name in _VALUES:
        return [*_VALUES[name], None]
    cells = [row.cells.get(name, "") for row in table.rows.values()]
    if name in _TEXTS:
        return [*sorted({text for cell in cells for text in _QUOTED.findall(cell)}), "-", None]
    bounds = {int(n) for cell in cells for n in _NUMBERS.findall(cell)}
    near = {n + step for n in bounds for step in (-1, 0, 1)} | {0, 130}
    return [*sorted(n for n in near if n >= 0), None]


@dataclass(frozen=True, slots=True)
class Change:
    """A row or weight that differs between two rule sets."""

    where: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.where}: {self.after}"
        if self.after is None:
            return f"- {self.where}: {self.before}"
        return f"~ {self.where}: {self.before} → {self.after}"


def differences(old: Rules, new: Rules) -> list[Change]:
    """Return the rows and weights that were added, removed or changed, in a stable order."""
    before, after = _described(old), _described(new)
    return [
        Change(where, before.get(where), after.get(where))
        for where in sorted(before | after)
        if before.get(where) != after.get(where)
    ]


def _described(rules: Rules) -> dict[str, str]:
    """Describe each row and weight in a line, by its place."""
    lines = {}
    for row in rules.rows.values():
        when = " and ".join(f"{name} {cell}" for name, cell in sorted(row.cells.items()))
        outcome = f"{row.condition} {row.result} ({row.text}; {row.source})"
        lines[f"{row.kind}/{row.name}"] = f"{when or 'always'}: {outcome}"
    weights = {f.name: getattr(rules.weights, f.name) for f in fields(Weights)}
    preference = weights.pop("preference")
    lines |= {f"ranking/{name}": f"{value:g}" for name, value in weights.items()}
    return lines | {f"ranking/preference.{k}": f"{v:g}" for k, v in preference.items()}
