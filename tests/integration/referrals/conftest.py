"""The referral service on a clock of its own, and the whole hub."""

from tests.support.hall import hall
from tests.support.whole import whole

__all__ = ["hall", "whole"]
