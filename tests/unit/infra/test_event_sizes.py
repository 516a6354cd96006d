"""Every event type has a largest size, and no event that its model takes is larger."""

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError, create_model

from contracts.base import Event
from contracts.bounds import DISCLOSED_BYTES
from contracts.fields import Facts, Identity
from contracts.intake import NeedSealed
from contracts.partners import PartnerRegistered
from contracts.registry import EVENT_TYPES
from contracts.sizes import (
    CIPHER_BYTES,
    MOST_BYTES,
    EventTooLargeError,
    UnboundedError,
    _largest,
    check_size,
    largest,
    largest_clear,
    largest_sealed,
)
from contracts.values import PartnerKind
from infra.web.app import create_app
from tests.support.largest import FILLS, largest_event


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_each_type_has_a_largest_size_below_the_bound_of_all(event_type: str):
    assert 0 < largest(event_type) <= MOST_BYTES


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(fill=st.sampled_from(FILLS))
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_largest_valid_event_of_each_type_is_not_larger_than_said(event_type: str, fill: str):
    try:
        event = largest_event(event_type, fill)
    except ValidationError:
        event = largest_event(event_type)  # a text of it may not hold this character
    sealed = event.sealed_json()
    assert len(event.clear_json()) <= largest_clear(event_type)
    assert len(sealed or b"") <= largest_sealed(event_type)
    check_size(event_type, event.clear_json(), sealed and bytes(len(sealed) + CIPHER_BYTES))


def test_larger_part_is_refused_with_its_type_and_never_its_content():
    event = PartnerRegistered(
        partner_id="p",
        kind=PartnerKind.PLIE,
        name="p",
        structure={"description": "x" * 200_000},
    )
    with pytest.raises(EventTooLargeError, match=r"partner\.registered\.v1 of 2000\d\d bytes"):
        check_size(event.type, event.clear_json(), None)


def test_sealed_part_has_a_bound_of_its_own():
    most = largest_sealed("fr.aiguillage.intake.need.expressed.v1") + CIPHER_BYTES
    check_size("fr.aiguillage.intake.need.expressed.v1", b"{}", bytes(most))
    with pytest.raises(EventTooLargeError):
        check_size("fr.aiguillage.intake.need.expressed.v1", b"{}", bytes(most + 1))


@pytest.mark.parametrize("kind", [str, list[str], dict[str, str], list[dict[str, int]]])
def test_field_without_a_bound_is_an_error(kind: type):
    model = create_model("Loose", __base__=Event, field=(kind, ...))
    schema = model.model_json_schema()
    schema["properties"].pop("sealed")
    with pytest.raises(UnboundedError, match=r"loose\.field"):
        _largest(schema, schema.get("$defs", {}), "loose")


def test_all_that_may_be_disclosed_fits_what_an_event_discloses():
    found = 0
    for model in (Identity, Facts, NeedSealed):
        schema = model.model_json_schema(mode="serialization")
        found += _largest(schema, schema.get("$defs", {}), model.__name__)
    assert found <= DISCLOSED_BYTES


async def test_request_that_would_make_a_larger_event_is_told_so():
    asked = create_app("test", "A service whose one route makes too much of what it is sent.")

    @asked.get("/")
    async def too_much() -> None:
        raise EventTooLargeError("fr.test.v1", 2, 1)

    transport = httpx2.ASGITransport(asked)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/")
    assert answer.status_code == 413
    assert answer.json()["type"].endswith("/too-large")
