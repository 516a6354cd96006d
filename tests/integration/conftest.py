"""A platform on the databases of a test."""

from tests.support.platform import platform

__all__ = ["platform"]
