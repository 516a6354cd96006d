"""Events, subscriptions and keys of the partners service."""

from infra.database import role_of
from infra.eventstore.schema import create_api_keys, create_events, create_subscription_tables
from infra.forgetting import create_forgetting
from infra.limits import create_limits
from infra.publications import create_publication

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_events("partners", role_of("partners"))
    create_subscription_tables("partners", role_of("partners"))
    create_publication("partners", role_of("partners"))
    create_forgetting("partners", role_of("partners"))
    create_limits("partners", role_of("partners"))
    create_api_keys("partners", role_of("partners"))
