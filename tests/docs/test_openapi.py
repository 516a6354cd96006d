"""The committed OpenAPI documents are those that the services answer with."""

import json

import pytest

from contracts.registry import SERVICES
from services import openapi


@pytest.mark.parametrize("service", SERVICES)
def test_committed_document_is_the_services_own(service: str) -> None:
    repair = "run python -m services.openapi --write"
    assert openapi.path(service).exists(), repair
    assert openapi.path(service).read_text() == openapi.text(service), repair


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_says_what_it_does(service: str) -> None:
    document = openapi.document(service)
    silent = [
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post", "put", "delete"}
        and not (operation.get("description") or operation.get("summary"))
    ]
    assert document["paths"]
    assert silent == []


def test_surface_that_others_hold_on_to_is_documented() -> None:
    surface = {
        "intake": {"POST /v1/events"},
        "referrals": {
            "GET /v1/cases", "GET /v1/cases/{case_id}", "GET /v1/proposals/{proposal_id}",
            "POST /v1/referrals/{referral_id}/confirm",
            "POST /v1/referrals/{referral_id}/cancel",
        },
        "partners": {"POST /v1/endpoints", "GET /v1/deliveries", "POST /v1/answers"},
        "audit": {"GET /v1/persons/{person_id}/pathway", "GET /checkpoint", "GET /v1/entries"},
    }  # fmt: skip
    missing = {service: surface[service] - _operations(service) for service in SERVICES}
    assert not any(missing.values()), missing


def _operations(service: str) -> set[str]:
    paths = json.loads(openapi.path(service).read_text())["paths"]
    return {f"{method.upper()} {path}" for path, item in paths.items() for method in item}
