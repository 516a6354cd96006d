"""What France Travail is told of a referral by its API: an appointment, and what became of it.

Of the person only what that takes: the number by which France Travail finds them, and a
telephone number. Both are opened from the request's sealed part, for what follows it too: by
nothing else could an appointment be moved or taken away again.
"""

from collections.abc import Mapping
from typing import Any

from contracts.base import Event
from contracts.referrals import (
    AppointmentAttended,
    AppointmentExcused,
    AppointmentMissed,
    AppointmentSet,
    ReferralRequested,
)
from contracts.registry import parse_event
from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.adapters.france_travail import AppointmentStatus, OutgoingReferral
from services.partners.adapters.france_travail_clients import Application, OutgoingAppointment
from services.partners.model.letters import label

TOLD = ("france_travail_number", "phone")
_STATUS: dict[type[Event], AppointmentStatus] = {
    AppointmentSet: AppointmentStatus.CHANGED,
    AppointmentAttended: AppointmentStatus.ATTENDED,
    AppointmentMissed: AppointmentStatus.MISSED,
    AppointmentExcused: AppointmentStatus.CANCELLED,
}


def compose(
    row: Any, request: Any, application: Application, fields: Mapping[str, Any]
) -> OutgoingAppointment | Sent:
    """A message for France Travail; ``request``: the row of the request that it is about.

    ``fields``: what may be known of the person; nothing once they are erased.
    """
    event = parse_event(row["event_type"], row["data"])
    asked = parse_event(request["event_type"], request["data"])
    assert isinstance(asked, ReferralRequested)
    status = _STATUS.get(type(event))
    if status and not request["made"]:
        return Sent(Outcome.PERMANENT, "appointment-not-made")
    referral = OutgoingReferral(
        message=row["message"],
        referral_id=asked.referral_id,
        fields={name: fields[name] for name in TOLD if name in fields},
        theme=label(asked.thematique),
        appointment_at=getattr(event, "starts_at", asked.appointment_at),
        do_not_contact=asked.do_not_contact,
        external_id=request["external_id"],
    )
    return OutgoingAppointment(application, referral, status)
