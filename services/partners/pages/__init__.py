"""Pages: partners' behind mailed links (``answers``, ``capacity``), advisers' ``sheets``."""

from services.partners.pages.answers import add_answer_pages
from services.partners.pages.capacity import add_capacity_pages
from services.partners.pages.sheets import sheet_page

__all__ = ["add_answer_pages", "add_capacity_pages", "sheet_page"]
