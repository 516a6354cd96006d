"""How an administrator says how France Travail knows us (francetravail.io)."""

from typing import Annotated

from pydantic import Field, StringConstraints

from contracts.base import Strict
from contracts.types import Line
from infra.delivery.ssrf_guard import MAX_URL
from services.partners.adapters.france_travail import Agent
from services.partners.adapters.france_travail_clients import Application
from services.partners.adapters.france_travail_tokens import Credentials

_USUAL = Agent()
Printed = StringConstraints(min_length=1, max_length=500, pattern=r"^[!-~]+$")
Name = Annotated[Line, StringConstraints(min_length=1, max_length=60)]


class EndpointAgent(Strict):
    """Who calls: a person, or ``BATCH`` and the name of a program."""

    identifier: Name = _USUAL.identifier
    family_name: Name = _USUAL.family_name
    given_name: Name = _USUAL.given_name


class EndpointApplication(Strict):
    """An application of francetravail.io: where its tokens come from, and what it says."""

    auth_url: Annotated[Line, StringConstraints(min_length=1, max_length=MAX_URL)]
    client_id: Annotated[str, Printed]
    client_secret: Annotated[str, Printed] = Field(repr=False)
    agent: EndpointAgent = EndpointAgent()

    def at(self, api_url: str) -> Application:
        """The same, with the address that answers."""
        known = Credentials(self.auth_url, api_url, self.client_id, self.client_secret)
        return Application(known, Agent(**self.agent.model_dump()))
