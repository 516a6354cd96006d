"""A platform on the databases of a test."""

from tests.support.adapters import quick_applications
from tests.support.platform import platform

__all__ = ["platform", "quick_applications"]
