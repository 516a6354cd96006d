"""Events, subscriptions and keys of the audit service."""

from infra.eventstore.schema import create_api_keys, create_events, create_subscription_tables
from infra.messaging.publications import create_publication
from infra.postgres.database import role_of
from infra.privacy.erasure import create_forgetting
from infra.privacy.restrictions import create_limits

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_events("audit", role_of("audit"))
    create_subscription_tables("audit", role_of("audit"))
    create_publication("audit", role_of("audit"))
    create_forgetting("audit", role_of("audit"))
    create_limits("audit", role_of("audit"))
    create_api_keys("audit", role_of("audit"))
