"""JSON for administrators of partners: endpoints, deliveries, the directory, capacity."""

from dataclasses import asdict
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints

from contracts.base import Strict
from contracts.public import Ref
from contracts.types import Count, Line, Words
from infra.delivery.sftp import Account
from infra.delivery.ssrf_guard import MAX_URL
from infra.delivery.webhook.sender import ClientCertificate
from infra.postgres.database import Database
from infra.web.auth import create_key
from infra.web.problems import Invalid, not_found, raises
from infra.web.request_meta import metadata_of
from services.partners.channels.base import Address, InvalidEndpointError
from services.partners.channels.registry import RegistrableChannel
from services.partners.handlers.capacity import Capacity, CapacityLinks
from services.partners.handlers.endpoints import Endpoints
from services.partners.handlers.imports import Importer
from services.partners.handlers.manual import Manual
from services.partners.handlers.redelivery import Redelivery
from services.partners.handlers.verification import Verification
from services.partners.problems import TooManySecrets
from services.partners.routes.applications import EndpointApplication
from services.partners.routes.callers import Admin, Reader, State
from services.partners.routes.capacity import add as add_capacity
from services.partners.routes.directory import add as add_directory
from services.partners.routes.directory_models import (
    ListedPartner,
    ListedService,
    PartnerPage,
    ServicePage,
)
from services.partners.routes.manual import add as add_manual
from services.partners.routes.models import (
    DeliveryAttempts,
    DeliveryPage,
    NewEndpoint,
    NewSecret,
    PartnerKey,
    PingResult,
)
from services.partners.routes.models import Endpoints as EndpointsListed
from services.partners.routes.partner import (
    DAY,
    Overlap,
    PageSize,
    attempts,
    delivery_page,
    listed,
    pinged,
    rotated,
)
from services.partners.routes.redelivery import add as add_redelivery
from services.partners.tables import lists, statements

HIDDEN = {"credentials", "client_certificate", "application", "settings"}
"""What is never shown again."""
PrivateKey = Annotated[Words, StringConstraints(min_length=20, max_length=10_000)]
SettingName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Setting = Annotated[Line, StringConstraints(max_length=2000)]
Url = Annotated[Line, StringConstraints(min_length=1, max_length=MAX_URL)]


class NewKey(Strict):
    """What to call a partner's key."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class EndpointCredentials(Strict):
    """How to log in to a file server: a password or a private key, and the server's key."""

    host_key: Annotated[Line, StringConstraints(min_length=20, max_length=2000)]
    password: Annotated[Line, StringConstraints(min_length=1, max_length=500)] | None = None
    private_key: PrivateKey | None = None


class EndpointClient(Strict):
    """By which a partner's server knows us (mutual TLS): PEM, the key without a password."""

    certificate: Annotated[Words, StringConstraints(min_length=20, max_length=20_000)]
    private_key: PrivateKey


class EndpointRequest(Strict):
    """Where a partner takes messages: for these services, or for all of them if none given."""

    partner_id: Ref
    service_ids: Annotated[list[Ref], Field(max_length=100)] = []
    url: Url
    channel: RegistrableChannel = "webhook"
    rank: int = Field(0, ge=0, le=100, description="The lowest is tried first.")
    ordering: Literal["none", "pathway"] = "none"
    per_minute: int | None = Field(None, ge=1, le=60_000, description="Messages a minute.")
    concurrency: int | None = Field(None, ge=1, le=50, description="At the same time.")
    batch_minutes: int | None = Field(
        None, ge=1, le=10_080, description="For sftp: one file for all that waits, so often."
    )
    asymmetric: bool = Field(False, description="Sign with Ed25519 (v1a) too.")
    credentials: EndpointCredentials | None = Field(None, description="For sftp; never shown.")
    client_certificate: EndpointClient | None = Field(None, description="Never shown.")
    application: EndpointApplication | None = Field(None, description="For rest; never shown.")
    settings: Annotated[dict[SettingName, Setting], Field(max_length=20)] = Field(
        {}, description="For channels that an installation added; never shown."
    )


def router(
    database: Database,
    endpoints: Endpoints,
    capacity: Capacity,
    capacity_links: CapacityLinks,
    redelivery: Redelivery,
    verification: Verification,
    importer: Importer,
    manual: Manual,
) -> APIRouter:
    """Return the administrators' routes, and those of advisers."""
    routes = APIRouter(prefix="/v1")
    _add_endpoints(routes, database, endpoints, verification)
    _add_keys(routes, database)
    _add_deliveries(routes, database)
    _add_directory(routes, database)
    add_capacity(routes, capacity, capacity_links)
    add_redelivery(routes, redelivery)
    add_directory(routes, database, importer)
    add_manual(routes, manual)
    return routes


def _add_endpoints(
    routes: APIRouter, database: Database, endpoints: Endpoints, verification: Verification
) -> None:

    @routes.post("/endpoints", status_code=201, tags=["endpoints"])
    async def register_endpoint(
        request: Request, admin: Admin, body: EndpointRequest
    ) -> NewEndpoint:
        """Register an address. The secret is in this answer, and in no other."""
        meta = metadata_of(request, admin.actor)
        try:
            address = endpoints.complete(_address(body))
            new = await endpoints.register(address, meta)
        except InvalidEndpointError as error:
            raise Invalid.at(error.field, error.detail) from error
        kept = {"ordering": address.ordering, "concurrency": address.concurrency}
        shown = asdict(new) | body.model_dump(exclude=HIDDEN) | kept
        return NewEndpoint(**shown)

    @routes.post("/endpoints/{endpoint_id}/rotate", status_code=201, tags=["endpoints"])
    @raises(TooManySecrets)
    async def rotate_secret(
        request: Request, admin: Admin, endpoint_id: UUID, overlap: Overlap = DAY
    ) -> NewSecret:
        """New signing secrets, shown once; the old ones count for ``overlap``, else a day."""
        return await rotated(endpoints, endpoint_id, metadata_of(request, admin.actor), overlap)

    @routes.post("/endpoints/{endpoint_id}/disable", status_code=204, tags=["endpoints"])
    async def disable_endpoint(request: Request, admin: Admin, endpoint_id: UUID) -> None:
        """Send nothing there any more; its secrets are worth nothing from now on."""
        meta = metadata_of(request, admin.actor)
        await endpoints.disable(endpoint_id, "by-operator", meta)

    @routes.get("/endpoints", tags=["endpoints"])
    async def list_endpoints(admin: Admin, partner_id: Ref | None = None) -> EndpointsListed:
        """Addresses, oldest first; without their secrets."""
        return await listed(database, partner_id)

    @routes.post("/endpoints/{endpoint_id}/ping", tags=["endpoints"])
    async def ping_endpoint(admin: Admin, endpoint_id: UUID) -> PingResult:
        """Send a signed ``endpoint.ping`` now, and say what became of it."""
        return await pinged(verification, endpoint_id)


def _add_keys(routes: APIRouter, database: Database) -> None:
    @routes.post("/partners/{partner_id}/keys", status_code=201, tags=["endpoints"])
    async def create_partner_key(admin: Admin, partner_id: Ref, body: NewKey) -> PartnerKey:
        """A key with which the partner sees what concerns it; shown once."""
        async with database.transaction() as tx:
            if await tx.fetchval(statements.PARTNER_KIND, partner_id) is None:
                raise not_found("partner")
            name = f"{partner_id}:{body.name}"
            key = await create_key(tx, name, "partner", [partner_id])
        return PartnerKey(name=name, key=key)


def _address(body: EndpointRequest) -> Address:
    login, known = body.credentials, body.client_certificate
    return Address(
        **body.model_dump(exclude=HIDDEN),
        settings=body.settings,
        application=body.application.at(body.url) if body.application else None,
        account=Account(body.url, **login.model_dump()) if login else None,
        client=ClientCertificate(known.certificate.encode(), known.private_key.encode())
        if known
        else None,
    )


def _add_deliveries(routes: APIRouter, database: Database) -> None:
    @routes.get("/deliveries/{delivery_id}/attempts", tags=["deliveries"])
    async def list_attempts(admin: Admin, delivery_id: UUID) -> DeliveryAttempts:
        """Every attempt to send a message: when, by which channel, what became of it."""
        return await attempts(database, delivery_id)

    @routes.get("/deliveries", tags=["deliveries"])
    async def list_deliveries(
        admin: Admin,
        state: State | None = None,
        partner_id: Ref | None = None,
        referral_id: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        after: Count = 0,
    ) -> DeliveryPage:
        """Deliveries in the order they were made, a page at a time; nothing of the person."""
        return await delivery_page(
            database,
            after,
            limit,
            state=state,
            partner_id=partner_id,
            referral_id=referral_id,
        )


def _add_directory(routes: APIRouter, database: Database) -> None:
    @routes.get("/partners", tags=["directory"])
    async def list_partners(
        reader: Reader, after: Ref | None = None, limit: PageSize = 100
    ) -> PartnerPage:
        """The directory's organisations (data·inclusion structures), a page at a time."""
        async with database.reading() as tx:
            rows = await tx.select(lists.partners_after(after or "", limit))
        following = rows[-1].partner_id if len(rows) == limit else None
        partners = [ListedPartner(**row._asdict()) for row in rows]
        return PartnerPage(partners=partners, next=following)

    @routes.get("/services", tags=["directory"], response_model_exclude_unset=True)
    async def list_services(
        reader: Reader,
        partner_id: Ref | None = None,
        after: Ref | None = None,
        limit: PageSize = 100,
    ) -> ServicePage:
        """What the partners offer (data·inclusion services), a page at a time."""
        async with database.reading() as tx:
            rows = await tx.select(lists.services_after(after or "", limit, partner_id))
        values = [row._asdict() for row in rows]
        services = [ListedService(**row.pop("published") | row) for row in values]
        following = services[-1].service_id if len(rows) == limit else None
        return ServicePage(services=services, next=following)
