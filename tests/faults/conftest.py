"""The partner service and an endpoint that it delivers to."""

from tests.support.adapters import quick_applications
from tests.support.partners import hub, sink

__all__ = ["hub", "quick_applications", "sink"]
