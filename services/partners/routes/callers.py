"""Callers of the routes, and types that routes share."""

from typing import Annotated, Literal

from fastapi import Depends
from pydantic import StringConstraints
from starlette.requests import Request

from infra.eventstore.events import EventMetadata
from infra.web.auth import Principal, RequireRole
from infra.web.request_meta import metadata_of

Admin = Annotated[Principal, Depends(RequireRole("partner_admin"))]
Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
Reader = Annotated[Principal, Depends(RequireRole("partner_admin", "adviser"))]
Partner = Annotated[Principal, Depends(RequireRole("partner"))]


def id_of(partner: Principal) -> str:
    """Return the partner that a key is of."""
    (partner_id,) = partner.scope
    return partner_id


def cause_of_partner(request: Request, partner: Principal) -> EventMetadata:
    """Return the metadata of events that a partner's request causes."""
    return metadata_of(request, f"partner:{id_of(partner)}")


ErrorClass = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,60}$")]
"""How a delivery failed: ``http-503``, ``timeout`` … never anybody's words."""
State = Literal["pending", "succeeded", "dead", "cancelled", "manual", "held"]
"""Of a delivery."""
