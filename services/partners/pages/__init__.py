"""Pages: partners' behind mailed links (``answers``), sheets for advisers (``sheets``)."""

from services.partners.pages.answers import add_answer_pages
from services.partners.pages.sheets import sheet_page

__all__ = ["add_answer_pages", "sheet_page"]
