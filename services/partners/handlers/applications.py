"""How France Travail knows us: what may be registered with an endpoint of channel ``rest``."""

from urllib.parse import urlsplit

from contracts.values import Channel
from infra.delivery.ssrf_guard import Guard, UnsafeUrlError
from services.partners.adapters.france_travail_clients import Application


class InvalidEndpointError(Exception):
    """A field of the request that cannot be: its name, and why."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.field = name
        self.detail = detail


def check_application(
    channel: Channel, application: Application | None, appoints: bool
) -> None:
    """Raise ``InvalidEndpointError`` unless it goes with its channel and may be used.

    ``appoints``: the desk has an address at which appointments are.
    """
    if application and channel is not Channel.REST:
        raise InvalidEndpointError("application", "goes with the channel rest")
    if channel is Channel.REST and application is None:
        raise InvalidEndpointError("application", "say how France Travail knows us")
    if channel is Channel.REST and not appoints:
        raise InvalidEndpointError("channel", "the desk has no address (desk_address)")
    try:
        if application:
            application.agent.headers()
    except ValueError as error:
        detail = "give letters or digits in each part"
        raise InvalidEndpointError("application.agent", detail) from error


async def check_bases(url: str, application: Application, guard: Guard) -> None:
    """Raise ``InvalidEndpointError`` unless both addresses are safe to call."""
    auth_url = application.credentials.auth_url
    for name, base in (("url", url), ("application.auth_url", auth_url)):
        try:
            await guard.check(base)
        except UnsafeUrlError as error:
            raise InvalidEndpointError(name, str(error)) from error
        if urlsplit(base).query:
            raise InvalidEndpointError(name, "give the address alone, without a query")
