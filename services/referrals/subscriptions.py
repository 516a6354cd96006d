"""What the referral service listens to."""

from collections.abc import Sequence

from infra.eventstore.events import StoredEvent
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.referrals import projections
from services.referrals.handlers.erasure import Erasing
from services.referrals.handlers.reactions import Reactions


def subscriptions(
    platform: Platform, database: Database, heard: Reactions
) -> list[Subscription[StoredEvent]]:
    """``routing`` opens cases, ``answers`` moves referrals, ``directory`` is a read table.

    ``rights``: keeps limits; ends the cases of who objects or is erased, then forgets them.
    """
    erasing = Erasing(heard)

    async def routed(messages: Sequence[StoredEvent], tx: Transaction) -> None:
        await heard.on_intake(messages, tx)
        routing.batch_size = heard.directory.cases_at_once(platform.settings.batch_size)

    async def directory(messages: Sequence[StoredEvent], tx: Transaction) -> None:
        await projections.keep_services(tx, messages)

    routing = platform.subscription("routing", database, "intake", routed)
    routing.batch_size = heard.directory.cases_at_once(platform.settings.batch_size)
    return [
        platform.subscription("directory", database, "partners", directory),
        routing,
        platform.subscription("answers", database, "partners", heard.on_partners),
        platform.subscription(
            "rights", database, "intake", erasing.on_intake, include_erased=True
        ),
    ]
