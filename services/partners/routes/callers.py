"""Who may call the routes, and what they share."""

from typing import Annotated, Literal

from fastapi import Depends

from infra.web.auth import Principal, RequireRole

Admin = Annotated[Principal, Depends(RequireRole("partner_admin"))]
Reader = Annotated[Principal, Depends(RequireRole("partner_admin", "adviser"))]
Partner = Annotated[Principal, Depends(RequireRole("partner"))]
State = Literal["pending", "succeeded", "dead", "cancelled", "manual", "held"]
"""Of a delivery."""
