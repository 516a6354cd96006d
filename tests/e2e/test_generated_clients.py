"""What strangers make of our OpenAPI: Python clients of `openapi-python-client`, that work.

Generated from what a running hub serves, with the generator's own defaults; whatever it warns
of fails.
"""

import asyncio
import os
import pkgutil
import sys
from collections.abc import AsyncIterator
from datetime import date
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from contracts.registry import SERVICES
from contracts.tools.examples import FRONT_DESK
from services.hub.demo.processes import Hub
from tests.e2e.hubs import Up, contact, until

GENERATE = ("-m", "openapi_python_client", "generate", "--fail-on-warning")
GENERATE_SECONDS = 120


@pytest.fixture(scope="module")
async def clients(up: Up) -> AsyncIterator[dict[str, ModuleType]]:
    """A package for each service, whole: every module of it was imported."""
    assert up.hub is not None
    with TemporaryDirectory(prefix="aiguillage-generated-") as directory:
        sys.path.insert(0, directory)
        yield {name: await generated(up.hub, name, Path(directory)) for name in SERVICES}
        sys.path.remove(directory)


async def generated(hub: Hub, service: str, directory: Path) -> ModuleType:
    """The client of a service, as its generator makes it from the served document."""
    package = directory / f"{service}_client"
    process = await asyncio.create_subprocess_exec(
        sys.executable, *GENERATE, "--meta", "none",
        "--url", hub.address[service] + "/openapi.json", "--output-path", str(package),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=directory,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    async with asyncio.timeout(GENERATE_SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert "WARNING" not in said.decode()
    module = import_module(package.name)
    for found in pkgutil.walk_packages(module.__path__, package.name + "."):
        import_module(found.name)
    return module


class Caller:
    """Calls the operations of a service by its generated client, with the key of a role."""

    def __init__(self, hub: Hub, clients: dict[str, ModuleType], service: str, role: str):
        self.models: Any = import_module(clients[service].__name__ + ".models")
        self._api = clients[service].__name__ + ".api"
        self._client: Any = clients[service].AuthenticatedClient  # type: ignore[attr-defined]
        self._url, self._key = hub.address[service], hub.address["keys"][role]

    async def call(self, operation: str, *path: Any, **given: Any) -> Any:
        """``operation``: its tag and its id."""
        module: Any = import_module(f"{self._api}.{operation}")
        async with self._client(base_url=self._url, token=self._key) as client:
            return await module.asyncio(*path, client=client, **given)


def somebody(models: Any, ref: str) -> Any:
    """A contact, in the client's own words, of somebody whose referral an adviser confirms."""
    kinds = models.PartnerKind
    told = models.Facts(
        birth_date=models.DatedBirthDate(value=date(1979, 5, 17)),
        commune=models.DatedCommune(value="59459"),
        situation=models.DatedSituation(value=models.Situation("job-seeker")),
    )
    agreements = [
        models.Agreement(
            fields=[models.AgreementFieldsItem("family_name")],
            until=date(date.today().year + 1, 1, 31),  # noqa: DTZ011
            partner_kind=kind,
        )
        for kind in kinds
    ]
    return models.PublicContactEvent(
        id=uuid4().hex, source=FRONT_DESK, specversion="1.0",
        type_="fr.aiguillage.public.contact.recorded.v1",
        data=models.PublicContact(
            mode=models.ContactMode("walk-in"), agreements=agreements,
            person=models.Person(
                ref=ref, facts=told, identity=models.Identity(family_name="Durand")
            ),
            needs=[
                models.Need(
                    models.Thematique("trouver-un-emploi--repondre-a-des-offres-demploi")
                )
            ],
        ),
    )  # fmt: skip


async def test_clients_of_all_services_are_generated_without_a_warning_and_imported(
    clients: dict[str, ModuleType],
):
    assert set(clients) == set(SERVICES)


async def test_generated_clients_bring_a_contact_and_confirm_its_referral(
    hub: Hub, clients: dict[str, ModuleType]
):
    desk = Caller(hub, clients, "intake", "municipal")
    advisers = Caller(hub, clients, "referrals", "adviser")
    event = somebody(desk.models, "stranger")
    receipt = await desk.call("intake.post_event", body=event)
    assert receipt == await desk.call("intake.post_event", body=event)

    async def drafted() -> Any:
        page = await advisers.call("referrals.list_cases", person_id=receipt.person_id)
        (case,) = page.cases or [None]
        return case if case and case.referrals else None

    case = await until(drafted)
    (referral,) = case.referrals
    assert (case.case_id, referral.status) == (receipt.needs[0].case_id, "draft")
    proposal = await advisers.call("referrals.get_proposal", case.proposal_id)
    assert referral.service_id in proposal.ranked
    sent = await advisers.call("referrals.confirm", referral.referral_id)
    assert (sent.referral_id, sent.status) == (referral.referral_id, "requested")
    again = await advisers.call("referrals.confirm", referral.referral_id)
    assert isinstance(again, advisers.models.Problem)
    assert again.status == 409


async def test_generated_client_sends_batches_and_events_in_binary_mode(
    hub: Hub, clients: dict[str, ModuleType]
):
    desk = Caller(hub, clients, "intake", "municipal")
    models, given = desk.models, contact("written", 11)
    event = models.PublicContactEvent.from_dict(given)
    assert event.to_dict() == given
    answer = await desk.call("intake.post_event_batch", body=[event, event])
    assert [result.status for result in answer.results] == [202, 202]
    receipt = await desk.call(
        "intake.post_event", body=event.data, ce_specversion="1.0", ce_id=event.id,
        ce_source=event.source, ce_type=event.type_, ce_time=given["time"],
    )  # fmt: skip
    assert receipt == answer.results[0].receipt


async def test_generated_clients_read_what_is_answered_of_persons_and_of_the_log(
    hub: Hub, clients: dict[str, ModuleType]
):
    desk = Caller(hub, clients, "intake", "municipal")
    privacy = Caller(hub, clients, "intake", "privacy")
    event = somebody(desk.models, "read")
    receipt = await desk.call("intake.post_event", body=event)
    profile = await privacy.call(
        "rights.show_profile", receipt.person_id, body=privacy.models.ProfileShown()
    )
    assert profile.identity.family_name == "Durand"
    assert profile.facts.birth_date.value == date(1979, 5, 17)
    preview = await privacy.call("rights.preview_retention")
    assert (preview.archive, preview.erase, preview.due) == (0, 0, [])
    auditor = Caller(hub, clients, "audit", "auditor")

    async def logged() -> Any:
        described = await auditor.call("log.describe_log")
        return described if described.signed_size else None

    described = await until(logged)
    assert (await auditor.call("log.get_checkpoint")).startswith(described.origin)
    tile = await auditor.call("log.get_bundle", f"000.p/{described.signed_size}")
    assert tile is not None
    lines = await auditor.call("replay.get_replay", person=receipt.person_id)
    assert str(receipt.person_id) in lines
