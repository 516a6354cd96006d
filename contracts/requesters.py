"""Who asks: the desks and services that send people to the hub, as the commune lists them.

A contact's CloudEvents source or site says which of them; what a partner learns of it is a rule
of the partner service.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from contracts.base import Strict
from contracts.numbers import Phone
from contracts.public import Ref
from contracts.sources import covers
from contracts.types import Code, Email, ShortText, Slug
from contracts.values import SENSITIVE_REQUESTERS, RequesterKind

Source = Annotated[str, Field(min_length=1, max_length=1024)]


class Requester(Strict):
    """A desk: its name and kind, and whom to call back there."""

    name: ShortText
    kind: RequesterKind
    phone: Phone | None = None
    email: Email | None = None


class ListedRequester(Requester):
    """One of several desks; whoever matches every list that is given comes from it."""

    code: Code = Field(description="How events name it; sealed.")
    sources: Annotated[list[Source], Field(max_length=100)] = Field(
        [], description="CloudEvents sources: exact, or `prefix/*`."
    )
    sites: Annotated[list[Slug], Field(max_length=100)] = []
    shown_to: Annotated[list[Ref], Field(max_length=200)] = Field(
        [], description="Partners, or kinds of partners, that may know a sensitive one."
    )

    @model_validator(mode="after")
    def _recognised(self) -> "ListedRequester":
        if not self.sources and not self.sites:
            raise ValueError("give sources or sites: nobody would come from there")
        return self

    def sends(self, source: str, site: str | None) -> bool:
        """Return whether a contact of this source and site comes from this desk."""
        by_source = not self.sources or any(covers(s, source) for s in self.sources)
        return by_source and (not self.sites or site in self.sites)


class Requesters(Strict):
    """All desks; a contact that no list names comes from the ``default`` one."""

    default: Requester = Requester(
        name="Espace Emploi et Numérique", kind=RequesterKind.MUNICIPAL_DESK
    )
    requesters: Annotated[list[ListedRequester], Field(max_length=500)] = []

    @field_validator("default")
    @classmethod
    def _shown_to_all(cls, default: Requester) -> Requester:
        if default.kind in SENSITIVE_REQUESTERS:
            raise ValueError("is shown where others are hidden: not one of a sensitive kind")
        return default

    @field_validator("requesters")
    @classmethod
    def _named_once(cls, given: list[ListedRequester]) -> list[ListedRequester]:
        codes: Sequence[str] = [requester.code for requester in given]
        if len(set(codes)) < len(codes):
            raise ValueError("the same code twice")
        return given

    def code_of(self, source: str, site: str | None) -> str | None:
        """Return the code of the first desk that a contact comes from; None: the default."""
        return next((r.code for r in self.requesters if r.sends(source, site)), None)

    def of(self, code: str) -> ListedRequester | None:
        """Return the desk of a code; None if it is listed no more."""
        return next((r for r in self.requesters if r.code == code), None)
