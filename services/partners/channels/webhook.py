"""Signed webhooks (Standard Webhooks), to a partner's own system."""

from uuid import uuid4

from contracts.values import Channel
from infra.delivery.webhook.sender import Consent, Outcome, Outgoing, Sender, Sent
from services.partners.channels.base import Address, ChannelContext, DeliveryChannel, Endpoint
from services.partners.handlers.compose import Composer, LeasedRow, webhook_id
from services.partners.model.message_kinds import REQUESTED
from services.partners.model.messages import compose_ping


class WebhookChannel(DeliveryChannel[Outgoing]):
    """An address answers CloudEvents' handshake (``OPTIONS``), or takes a signed ping."""

    name = "webhook"
    published = Channel.WEBHOOK
    proves = True

    def __init__(self, context: ChannelContext) -> None:
        super().__init__(context)
        self.sender = Sender(context.guard, clock=context.clock)
        self.prover = Sender(context.guard, clock=context.clock)

    async def check(self, address: Address) -> None:
        """Raise ``UnsafeUrlError`` unless deliveries may reach the URL."""
        await self.context.guard.check(address.url)

    def compose(self, row: LeasedRow, composer: Composer) -> Outgoing | Sent:
        """Return the body with the keys that sign it as it leaves."""
        secrets = composer.secrets_of(row)
        if not secrets.keys:
            return Sent(Outcome.PERMANENT, "no-secret")
        body = composer.checked(row)
        if isinstance(body, Sent):
            return body
        return Outgoing(
            url=row.url,
            webhook_id=webhook_id(row.delivery_id),
            body=body,
            keys=secrets.keys,
            traceparent=row.traceparent,
            client=secrets.client,
            may_be_over=row.message != REQUESTED,
        )

    async def send(self, message: Outgoing) -> Sent:
        """Post once."""
        return await self.sender.send(message)

    async def ping(self, endpoint: Endpoint) -> Sent:
        """Send a signed ``endpoint.ping``."""
        now = self.context.clock()
        ping = Outgoing(
            url=endpoint.url,
            webhook_id=f"ping_{uuid4().hex}",
            body=compose_ping(endpoint.endpoint_id, endpoint.partner_id, now),
            keys=endpoint.secrets.keys,
            client=endpoint.secrets.client,
        )
        return await self.prover.send(ping)

    async def prove(self, endpoint: Endpoint) -> Consent:
        """Ask by the handshake first, which may name a rate; then by a ping."""
        client = endpoint.secrets.client
        consent = await self.prover.ask(endpoint.url, self.context.origin, client)
        return consent if consent.given else await super().prove(endpoint)

    async def close(self) -> None:
        """Close every connection that sends."""
        await self.sender.close()

    async def close_proving(self) -> None:
        """Close every connection by which addresses were asked."""
        await self.prover.close()


CHANNEL = WebhookChannel
