"""Who asked, and on which trace: what the events of a request are marked with."""

from starlette.requests import Request

from infra.base.telemetry import next_hop
from infra.eventstore.events import EventMetadata


def metadata_of(request: Request, actor: str) -> EventMetadata:
    """The meta of events that a request causes."""
    return EventMetadata(actor, traceparent=next_hop(request.headers.get("traceparent")))
