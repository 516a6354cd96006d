"""JSON for administrators of partners (``admin``), and the door for ``answers``."""

from services.partners.routes.admin import router
from services.partners.routes.answers import ANSWERS, add_answers

__all__ = ["ANSWERS", "add_answers", "router"]
