"""What the directory says of one partner: names, services, addresses. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contracts import partners
from services.audit.model.pathway import Data
from services.audit.model.steps import Steps


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


STEPS = Steps[Partner, Data]()


def evolve_partner(partner: Partner, event_type: str, data: Data) -> None:
    """Change a partner by one more event that names it.

    Raises KeyError or TypeError, with nothing changed, if the data lack what the event says.
    """
    if step := STEPS.get(event_type):
        step(partner, data)


@STEPS.on(partners.PartnerRegistered.type)
def _registered(partner: Partner, data: Data) -> None:
    kind, name = data["kind"], data["name"]
    later = [named for named in partner.names if named["since"]]
    partner.kind, partner.names = kind, [{"name": name, "since": None}, *later]


@STEPS.on(partners.PartnerRenamed.type)
def _renamed(partner: Partner, data: Data) -> None:
    partner.names.append({"name": data["name"], "since": data["since"]})


@STEPS.on(partners.ServicePublished.type)
def _published(partner: Partner, data: Data) -> None:
    service = {"name": data["name"], "thematiques": data["thematiques"], "withdrawn": False}
    known = partner.services.setdefault(data["service_id"], {"capacity": None})
    known.update(service)


@STEPS.on(partners.ServiceWithdrawn.type)
def _withdrawn(partner: Partner, data: Data) -> None:
    if service := partner.services.get(data["service_id"]):
        service["withdrawn"] = True


@STEPS.on(partners.CapacityReported.type)
def _capacity(partner: Partner, data: Data) -> None:
    status = data["status"]
    if service := partner.services.get(data["service_id"]):
        service["capacity"] = status


@STEPS.on(partners.EndpointRegistered.type)
def _endpoint(partner: Partner, data: Data) -> None:
    channel = data.get("channel", "webhook")
    partner.endpoints[data["endpoint_id"]] = {"channel": channel, "state": "registered"}


def _endpoint_is(state: str) -> Callable[[Partner, Data], None]:
    def step(partner: Partner, data: Data) -> None:
        if endpoint := partner.endpoints.get(data["endpoint_id"]):
            endpoint["state"] = state

    return step


STEPS[partners.EndpointVerified.type] = _endpoint_is("verified")
STEPS[partners.EndpointDisabled.type] = _endpoint_is("disabled")
