"""The committed OpenAPI documents are those that the services answer with."""

import json
from typing import Any

import pytest

from contracts.registry import SERVICES
from services.hub import openapi


@pytest.mark.parametrize("service", SERVICES)
def test_committed_document_is_the_services_own(service: str) -> None:
    repair = "run python -m services.hub.openapi --write"
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


@pytest.mark.parametrize("service", SERVICES)
def test_whatever_an_operation_refuses_is_a_problem_document(service: str) -> None:
    document = openapi.document(service)
    for name, operation in _described(document):
        responses = operation["responses"]
        refused = {status: r for status, r in responses.items() if not status.startswith("2")}
        assert {"500", "503"} <= set(refused), name
        for status, response in refused.items():
            assert list(response["content"]) == ["application/problem+json"], (name, status)
    assert "HTTPValidationError" not in openapi.text(service)


def test_whoever_may_call_an_operation_stands_in_it() -> None:
    open_to_all = {
        f"{service} {name}"
        for service in SERVICES
        for name, operation in _described(openapi.document(service))
        if not operation["security"]
    }
    assert open_to_all == {
        "referrals GET /v1/rules", "referrals GET /v1/rules/{digest}",
        "partners POST /v1/answers",  # signed by the partner instead
        "audit GET /v1/log", "audit GET /checkpoint", "audit GET /v1/checkpoints",
        "audit GET /tile/{path}", "audit GET /v1/proofs/inclusion",
        "audit GET /v1/proofs/consistency", "audit GET /v1/proofs/{event_id}.tlog-proof",
    }  # fmt: skip


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
    return {name for name, _ in _described(json.loads(openapi.path(service).read_text()))}


def _described(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each operation of a document, after its method and path."""
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
