"""What the directory says of one partner: names, services, addresses. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts import partners
from services.audit.model.pathway import Data


@dataclass(slots=True)
class Partner:
    """One partner, as its events say."""

    kind: str | None = None
    names: list[dict[str, Any]] = field(default_factory=list)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "names": self.names,
            "services": self.services,
            "endpoints": self.endpoints,
        }


def evolve_partner(partner: Partner, event_type: str, data: Data) -> None:
    """Change a partner by one more event that names it.

    Raises KeyError or TypeError, with nothing changed, if the data lack what the event says.
    """
    if step := STEPS.get(event_type):
        step(partner, data)


def _registered(partner: Partner, data: Data) -> None:
    kind, name = data["kind"], data["name"]
    later = [named for named in partner.names if named["since"]]
    partner.kind, partner.names = kind, [{"name": name, "since": None}, *later]


def _renamed(partner: Partner, data: Data) -> None:
    partner.names.append({"name": data["name"], "since": data["since"]})


def _published(partner: Partner, data: Data) -> None:
    service = {"name": data["name"], "thematiques": data["thematiques"], "withdrawn": False}
    known = partner.services.setdefault(data["service_id"], {"capacity": None})
    known.update(service)


def _withdrawn(partner: Partner, data: Data) -> None:
    if service := partner.services.get(data["service_id"]):
        service["withdrawn"] = True


def _capacity(partner: Partner, data: Data) -> None:
    status = data["status"]
    if service := partner.services.get(data["service_id"]):
        service["capacity"] = status


def _endpoint(partner: Partner, data: Data) -> None:
    channel = data.get("channel", "webhook")
    partner.endpoints[data["endpoint_id"]] = {"channel": channel, "state": "registered"}


def _endpoint_is(state: str) -> Callable[[Partner, Data], None]:
    def step(partner: Partner, data: Data) -> None:
        if endpoint := partner.endpoints.get(data["endpoint_id"]):
            endpoint["state"] = state

    return step


STEPS: Mapping[str, Callable[[Partner, Data], None]] = {
    partners.PartnerRegistered.type: _registered,
    partners.PartnerRenamed.type: _renamed,
    partners.ServicePublished.type: _published,
    partners.ServiceWithdrawn.type: _withdrawn,
    partners.CapacityReported.type: _capacity,
    partners.EndpointRegistered.type: _endpoint,
    partners.EndpointVerified.type: _endpoint_is("verified"),
    partners.EndpointDisabled.type: _endpoint_is("disabled"),
}
