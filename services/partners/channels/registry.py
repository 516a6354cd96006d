"""Every channel of the hub, a line each; whatever has to know them derives it from here."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from infra.delivery.webhook.sender import Sent
from services.partners.channels.base import AnyChannel, ChannelContext

MODULES = (
    "webhook",
    "mail",
    "sftp",
    "france_travail",
    "manual",
)
"""Modules of this package; each names its class ``CHANNEL``."""

CHANNELS: tuple[type[AnyChannel], ...] = tuple(
    import_module(f"{__package__}.{module}").CHANNEL for module in MODULES
)
_ADDRESSED = [channel for channel in CHANNELS if channel.addressed]
_PUBLISHED = {channel.name: str(channel.published) for channel in _ADDRESSED}
NAMES = list(dict.fromkeys([*_PUBLISHED.values(), *_PUBLISHED]))
"""By which an address may be registered: published names, and those that code uses."""


def published_name(name: str) -> str:
    """Return the published name of a channel that takes addresses; raises ``ValueError``."""
    if name not in NAMES:
        raise ValueError(f"give one of {', '.join(NAMES)}")
    return _PUBLISHED.get(name, name)


def published_where(capability: str, value: Any = True) -> str:
    """Return the published names of channels with a capability, for messages to humans."""
    held = ((channel, getattr(channel, capability)) for channel in CHANNELS)
    return ", ".join(
        str(channel.published)
        for channel, has in held
        if has == value or (isinstance(has, frozenset) and value in has)
    )


RegistrableChannel = Annotated[
    str,
    Field(max_length=40),
    AfterValidator(published_name),
    WithJsonSchema({"type": "string", "enum": NAMES, "title": "Channel"}),
]
"""A channel as whoever registers an address names it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message, and the published name of the channel that sends it."""

    channel: str
    message: Any


class Channels:
    """Every channel, built; sends parcels by the channel that composed them."""

    def __init__(self, context: ChannelContext) -> None:
        self._built = {str(channel.published): channel(context) for channel in CHANNELS}

    def __getitem__(self, published: str) -> AnyChannel:
        return self._built[published]

    def __iter__(self) -> Iterator[AnyChannel]:
        return iter(self._built.values())

    async def send(self, parcel: Parcel) -> Sent:
        """Send once; never raises for what others do."""
        return await self[parcel.channel].send(parcel.message)

    async def close(self) -> None:
        """Close every connection that sends."""
        for channel in self:
            await channel.close()

    async def close_all(self) -> None:
        """Close every connection, once nobody sends or proves any more."""
        for channel in self:
            await channel.close()
            await channel.close_proving()
