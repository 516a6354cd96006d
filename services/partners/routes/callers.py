"""Who may call the routes, and what they share."""

from typing import Annotated, Literal

from fastapi import Depends
from pydantic import StringConstraints

from infra.web.auth import Principal, RequireRole

Admin = Annotated[Principal, Depends(RequireRole("partner_admin"))]
Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
Reader = Annotated[Principal, Depends(RequireRole("partner_admin", "adviser"))]
Partner = Annotated[Principal, Depends(RequireRole("partner"))]
ErrorClass = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,60}$")]
"""How a delivery failed: ``http-503``, ``timeout`` … never anybody's words."""
State = Literal["pending", "succeeded", "dead", "cancelled", "manual"]
"""Of a delivery."""
