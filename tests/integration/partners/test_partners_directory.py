"""The directory: seeded once, changed by events, rebuilt from them."""

import httpx2
import pytest
from data_inclusion.schema.v1 import Categorie, Service, Structure

from contracts.partners import PartnerRegistered, ServicePublished
from services.partners import projections
from services.partners.handlers.directory import UnknownDirectoryError, load_seed, publish, seed
from tests.support.partners import KEY, Hub

SERVED = {
    Categorie.TROUVER_UN_EMPLOI, Categorie.PREPARER_SA_CANDIDATURE, Categorie.SE_FORMER,
    Categorie.CHOISIR_UN_METIER, Categorie.NUMERIQUE, Categorie.CREER_UNE_ENTREPRISE,
    Categorie.REMOBILISATION, Categorie.MOBILITE, Categorie.LECTURE_ECRITURE_CALCUL,
    Categorie.DIFFICULTES_ADMINISTRATIVES_OU_JURIDIQUES,
}  # fmt: skip


def test_seed_is_valid_data_inclusion_and_serves_every_need_of_the_place():
    events = [event for _, event in load_seed("petite-foret").events()]
    partners = [e for e in events if isinstance(e, PartnerRegistered)]
    services = [e for e in events if isinstance(e, ServicePublished)]
    for partner in partners:
        Structure.model_validate(partner.structure)
    for service in services:
        Service.model_validate(service.service)
        assert {"59459", "245901160", "59"} & set(service.zone_eligibilite)
    assert len({p.kind for p in partners}) == 10
    categories = {t.partition("--")[0] for s in services for t in s.thematiques}
    assert {c.value for c in SERVED} <= categories


def test_services_that_need_no_adviser_are_the_ones_agreed():
    events = [event for _, event in load_seed("petite-foret").events()]
    services = [e for e in events if isinstance(e, ServicePublished)]
    assert {s.service_id for s in services if s.policy == "auto"} == {
        "petite-foret--mission-locale--accompagnement",
        "petite-foret--information-jeunesse--information",
        "petite-foret--espace-numerique--accompagnement",
        "petite-foret--espace-numerique--demarches",
    }


def test_unknown_seed_names_those_that_exist():
    with pytest.raises(UnknownDirectoryError, match="petite-foret"):
        load_seed("../../../etc/passwd")


async def test_seeding_again_appends_nothing(hub: Hub):
    before = len(await hub.rows("SELECT 1 FROM events"))
    again = await seed(hub.platform, "petite-foret")
    assert (again.entries, again.changed) == (before, 0)
    assert len(await hub.rows("SELECT 1 FROM events")) == before


async def test_changed_service_becomes_one_new_event_and_the_new_row(hub: Hub):
    entries = load_seed("petite-foret").events()
    stream, service = next(
        (s, e) for s, e in entries if isinstance(e, ServicePublished) and e.policy == "auto"
    )
    changed = service.model_copy(update={"policy": "confirm"})
    async with hub.database.transaction() as tx:
        result = await publish(tx, hub.platform.writer("partners"), [(stream, changed)])
    assert result.changed == 1
    (row,) = await hub.rows(
        "SELECT policy FROM services WHERE service_id = $1", service.service_id
    )
    assert row["policy"] == "confirm"
    versions = await hub.rows("SELECT version FROM events WHERE stream = $1", stream)
    assert [v["version"] for v in versions] == [1, 2]


async def test_rebuilt_directory_is_the_same(hub: Hub):
    query = "SELECT s::text AS text FROM services s ORDER BY service_id"
    before = await hub.rows(query)
    async with hub.database.transaction() as tx:
        await projections.READ_TABLES.rebuild(tx, hub.platform.vault)
    assert before
    assert await hub.rows(query) == before


async def test_directory_is_served_as_data_inclusion(hub: Hub):
    transport = httpx2.ASGITransport(hub.service.app)
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://hub", headers=headers
    ) as client:
        partners = (await client.get("/v1/partners")).json()["partners"]
        services = (await client.get("/v1/services?partner_id=petite-foret--plie")).json()[
            "services"
        ]
    assert len(partners) == 10
    assert {Structure.model_validate(p["structure"]).id for p in partners} == {
        p["partner_id"] for p in partners
    }
    assert [s["service_id"] for s in services] == ["petite-foret--plie--parcours"]
    assert Service.model_validate(services[0]["service"]).frais is not None


async def test_state_table_is_rebuilt_by_hearing_again(hub: Hub):
    await hub.refer()
    await hub.hear()
    query = "SELECT referral_id, status, updated_version FROM referral_states"
    before = await hub.rows(query)
    async with hub.database.transaction() as tx:
        await tx.execute("TRUNCATE referral_states")
    await hub.subscription.rewind()
    await hub.hear()
    assert before[0]["status"] == "requested"
    assert await hub.rows(query) == before
