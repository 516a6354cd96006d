"""Pages: partners' behind mailed links (``answers``), sheets for advisers (``sheets``)."""

from services.partners.pages.answers import add_answer_pages

__all__ = ["add_answer_pages"]
