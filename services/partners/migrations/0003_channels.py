"""Channels are plug-ins: their names are open, what they can do stands beside each address."""

from infra.postgres.ddl import script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    script(
        """
        ALTER TABLE partners.endpoints DROP CONSTRAINT endpoints_channel_check;
        ALTER TABLE partners.endpoints ALTER COLUMN channel DROP DEFAULT;
        ALTER TABLE partners.endpoints
          ADD COLUMN keeps_appointments boolean NOT NULL DEFAULT false;
        -- ^ the partner's system keeps the appointment itself: it is told of each change
        UPDATE partners.endpoints SET keeps_appointments = true WHERE channel = 'rest';
        ALTER TABLE partners.endpoint_secrets DROP CONSTRAINT endpoint_secrets_kind_check;
        """
    )
