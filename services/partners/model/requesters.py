"""Requesters as a partner may know them. Pure.

The sender's own kind can say something of the person (addiction care, probation, a shelter):
then nobody learns it but those whom the commune names, as les Emplois de l'inclusion does
towards France Travail.
"""

from contracts.requesters import Requesters
from contracts.values import (
    REQUESTER_LABELS,
    SENSITIVE_REQUESTERS,
    PartnerKind,
    RequesterKind,
)
from contracts.webhooks import RequesterPart


def spoken(requester: RequesterPart) -> str:
    """Return who asks in one line: name and kind, then how to call back."""
    label = REQUESTER_LABELS[requester.kind]
    name = f"{requester.name} ({label})" if requester.name else label
    return ", ".join(filter(None, (name, requester.phone, requester.email)))


def shown(
    requesters: Requesters, code: str | None, partner_id: str, kind: PartnerKind
) -> RequesterPart:
    """Return who asks, as this partner may know it.

    One that is hidden, or listed no more, is "other" without a name; the way to call back is
    then the default desk's, which gives nothing away.
    """
    desk = requesters.default
    sender = requesters.of(code) if code else desk
    listed = getattr(sender, "shown_to", ())
    allowed = partner_id in listed or kind in listed
    if sender is None or (sender.kind in SENSITIVE_REQUESTERS and not allowed):
        return RequesterPart(kind=RequesterKind.OTHER, phone=desk.phone, email=desk.email)
    reach = sender if sender.phone or sender.email else desk
    return RequesterPart(
        kind=sender.kind, name=sender.name, phone=reach.phone, email=reach.email
    )
