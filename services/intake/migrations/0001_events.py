"""Events, subscriptions and keys of the intake service."""

from infra.eventstore.schema import create_api_keys, create_events, create_subscription_tables
from infra.messaging.publications import create_publication
from infra.postgres.database import role_of
from infra.privacy.erasure import create_forgetting
from infra.privacy.restrictions import create_limits

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_events("intake", role_of("intake"))
    create_subscription_tables("intake", role_of("intake"))
    create_publication("intake", role_of("intake"))
    create_forgetting("intake", role_of("intake"))
    create_limits("intake", role_of("intake"))
    create_api_keys("intake", role_of("intake"))
