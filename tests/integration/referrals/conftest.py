"""The referral service on a clock of its own, and the whole hub."""

from tests.support.referral_app import referral_app
from tests.support.whole import whole

__all__ = ["referral_app", "whole"]
