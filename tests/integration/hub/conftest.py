"""Services together: all four, or one with what the others would say."""

from tests.support.hall import hall
from tests.support.masterkeys import processes
from tests.support.partners import hub, sink
from tests.support.whole import whole

__all__ = ["hall", "hub", "processes", "sink", "whole"]
