"""Services together: all four, or one with what the others would say."""

from tests.support.masterkeys import processes
from tests.support.partners import hub, sink
from tests.support.referral_app import referral_app
from tests.support.whole import whole

__all__ = ["hub", "processes", "referral_app", "sink", "whole"]
