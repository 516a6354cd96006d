"""Directory, endpoints, deliveries, answers."""

from infra.database import role_of
from infra.ddl import script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    script(
        f"""
        CREATE TABLE partners.partners (
          partner_id text PRIMARY KEY,
          kind       text NOT NULL,
          name       text NOT NULL,
          structure  json NOT NULL
        );
        CREATE TABLE partners.services (
          service_id  text PRIMARY KEY,
          partner_id  text NOT NULL,
          kind        text NOT NULL,
          name        text NOT NULL,
          policy      text NOT NULL,
          commission  boolean NOT NULL,
          published   json NOT NULL,
          capacity    text,                -- as its partner last reported
          seats       int,
          capacity_until date,
          capacity_at timestamptz
        );
        CREATE INDEX services_partner ON partners.services (partner_id);
        CREATE TABLE partners.referral_states (
          referral_id     uuid PRIMARY KEY,
          partner_id      text NOT NULL,
          service_id      text NOT NULL,
          case_id         uuid NOT NULL,
          person_id       uuid NOT NULL,
          status          text NOT NULL,   -- as the referral service last said
          asked_status    text,            -- as the partner last asked, until that is settled
          asked_answer_id uuid,
          commission_on   date,
          updated_version int NOT NULL
        );
        CREATE INDEX referral_states_person ON partners.referral_states (person_id);

        CREATE TABLE partners.endpoints (
          endpoint_id uuid PRIMARY KEY,
          partner_id  text NOT NULL,
          service_ids text[] NOT NULL,     -- empty: all services of the partner
          url         text NOT NULL,
          state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
          reason      text,
          created_at  timestamptz NOT NULL
        );
        CREATE INDEX endpoints_partner ON partners.endpoints (partner_id, created_at);
        CREATE TABLE partners.endpoint_secrets (
          secret_id   uuid PRIMARY KEY,
          endpoint_id uuid NOT NULL REFERENCES partners.endpoints,
          wrapped     bytea NOT NULL,      -- under the master key
          created_at  timestamptz NOT NULL,
          expires_at  timestamptz
        );
        CREATE INDEX endpoint_secrets_endpoint ON partners.endpoint_secrets (endpoint_id);

        CREATE TABLE partners.deliveries (
          seq             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
          delivery_id     uuid PRIMARY KEY,
          endpoint_id     uuid REFERENCES partners.endpoints,
          partner_id      text NOT NULL,
          service_id      text NOT NULL,
          referral_id     uuid NOT NULL,
          person_id       uuid NOT NULL,
          message         text NOT NULL,
          event_id        uuid NOT NULL,   -- the event to compose the body from, at each send
          event_type      text NOT NULL,
          occurred_at     timestamptz NOT NULL,
          data            text NOT NULL,
          sealed          bytea,           -- under the person's key, as in the event
          traceparent     text,
          agreed_until    date,
          state           text NOT NULL CHECK (state IN
                            ('pending', 'succeeded', 'dead', 'cancelled', 'manual')),
          attempts        int NOT NULL DEFAULT 0,
          tries_before    int NOT NULL DEFAULT 0,  -- attempts before it was asked for again
          next_attempt_at timestamptz,     -- while leased: when the lease ends
          lease           uuid,
          last_error      text,
          last_status     int,
          created_at      timestamptz NOT NULL,
          updated_at      timestamptz NOT NULL,
          CHECK (state <> 'pending'
                 OR (next_attempt_at IS NOT NULL AND endpoint_id IS NOT NULL))
        ) WITH (fillfactor = 80);
        CREATE INDEX deliveries_due ON partners.deliveries (endpoint_id, next_attempt_at)
          WHERE state = 'pending';
        CREATE INDEX deliveries_referral ON partners.deliveries (referral_id);
        CREATE INDEX deliveries_person ON partners.deliveries (person_id);
        CREATE INDEX deliveries_state ON partners.deliveries (state, seq);

        CREATE TABLE partners.answers (
          partner_id  text NOT NULL,
          webhook_id  text NOT NULL,
          body_digest bytea NOT NULL,      -- keyed: says nothing without the master key
          answer_id   uuid NOT NULL UNIQUE,
          referral_id uuid NOT NULL,
          person_id   uuid NOT NULL,
          status      text NOT NULL,
          received_at timestamptz NOT NULL,
          PRIMARY KEY (partner_id, webhook_id)
        );
        CREATE INDEX answers_person ON partners.answers (person_id);

        GRANT SELECT, INSERT, UPDATE, DELETE ON partners.partners, partners.services,
          partners.referral_states, partners.endpoints, partners.endpoint_secrets,
          partners.deliveries, partners.answers TO {role_of("partners")};
        GRANT TRUNCATE ON partners.partners, partners.services, partners.referral_states
          TO {role_of("partners")};
        """
    )
