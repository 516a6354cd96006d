"""Structures and services of data·inclusion v1, of any content that its schema allows."""

from datetime import date
from typing import Any

from data_inclusion.schema.v1 import (
    Frais,
    ModeAccueil,
    ModeMobilisation,
    PersonneMobilisatrice,
    Public,
    ReseauPorteur,
    Thematique,
    TypeService,
)
from hypothesis import strategies as st

from contracts.checks.nir import find_nir

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=5, max_size=40
).filter(lambda text: text.strip() == text and find_nir(text) is None)
DAYS = st.dates(date(2000, 1, 1), date(2026, 11, 1)).map(date.isoformat)
DEGREES = st.floats(-180, 180, allow_nan=False)
LINK = st.sampled_from(["https://exemple.fr/", "http://exemple.fr/a?b=c#d", "https://a.b.fr/é"])
PLACE = {
    "commune": WORDS, "code_postal": st.just("59494"), "code_insee": st.just("59459"),
    "adresse": WORDS, "complement_adresse": WORDS, "longitude": DEGREES, "latitude": DEGREES,
    "telephone": st.just("+33327000000"), "courriel": st.just("accueil@exemple.fr"),
    "horaires_accueil": WORDS, "lien_source": LINK,
}  # fmt: skip


def values(enumeration: Any) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([e.value for e in enumeration]), min_size=1, max_size=4)


STRUCTURES = st.fixed_dictionaries(
    {"source": st.just("essai"), "id": st.just("essai--1"), "nom": WORDS, "date_maj": DAYS},
    optional=PLACE | {
        "description": WORDS, "siret": st.just("13003013300016"), "site_web": LINK,
        "accessibilite_lieu": LINK, "reseaux_porteurs": values(ReseauPorteur),
    },
)  # fmt: skip
SERVICES = st.fixed_dictionaries(
    {
        "source": st.just("essai"), "structure_id": st.just("essai--1"), "nom": WORDS,
        "id": st.just("essai--1--a"), "description": WORDS, "date_maj": DAYS,
    },
    optional=PLACE | {
        "type": st.sampled_from(TypeService).map(lambda e: e.value),
        "frais": st.sampled_from(Frais).map(lambda e: e.value),
        "thematiques": values(Thematique),
        "publics": values(set(Public) - {Public.TOUS_PUBLICS}),
        "modes_accueil": values(ModeAccueil),
        "modes_mobilisation": values(ModeMobilisation),
        "mobilisable_par": values(PersonneMobilisatrice),
        "zone_eligibilite": st.lists(
            st.sampled_from(["59459", "59", "2A", "245901160", "99100", "france"]), min_size=1
        ),
        "frais_precisions": WORDS, "publics_precisions": WORDS, "conditions_acces": WORDS,
        "contact_nom_prenom": WORDS, "lien_mobilisation": LINK,
        "mobilisation_precisions": WORDS, "nombre_semaines": st.integers(1, 500),
        "volume_horaire_hebdomadaire": st.floats(0, 60, allow_nan=False),
    },
)  # fmt: skip
