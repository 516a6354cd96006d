"""Events, subscriptions and keys of the referrals service."""

from infra.database import role_of
from infra.eventstore.schema import create_api_keys, create_events, create_subscription_tables
from infra.forgetting import create_forgetting
from infra.limits import create_limits
from infra.publications import create_publication

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_events("referrals", role_of("referrals"))
    create_subscription_tables("referrals", role_of("referrals"))
    create_publication("referrals", role_of("referrals"))
    create_forgetting("referrals", role_of("referrals"))
    create_limits("referrals", role_of("referrals"))
    create_api_keys("referrals", role_of("referrals"))
