"""Whether a service has room: reported with a key, or asked for by a mailed link."""

from fastapi import APIRouter, Request

from contracts.public import Ref
from infra.web.problems import raises
from infra.web.request_meta import metadata_of
from services.partners.handlers.capacity import (
    Capacity,
    CapacityLinks,
)
from services.partners.model.capacity import CapacityReport
from services.partners.problems import MailedLately, NoMailbox
from services.partners.routes.callers import Admin, Partner, cause_of_partner, id_of
from services.partners.routes.models import MailResult, ReportedCapacity
from services.partners.routes.problems import refusing_reports


def add(routes: APIRouter, capacity: Capacity, links: CapacityLinks) -> None:
    """Add the administrators' routes."""

    @routes.post("/services/{service_id}/capacity", status_code=201, tags=["directory"])
    async def report_capacity(
        request: Request, admin: Admin, service_id: Ref, body: CapacityReport
    ) -> ReportedCapacity:
        """Say whether a service takes people now; the newest report counts."""
        with refusing_reports():
            event = await capacity.report(service_id, body, metadata_of(request, admin.actor))
        return ReportedCapacity(**event.model_dump(exclude={"sealed"}))

    @routes.post("/services/{service_id}/capacity-link", status_code=202, tags=["directory"])
    @raises(MailedLately, NoMailbox)
    async def send_capacity_link(admin: Admin, service_id: Ref) -> MailResult:
        """Mail the service's mailbox a link by which to report, and say what became of it."""
        with refusing_reports():
            sent = await links.send(service_id)
        return MailResult(outcome=sent.outcome, error=sent.error)


def add_own(routes: APIRouter, capacity: Capacity, links: CapacityLinks) -> None:
    """Add the partners' routes: for their own services only."""

    @routes.post("/services/{service_id}/capacity", status_code=201)
    async def report_my_capacity(
        request: Request, partner: Partner, service_id: Ref, body: CapacityReport
    ) -> ReportedCapacity:
        """Say whether one of the partner's services takes people now."""
        meta = cause_of_partner(request, partner)
        with refusing_reports():
            event = await capacity.report(service_id, body, meta, id_of(partner))
        return ReportedCapacity(**event.model_dump(exclude={"sealed"}))

    @routes.post("/services/{service_id}/capacity-link", status_code=202)
    @raises(MailedLately, NoMailbox)
    async def send_my_capacity_link(partner: Partner, service_id: Ref) -> MailResult:
        """Have a link mailed to the service's mailbox by which somebody there can report."""
        with refusing_reports():
            sent = await links.send(service_id, id_of(partner))
        return MailResult(outcome=sent.outcome, error=sent.error)
