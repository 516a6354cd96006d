"""A desk that sends to the intake."""

from tests.support.intake import intake_desk

__all__ = ["intake_desk"]
