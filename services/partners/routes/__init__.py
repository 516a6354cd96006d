"""JSON for administrators (``admin``) and for partners (``partner``); the door for answers."""

from services.partners.routes.admin import router
from services.partners.routes.answers import ANSWERS, add_answers
from services.partners.routes.partner import partner_router

__all__ = ["ANSWERS", "add_answers", "partner_router", "router"]
