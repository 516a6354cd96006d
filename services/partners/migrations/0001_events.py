"""Events, subscriptions and keys of the partners service."""

from infra.eventstore.schema import create_api_keys, create_events, create_subscription_tables
from infra.messaging.publications import create_publication
from infra.postgres.database import role_of
from infra.privacy.erasure import create_forgetting
from infra.privacy.restrictions import create_limits

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_events("partners", role_of("partners"))
    create_subscription_tables("partners", role_of("partners"))
    create_publication("partners", role_of("partners"))
    create_forgetting("partners", role_of("partners"))
    create_limits("partners", role_of("partners"))
    create_api_keys("partners", role_of("partners"))
