"""Subscriptions of the referral service."""

from collections.abc import Sequence

from infra.eventstore.events import StoredEvent
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from services.referrals.handlers.erasure import Erasing
from services.referrals.handlers.reactions import Reactions


def subscriptions(
    platform: Platform, database: Database, reactions: Reactions
) -> list[Subscription[StoredEvent]]:
    """``routing`` opens cases, ``answers`` moves referrals, ``directory`` is a read table.

    ``rights``: keeps limits; ends the cases of who objects or is erased, then forgets them.
    """

    async def routed(messages: Sequence[StoredEvent], tx: Transaction) -> None:
        await reactions.on_intake(messages, tx)
        routing.batch_size = cases_at_once(platform.settings.batch_size)

    cases_at_once = reactions.directory.cases_at_once
    routing = platform.subscription("routing", database, "intake", routed)
    routing.batch_size = cases_at_once(platform.settings.batch_size)
    erasing = Erasing(reactions).on_intake
    return [
        platform.subscription("directory", database, "partners", reactions.on_directory),
        routing,
        platform.subscription("answers", database, "partners", reactions.on_partners),
        platform.subscription("rights", database, "intake", erasing, include_erased=True),
    ]
