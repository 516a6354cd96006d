"""Events, subscriptions and keys of the referrals service."""

from infra.eventstore.schema import create_api_keys, create_events, create_subscription_tables
from infra.messaging.publications import create_publication
from infra.postgres.database import role_of
from infra.privacy.erasure import create_forgetting
from infra.privacy.restrictions import create_limits

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_events("referrals", role_of("referrals"))
    create_subscription_tables("referrals", role_of("referrals"))
    create_publication("referrals", role_of("referrals"))
    create_forgetting("referrals", role_of("referrals"))
    create_limits("referrals", role_of("referrals"))
    create_api_keys("referrals", role_of("referrals"))
