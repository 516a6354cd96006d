"""An adviser phones, writes or hands over: the last channel of every partner.

It has no address and sends nothing by itself: what is left to it waits on the list of the day
(``handlers/manual.py``, docs/adr/0014).
"""

from contracts.values import Channel
from infra.delivery.webhook.sender import Outcome, Sent
from services.partners.channels.base import Address, DeliveryChannel, InvalidEndpointError
from services.partners.handlers.compose import Composer, LeasedRow


class ManualChannel(DeliveryChannel[bytes]):
    """The sheet that an adviser reads from."""

    name = "manual"
    published = Channel.MANUAL
    addressed = False

    async def check(self, address: Address) -> None:
        """Raise ``InvalidEndpointError``: nobody registers an address of it."""
        raise InvalidEndpointError("channel", "is by hand, and has no address")

    def compose(self, row: LeasedRow, composer: Composer) -> bytes | Sent:
        """Return the body that other channels would bring."""
        return composer.checked(row)

    async def send(self, message: bytes) -> Sent:
        """Leave it to a human."""
        return Sent(Outcome.PERMANENT, "by-hand")


CHANNEL = ManualChannel
