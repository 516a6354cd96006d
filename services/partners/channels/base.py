"""What a channel is: how it checks an address, composes a message, sends it, proves an address.

A channel is one module of this package, and one line of the registry
(docs/howto/add-a-channel.md); nothing else names it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from contracts.values import Channel, PartnerKind
from infra.base.clock import Clock
from infra.base.settings import Settings
from infra.delivery.mail import MailSender
from infra.delivery.sftp import Account
from infra.delivery.ssrf_guard import Guard
from infra.delivery.webhook.sender import ClientCertificate, Consent, Outcome, Sent
from services.partners.adapters.france_travail_clients import Application, Clients
from services.partners.handlers.compose import Composer, LeasedRow
from services.partners.handlers.secrets import EndpointSecrets

M = TypeVar("M")
"""The messages that a channel sends."""
LOST = Sent(Outcome.PERMANENT, "no-credentials")
"""What was sealed does not open any more, or was never given."""


class InvalidEndpointError(Exception):
    """A field of a registration that cannot be: its name, and why."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.field = name
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how a partner takes messages; no services: all that it has.

    ``rank``: the lowest is tried first. ``ordering``: ``pathway`` keeps what concerns one
    person in order. ``per_minute`` and ``concurrency``: what the partner's system can stand.
    """

    partner_id: str
    service_ids: list[str]
    url: str
    channel: str = Channel.WEBHOOK
    rank: int = 0
    ordering: str = "none"
    per_minute: int | None = None
    concurrency: int | None = None
    batch_minutes: int | None = None
    asymmetric: bool = False
    account: Account | None = None
    client: ClientCertificate | None = None
    application: Application | None = None
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registered address that is to prove itself."""

    endpoint_id: UUID
    partner_id: str
    url: str
    secrets: EndpointSecrets


@dataclass(frozen=True, slots=True)
class ChannelContext:
    """What channels are built with. ``mail``: none where no mail server is set.

    ``origin``: our host, as partners know it. ``clients``: of France Travail, shared with who
    searches offers.
    """

    settings: Settings
    guard: Guard
    clock: Clock
    origin: str
    mail: MailSender | None
    clients: Clients


class DeliveryChannel(ABC, Generic[M]):
    """One way to bring messages to partners; built once for a service.

    What the class says holds for every address of the channel:

    - ``name``: in code and documentation; ``published``: in events, APIs and tables.
    - ``addressed``: a partner registers an address of it.
    - ``proves``: an address shows that it wants our messages before it gets the first real one.
    - ``batches``: several messages may leave as one (``batch_minutes``).
    - ``keeps_appointments``: the partner's system keeps the appointment itself. It is told of
      every change and of who came, and of nothing but the requests that it has.
    - ``kinds``: of partners that it is for; none: of all.
    - ``carries``: what a registration may give it and no other channel
      (``application``, ``settings``).
    """

    name: ClassVar[str]
    published: ClassVar[str]
    addressed: ClassVar[bool] = True
    proves: ClassVar[bool] = False
    batches: ClassVar[bool] = False
    keeps_appointments: ClassVar[bool] = False
    kinds: ClassVar[frozenset[PartnerKind] | None] = None
    carries: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, context: ChannelContext) -> None:
        self.context = context

    def complete(self, address: Address) -> Address:
        """Return an address with what the channel needs where nothing else was asked for."""
        return address

    @abstractmethod
    async def check(self, address: Address) -> None:
        """Raise ``InvalidEndpointError`` or ``UnsafeUrlError`` unless we may deliver there."""

    @abstractmethod
    def compose(self, row: LeasedRow, composer: Composer) -> M | Sent:
        """Return the message to send, or why there is none."""

    @abstractmethod
    async def send(self, message: M) -> Sent:
        """Send once; never raises for what others do."""

    def join(self, messages: Sequence[M]) -> M:
        """Return several messages to one address as one, where the channel ``batches``."""
        raise TypeError(f"{self.name} sends messages one by one")

    def file_of(self, message: M) -> str | None:
        """Return the name of the file that a message is laid down as, if it is one."""
        return None

    async def ping(self, endpoint: Endpoint) -> Sent:
        """Try an address without a message, where the channel ``proves``."""
        raise TypeError(f"{self.name} proves no address")

    async def prove(self, endpoint: Endpoint) -> Consent:
        """Ask whether an address wants our messages; a ping that arrives is enough."""
        return Consent((await self.ping(endpoint)).outcome is Outcome.OK)

    async def close(self) -> None:
        """Close every connection that sends; the next send opens one again."""

    async def close_proving(self) -> None:
        """Close every connection of ``prove`` and ``ping``, once nobody proves any more."""


AnyChannel = DeliveryChannel[Any]
