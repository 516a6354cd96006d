"""France Travail's API: a referral becomes an appointment there (docs/adr/0013).

Events, APIs and tables say ``rest`` for it, as it was first published (docs/adr/0032).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from contracts.base import Event
from contracts.referrals import (
    AppointmentAttended,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    ReferralRequested,
)
from contracts.registry import parse_event
from contracts.values import Channel, PartnerKind
from infra.delivery.ssrf_guard import UnsafeUrlError
from infra.delivery.webhook.sender import Consent, Outcome, Sent
from services.partners.adapters.france_travail import AppointmentStatus, OutgoingReferral
from services.partners.adapters.france_travail_clients import Application, OutgoingAppointment
from services.partners.channels.base import (
    LOST,
    Address,
    DeliveryChannel,
    Endpoint,
    InvalidEndpointError,
)
from services.partners.handlers.compose import (
    Composer,
    LeasedRow,
    RequestRow,
    not_composed,
    opened,
)
from services.partners.model.letters import label

APPOINTMENTS_AT_ONCE = 4
"""Each is up to three calls, of the ten in a second that France Travail allows."""
DISCLOSED = ("france_travail_number", "phone")
"""Of a person, only what finds them there and a telephone number."""
_STATUS: dict[type[Event], AppointmentStatus] = {
    AppointmentSet: AppointmentStatus.CHANGED,
    AppointmentAttended: AppointmentStatus.ATTENDED,
    AppointmentMissed: AppointmentStatus.MISSED,
    AppointmentExcused: AppointmentStatus.CANCELLED,
}


class FranceTravailChannel(DeliveryChannel[OutgoingAppointment]):
    """An application of francetravail.io, registered with the partner of that kind."""

    name = "france-travail"
    published = Channel.FRANCE_TRAVAIL
    proves = True
    keeps_appointments = True
    kinds = frozenset({PartnerKind.FRANCE_TRAVAIL})
    carries = frozenset({"application"})

    def complete(self, address: Address) -> Address:
        """Return it with what concerns one person in order, and few messages at once."""
        at_once = address.concurrency or APPOINTMENTS_AT_ONCE
        return replace(address, ordering="pathway", concurrency=at_once)

    async def check(self, address: Address) -> None:
        """Raise ``InvalidEndpointError`` unless its application may be used from this desk."""
        application = address.application
        if application is None:
            raise InvalidEndpointError("application", "say how France Travail knows us")
        if not self.context.settings.desk_address:
            raise InvalidEndpointError("channel", "the desk has no address (desk_address)")
        try:
            application.agent.headers()
        except ValueError as error:
            detail = "give letters or digits in each part"
            raise InvalidEndpointError("application.agent", detail) from error
        auth_url = application.credentials.auth_url
        for field, base in (("url", address.url), ("application.auth_url", auth_url)):
            try:
                await self.context.guard.check(base)
            except UnsafeUrlError as error:
                raise InvalidEndpointError(field, str(error)) from error
            if urlsplit(base).query:
                raise InvalidEndpointError(field, "give the address alone, without a query")

    def compose(self, row: LeasedRow, composer: Composer) -> OutgoingAppointment | Sent:
        """Return the appointment that a request asks for, or what became of it.

        The person's number and telephone are opened from the request's sealed part, for what
        follows it too: by nothing else could an appointment be moved or taken away again.
        """
        if why := composer.kept_back(row):
            return Sent(Outcome.PERMANENT, why)
        application = composer.secrets_of(row).application
        request = composer.requests.get(row.referral_id)
        if application is None or request is None:
            return LOST
        person = composer.persons.get(row.person_id)
        try:
            fields = (
                opened(request.event_id, request.event_type, request.sealed, person).fields
                if person
                else {}
            )
            return appointment(row, request, application, fields)
        except Exception as error:
            return not_composed(error)

    async def send(self, message: OutgoingAppointment) -> Sent:
        """Call once."""
        return await self.context.clients.send(message)

    async def ping(self, endpoint: Endpoint) -> Sent:
        """Ask for a token with which appointments may be made."""
        application = endpoint.secrets.application
        return await self.context.clients.prove(application) if application else LOST

    async def prove(self, endpoint: Endpoint) -> Consent:
        """Ask for a token; an application that may only search offers is good, too."""
        application = endpoint.secrets.application
        if application is None:
            return Consent(False)
        sent = await self.ping(endpoint)
        if sent.outcome is Outcome.PERMANENT:
            sent = await self.context.clients.prove_offers(application)
        return Consent(sent.outcome is Outcome.OK)

    async def close(self) -> None:
        """Close every connection."""
        await self.context.clients.close()


def appointment(
    row: LeasedRow, request: RequestRow, application: Application, fields: Mapping[str, Any]
) -> OutgoingAppointment | Sent:
    """Return a message for France Travail; ``request``: the one behind it.

    ``fields``: what may be known of the person; nothing once they are erased.
    """
    event = parse_event(row.event_type, row.data)
    requested = parse_event(request.event_type, request.data)
    assert isinstance(requested, ReferralRequested)
    status = _STATUS.get(type(event))
    if status and not request.made:
        return Sent(Outcome.PERMANENT, "appointment-not-made")
    referral = OutgoingReferral(
        message=row.message,
        referral_id=requested.referral_id,
        fields={name: fields[name] for name in DISCLOSED if name in fields},
        theme=label(requested.thematique),
        appointment_at=getattr(event, "starts_at", requested.appointment_at),
        do_not_contact=requested.do_not_contact,
        external_id=request.external_id,
    )
    return OutgoingAppointment(application, referral, status)


CHANNEL = FranceTravailChannel
