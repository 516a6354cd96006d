"""Directory, endpoints, deliveries, answers."""

from infra.postgres.database import role_of
from infra.postgres.ddl import script

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
        CREATE TABLE partners.partner_names (
          partner_id text NOT NULL,
          since      date NOT NULL,        -- first day of the name
          name       text NOT NULL,
          PRIMARY KEY (partner_id, since)
        );
        CREATE TABLE partners.services (
          service_id  text PRIMARY KEY,
          partner_id  text NOT NULL,
          kind        text NOT NULL,
          name        text NOT NULL,
          policy      text NOT NULL,
          commission  boolean NOT NULL,
          published   json NOT NULL,
          withdrawn   boolean NOT NULL DEFAULT false,  -- its source lists it no more
          capacity    text,                -- as its partner last reported
          seats       int,
          capacity_until date,
          capacity_at timestamptz,
          sessions    timestamptz[]        -- the next information sessions
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
          appointment_at  timestamptz,     -- as last given or moved, until it is over
          partner_reference bytea,         -- the partner's number of the file, sealed
          updated_version int NOT NULL
        );
        CREATE INDEX referral_states_person ON partners.referral_states (person_id);

        CREATE TABLE partners.endpoints (
          endpoint_id uuid PRIMARY KEY,
          partner_id  text NOT NULL,
          service_ids text[] NOT NULL,     -- empty: all services of the partner
          channel     text NOT NULL DEFAULT 'webhook'
                      CHECK (channel IN ('webhook', 'rest', 'email', 'sftp')),
          rank        int NOT NULL DEFAULT 0,   -- the lowest is tried first
          url         text NOT NULL,            -- of its channel: https:, mailto:, sftp:
          ordering    text NOT NULL DEFAULT 'none' CHECK (ordering IN ('none', 'pathway')),
          per_minute  int CHECK (per_minute > 0),
          concurrency int CHECK (concurrency > 0),
          state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
          reason      text,
          verified_at timestamptz,
          failures    int NOT NULL DEFAULT 0,   -- in a row
          failing_since timestamptz,
          open_until  timestamptz,              -- breaker: nothing is sent until then
          rate_at     timestamptz,              -- when its next message is in time
          batch_minutes int CHECK (batch_minutes > 0),  -- one file for all that waits, so often
          created_at  timestamptz NOT NULL
        ) WITH (fillfactor = 50);
        CREATE INDEX endpoints_partner ON partners.endpoints (partner_id, created_at);
        CREATE TABLE partners.endpoint_secrets (
          secret_id   uuid PRIMARY KEY,
          endpoint_id uuid NOT NULL REFERENCES partners.endpoints,
          kind        text NOT NULL DEFAULT 'v1'
                      CHECK (kind IN ('v1', 'v1a', 'credentials', 'client-certificate',
                                      'application')),
          wrapped     bytea NOT NULL,      -- under a master key
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
          partner_reference bytea,         -- as known when the message was made, sealed
          traceparent     text,
          agreement_id    uuid,
          agreed_until    date,
          state           text NOT NULL CHECK (state IN
                            ('pending', 'succeeded', 'dead', 'cancelled', 'manual', 'held')),
          attempts        int NOT NULL DEFAULT 0,
          tries_before    int NOT NULL DEFAULT 0,  -- attempts before it was asked for again
          in_vain         int NOT NULL DEFAULT 0,  -- attempts that cannot have reached anybody
          disclosed       boolean NOT NULL DEFAULT false,  -- what it tells is written down
          next_attempt_at timestamptz,     -- while leased: when the lease ends
          lease           uuid,
          external_id     text,            -- the partner's own id of it: says nothing here
          last_error      text,
          last_status     int,
          file            text,            -- in which it was laid down
          acknowledged_at timestamptz,     -- when the partner said that it read it
          created_at      timestamptz NOT NULL,
          updated_at      timestamptz NOT NULL,
          CHECK (state <> 'pending'
                 OR (next_attempt_at IS NOT NULL AND endpoint_id IS NOT NULL))
        ) WITH (fillfactor = 80);
        CREATE INDEX deliveries_due ON partners.deliveries (endpoint_id, next_attempt_at)
          WHERE state = 'pending';
        CREATE INDEX deliveries_head ON partners.deliveries (endpoint_id, person_id, seq)
          WHERE state = 'pending';
        CREATE INDEX deliveries_referral ON partners.deliveries (referral_id);
        CREATE INDEX deliveries_person ON partners.deliveries (person_id);
        CREATE INDEX deliveries_state ON partners.deliveries (state, seq);
        CREATE INDEX deliveries_partner ON partners.deliveries (partner_id, seq);
        CREATE INDEX deliveries_file ON partners.deliveries (partner_id, file)
          WHERE file IS NOT NULL;
        CREATE INDEX deliveries_agreement ON partners.deliveries (agreement_id);
        CREATE TABLE partners.delivery_attempts (
          delivery_id uuid NOT NULL,
          attempt     int NOT NULL,
          endpoint_id uuid,                -- none: by hand
          sent_at     timestamptz NOT NULL,
          outcome     text NOT NULL,
          status      int,
          error       text,                -- a class of errors, never another's words
          duration_ms int NOT NULL
        );
        CREATE INDEX delivery_attempts_delivery ON partners.delivery_attempts (delivery_id);
        CREATE INDEX delivery_attempts_by_hand ON partners.delivery_attempts (sent_at)
          WHERE endpoint_id IS NULL;

        -- a partner reads its messages by their number: numbers must follow commits
        CREATE FUNCTION partners.deliveries_in_commit_order() RETURNS trigger
        LANGUAGE plpgsql AS $$
        BEGIN
          PERFORM pg_advisory_xact_lock(4712, TG_RELID::int);
          RETURN NULL;
        END $$;
        CREATE TRIGGER deliveries_in_commit_order BEFORE INSERT ON partners.deliveries
          FOR EACH STATEMENT EXECUTE FUNCTION partners.deliveries_in_commit_order();
        CREATE TABLE partners.withdrawals (
          person_id    uuid NOT NULL,
          agreement_id uuid,               -- none: all that were given until then
          withdrawn_at timestamptz NOT NULL,
          UNIQUE NULLS NOT DISTINCT (person_id, agreement_id)
        );

        CREATE TABLE partners.answer_links (
          token_digest bytea PRIMARY KEY,  -- SHA-256 of a random token: the token is not kept
          referral_id uuid NOT NULL,
          partner_id  text NOT NULL,
          person_id   uuid NOT NULL,
          endpoint_id uuid NOT NULL REFERENCES partners.endpoints,
          created_at  timestamptz NOT NULL,
          expires_at  timestamptz NOT NULL,
          opened_at   timestamptz,
          renewed_at  timestamptz
        );
        CREATE INDEX answer_links_referral ON partners.answer_links (referral_id);
        CREATE INDEX answer_links_person ON partners.answer_links (person_id);

        CREATE TABLE partners.capacity_links (
          token_digest bytea PRIMARY KEY,  -- SHA-256 of a random token: the token is not kept
          service_id  text NOT NULL,
          partner_id  text NOT NULL,
          mailbox     text NOT NULL,       -- the organisation's
          created_at  timestamptz NOT NULL,
          expires_at  timestamptz NOT NULL,
          renewed_at  timestamptz
        );
        CREATE INDEX capacity_links_expiry ON partners.capacity_links (expires_at);

        CREATE TABLE partners.answers (
          partner_id  text NOT NULL,
          id_digest   bytea NOT NULL,      -- of webhook-id, which a partner writes: keyed, as
          body_digest bytea NOT NULL,      -- this is: they say nothing without the index key
          answer_id   uuid NOT NULL UNIQUE,
          referral_id uuid NOT NULL,
          person_id   uuid NOT NULL,
          status      text NOT NULL,
          received_at timestamptz NOT NULL,
          PRIMARY KEY (partner_id, id_digest)
        );
        CREATE INDEX answers_person ON partners.answers (person_id);

        GRANT SELECT, INSERT, UPDATE, DELETE ON partners.partners, partners.services,
          partners.referral_states, partners.endpoints, partners.endpoint_secrets,
          partners.deliveries, partners.answers, partners.partner_names,
          partners.answer_links, partners.capacity_links, partners.withdrawals
          TO {role_of("partners")};
        GRANT SELECT, INSERT, DELETE ON partners.delivery_attempts TO {role_of("partners")};
        GRANT TRUNCATE ON partners.partners, partners.partner_names, partners.services,
          partners.referral_states
          TO {role_of("partners")};
        """
    )
