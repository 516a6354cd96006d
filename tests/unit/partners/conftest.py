"""A simulator of France Travail, and a client of it."""

from tests.support.france_travail import simulator, travail

__all__ = ["simulator", "travail"]
