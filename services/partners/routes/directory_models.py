"""Bodies of answers about the directory: organisations, services, imports, exports."""

from datetime import date, datetime
from typing import Any

from pydantic import Field, RootModel, SkipValidation

from contracts.base import Answered
from contracts.partners import Deadlines
from contracts.values import CapacityStatus, Channel, PartnerKind

Row = dict[str, Any]
Rows = SkipValidation[list[Row]]
"""Rows of a whole directory: they were judged when they were taken in."""


class ListedPartner(Answered):
    """An organisation of the directory."""

    partner_id: str
    kind: PartnerKind
    name: str
    structure: SkipValidation[Row] = Field(
        description="A structure of data·inclusion v1, as its source gives it."
    )


class PartnerPage(Answered):
    """Organisations, a page at a time; ``next`` goes into ``after``."""

    partners: list[ListedPartner]
    next: str | None


class ListedService(Answered):
    """What a partner offers; fields of which nothing is known are absent.

    From ``capacity`` on: as the partner last reported, null if it never did.
    """

    service_id: str
    partner_id: str
    kind: PartnerKind
    name: str
    thematiques: list[str]
    zone_eligibilite: list[str] = []
    minimum_age: int | None = None
    maximum_age: int | None = None
    policy: str = Field("confirm", description="`confirm`: an adviser confirms; or `auto`.")
    publics: list[str] = []
    modes: list[str] = []
    code_insee: str | None = None
    opening: str | None = Field(None, description="OpenStreetMap opening hours.")
    delay_days: int | None = Field(None, description="Working days to a first appointment.")
    channels: list[Channel] = Field([], description="The best first.")
    commission: bool = Field(False, description="Whether a commission decides.")
    deadlines: Deadlines | None = None
    service: SkipValidation[Row] = Field(
        description="A service of data·inclusion v1, as its source gives it."
    )
    capacity: CapacityStatus | None
    seats: int | None
    capacity_until: date | None
    capacity_at: datetime | None
    sessions: list[datetime] | None = Field(description="The next information sessions.")
    withdrawn: bool = Field(description="Its source does not list it any more.")


class ServicePage(Answered):
    """Services, a page at a time; ``next`` goes into ``after``."""

    services: list[ListedService]
    next: str | None


class PartnerName(Answered):
    """A name of an organisation; ``since`` is null where it has never changed."""

    since: date | None
    name: str


class PartnerNames(Answered):
    """The names of an organisation, the oldest first."""

    names: list[PartnerName]


class NameOnDay(Answered):
    """What an organisation was called on a day."""

    partner_id: str
    on: date
    name: str


class RefusedRow(Answered):
    """A row that was not taken: which (counted from 1), which field, and why."""

    what: str = Field(description="`structure` or `service`.")
    row: int
    id: str
    field: str
    detail: str


class ImportReport(Answered):
    """What an import found, in rows; a row may be refused for several reasons."""

    entries: int
    new: int
    changed: int
    unchanged: int
    withdrawn: list[str] = Field(description="Services that the source lists no more.")
    refused: list[RefusedRow]


class InclusionDirectory(Answered):
    """The directory as data·inclusion v1, row for row."""

    structures: Rows
    services: Rows


class HsdsDirectory(Answered):
    """The directory as Open Referral HSDS 3.1."""

    organizations: Rows
    services: Rows


class DirectoryExport(RootModel[InclusionDirectory | HsdsDirectory]):
    """The directory in the format that was asked for."""
