"""Who asked, and on which trace: what the events of a request are marked with."""

from starlette.requests import Request

from infra.eventstore.events import Meta
from infra.telemetry import next_hop


def cause_of(request: Request, actor: str) -> Meta:
    """The meta of events that a request causes."""
    return Meta(actor, traceparent=next_hop(request.headers.get("traceparent")))
