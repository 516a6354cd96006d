"""The registry of fields and kinds of partner: whole, without contradictions, and used."""

from dataclasses import replace
from typing import get_args

import pytest

from contracts import kinds
from contracts.fields import DECLARED, FIELDS, NEVER, RULE_FACTS, Facts, Identity, faults
from contracts.kinds import KINDS, Kind
from contracts.public import DisclosableField
from contracts.values import PartnerKind
from services.partners.adapters.csvfile import HEADINGS
from services.referrals.model.disclosure import MINIMAL_FIELDS

PLIE, CLAP = PartnerKind.PLIE, PartnerKind.CLAP


def with_kind(kind: PartnerKind, **changes: object) -> dict[PartnerKind, Kind]:
    """The kinds, one of them changed."""
    return {**KINDS, kind: replace(KINDS[kind], **changes)}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_field_is_disclosed_to_somebody_or_marked_never(name: str):
    receivers = [kind for kind in PartnerKind if name in MINIMAL_FIELDS[kind]]
    assert bool(receivers) == (FIELDS[name].column is not NEVER)
    assert (FIELDS[name].column in HEADINGS) == bool(receivers)


def test_registry_knows_what_the_models_declare_and_the_note_on_a_need():
    declared = [*Identity.model_fields, *Facts.model_fields, "need_note"]
    assert list(DECLARED) == declared
    assert list(get_args(DisclosableField)) == declared
    assert sorted(FIELDS) == sorted(declared)


def test_columns_of_partners_tables_are_told_apart():
    assert len(set(HEADINGS)) == len(HEADINGS)


def test_free_text_is_no_fact_for_rules():
    assert set(Facts.model_fields) - set(RULE_FACTS) == {"project"}


@pytest.mark.parametrize(
    ("fields", "partners", "fault"),
    [
        (FIELDS, with_kind(PLIE, may_get=frozenset({"age"})), "age: some kind may get it, but"),
        (FIELDS, with_kind(PLIE, may_get=frozenset()), "minimum_benefit: some kind in KINDS"),
        (
            {**FIELDS, "phone": replace(FIELDS["phone"], column=NEVER)},
            KINDS,
            "phone: some kind",
        ),
        ({**FIELDS, "phone": replace(FIELDS["phone"], column="nom")}, KINDS, "another field"),
        ({**FIELDS, "mobility": replace(FIELDS["mobility"], values={})}, KINDS, "its type"),
        (
            {**FIELDS, "phone": replace(FIELDS["phone"], values={"bac": "Bachot"})},
            KINDS,
            "bac is called",
        ),
    ],
)
def test_contradiction_is_named(fields: dict, partners: dict, fault: str):
    assert [found for found in faults(fields, partners) if fault in found]


def test_what_stands_in_the_registry_has_no_faults():
    assert faults(FIELDS, KINDS) == []
    assert kinds.faults(KINDS) == []


def test_kind_without_entry_and_networks_that_cannot_be_are_named():
    missing = {kind: entry for kind, entry in KINDS.items() if kind != CLAP}
    assert kinds.faults(missing) == ["clap: has no entry in KINDS"]
    (unknown,) = kinds.faults(with_kind(CLAP, networks=("les-amis",)))
    assert unknown == "les-amis: data·inclusion has no such network"
    (claimed,) = kinds.faults(with_kind(CLAP, networks=("plie",)))
    assert claimed == "plie: two kinds claim this network"
