"""JSON for a partner's own systems: what concerns it, and nothing else.

The key's scope is the partner; another partner's things are not found.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints

from contracts.base import Strict
from contracts.types import Count
from infra.eventstore.events import EventMetadata
from infra.postgres.database import Database
from infra.web.problems import raises
from services.partners.handlers.capacity import Capacity, CapacityLinks
from services.partners.handlers.endpoints import (
    MOST_OVERLAP,
    MOST_SECRETS,
    OVERLAP,
    Endpoints,
    TooManySecretsError,
)
from services.partners.handlers.message_feed import MessageFeed
from services.partners.handlers.verification import Verification
from services.partners.problems import TooManySecrets
from services.partners.routes.callers import Partner, State, cause_of_partner, id_of
from services.partners.routes.capacity import add_own
from services.partners.routes.models import (
    Acknowledged,
    Delivery,
    DeliveryAttempt,
    DeliveryAttempts,
    DeliveryPage,
    Endpoint,
    MessagePage,
    NewSecret,
    PartnerMessage,
    PingResult,
)
from services.partners.routes.models import Endpoints as EndpointsListed
from services.partners.tables import lists

PageSize = Annotated[int, Query(ge=1, le=500)]
WebhookId = Annotated[str, StringConstraints(pattern=r"^dlv_[0-9a-f]{32}$")]
After = Annotated[Count, Query()]
DAY = int(OVERLAP.total_seconds())
Overlap = Annotated[
    int,
    Query(
        ge=0,
        le=int(MOST_OVERLAP.total_seconds()),
        description="Seconds for which the old secrets still count; 0: not any more.",
    ),
]


class Taken(Strict):
    """Messages that the partner has taken over, by the ids that they came under."""

    webhook_ids: Annotated[list[WebhookId], Field(min_length=1, max_length=500)]


def partner_router(
    database: Database,
    endpoints: Endpoints,
    verification: Verification,
    messages: MessageFeed,
    capacity: Capacity,
    capacity_links: CapacityLinks,
) -> APIRouter:
    """Return the partners' routes."""
    routes = APIRouter(prefix="/v1/partner", tags=["partner"])
    _add_endpoints(routes, database, endpoints, verification)
    _add_deliveries(routes, database, messages)
    add_own(routes, capacity, capacity_links)
    return routes


def _add_endpoints(
    routes: APIRouter, database: Database, endpoints: Endpoints, verification: Verification
) -> None:
    @routes.get("/endpoints")
    async def my_endpoints(partner: Partner) -> EndpointsListed:
        """The partner's addresses and how they fare; without their secrets."""
        return await listed(database, id_of(partner))

    @routes.post("/endpoints/{endpoint_id}/rotate", status_code=201)
    @raises(TooManySecrets)
    async def rotate_my_secret(
        request: Request, partner: Partner, endpoint_id: UUID, overlap: Overlap = DAY
    ) -> NewSecret:
        """New signing secrets, shown once; the old ones count for ``overlap``, else a day."""
        cause = cause_of_partner(request, partner)
        return await rotated(endpoints, endpoint_id, cause, overlap, id_of(partner))

    @routes.post("/endpoints/{endpoint_id}/disable", status_code=204)
    async def disable_my_endpoint(
        request: Request, partner: Partner, endpoint_id: UUID
    ) -> None:
        """Send nothing there any more; its secrets are worth nothing from now on."""
        cause = cause_of_partner(request, partner)
        await endpoints.disable(endpoint_id, "by-partner", cause, id_of(partner))

    @routes.post("/endpoints/{endpoint_id}/ping")
    async def ping_my_endpoint(partner: Partner, endpoint_id: UUID) -> PingResult:
        """Have a signed ``endpoint.ping`` sent now, and see what became of it."""
        return await pinged(verification, endpoint_id, id_of(partner))


def _add_deliveries(routes: APIRouter, database: Database, messages: MessageFeed) -> None:
    @routes.get("/deliveries")
    async def my_deliveries(
        partner: Partner,
        state: State | None = None,
        limit: PageSize = 100,
        after: After = 0,
    ) -> DeliveryPage:
        """What was sent to the partner, or waits, in the order it was made."""
        return await delivery_page(
            database, after, limit, state=state, partner_id=id_of(partner)
        )

    @routes.get("/deliveries/{delivery_id}/attempts")
    async def my_attempts(partner: Partner, delivery_id: UUID) -> DeliveryAttempts:
        """Every attempt to send one of the partner's messages."""
        return await attempts(database, delivery_id, id_of(partner))

    @routes.get("/messages")
    async def my_messages(
        request: Request, partner: Partner, after: After = 0, limit: PageSize = 100
    ) -> MessagePage:
        """The messages themselves, after a cursor, in order: for a system that was away.

        Go on with ``cursor``. Nothing counts as delivered before you acknowledge it.
        """
        page = await messages.after(
            id_of(partner), after, limit, cause_of_partner(request, partner)
        )
        handed = [PartnerMessage(**message) for message in page.messages]
        return MessagePage(messages=handed, cursor=page.cursor, more=page.more)

    @routes.post("/messages/acknowledge")
    async def acknowledge_messages(
        request: Request, partner: Partner, body: Taken
    ) -> Acknowledged:
        """Say which messages you have taken over: they will not be sent again; a repeat changes
        nothing. ``acknowledged``: how many had not been delivered before."""
        taken = [UUID(name.removeprefix("dlv_")) for name in body.webhook_ids]
        meta = cause_of_partner(request, partner)
        number = await messages.acknowledge(id_of(partner), taken, meta)
        return Acknowledged(acknowledged=number)


async def rotated(
    endpoints: Endpoints,
    endpoint_id: UUID,
    cause: EventMetadata,
    overlap: int,
    partner_id: str | None = None,
) -> NewSecret:
    """Return an endpoint's new secrets; raises ``Problem`` 404, 409 where too many count."""
    try:
        new = await endpoints.rotate(endpoint_id, cause, timedelta(seconds=overlap), partner_id)
    except TooManySecretsError as error:
        detail = f"{MOST_SECRETS} still count: wait for one to end, or ask for overlap=0"
        raise TooManySecrets(detail) from error
    return NewSecret(**asdict(new))


async def pinged(
    verification: Verification, endpoint_id: UUID, partner_id: str | None = None
) -> PingResult:
    """Return the result of a ping; raises ``Problem`` 404 for an endpoint that is not there."""
    sent = await verification.ping(endpoint_id, partner_id)
    return PingResult(outcome=sent.outcome, status=sent.status, error=sent.error)


async def delivery_page(
    database: Database,
    after: int,
    limit: int,
    *,
    state: State | None,
    partner_id: str | None,
    referral_id: UUID | None = None,
) -> DeliveryPage:
    """Return a page of deliveries in the order they were made, and the next cursor, if any."""
    statement = lists.deliveries_after(
        after, limit, state=state, partner_id=partner_id, referral_id=referral_id
    )
    async with database.reading() as tx:
        rows = await tx.select(statement)
    deliveries = [Delivery(**row._asdict()) for row in rows]
    following = deliveries[-1].seq if len(rows) == limit else None
    return DeliveryPage(deliveries=deliveries, next=following)


async def listed(database: Database, partner_id: str | None) -> EndpointsListed:
    """Return a partner's addresses, or everybody's."""
    async with database.reading() as tx:
        rows = await tx.select(lists.endpoints_of(partner_id))
    return EndpointsListed(endpoints=[Endpoint(**row._asdict()) for row in rows])


async def attempts(
    database: Database, delivery_id: UUID, partner_id: str | None = None
) -> DeliveryAttempts:
    """Return every attempt to send a message; none of another partner's."""
    async with database.reading() as tx:
        rows = await tx.select(lists.attempts_of(delivery_id, partner_id))
    return DeliveryAttempts(attempts=[DeliveryAttempt(**row._asdict()) for row in rows])
