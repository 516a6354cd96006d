"""Master keys' epochs, person keys, the ledger of erasures, what was signed: kept apart."""

from infra.postgres.database import role_of
from infra.postgres.ddl import script

revision = "0001"
down_revision = None


def upgrade() -> None:
    script(
        f"""
        CREATE TABLE vault.epochs (
          epoch        int PRIMARY KEY CHECK (epoch > 0),
          provider     text NOT NULL,     -- who keeps its master key
          stored       bytea,             -- what the provider opens it by: no key in clear
          index_check  bytea NOT NULL,    -- of the index key that digests are made with
          created_at   timestamptz NOT NULL DEFAULT now(),
          rewrapped_at timestamptz,       -- nothing is wrapped under an older epoch since
          destroyed_at timestamptz,
          CHECK ((stored IS NULL) = (destroyed_at IS NOT NULL))
        );
        CREATE TABLE vault.person_keys (
          key_id     uuid PRIMARY KEY,
          person_id  uuid NOT NULL UNIQUE,
          wrapped    bytea NOT NULL,      -- under a master key: the epoch's number comes first
          created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE vault.erasures (
          person_id    uuid PRIMARY KEY,
          reason       text NOT NULL,
          requested_at timestamptz NOT NULL,
          destroyed_at timestamptz,      -- the keys
          erased_at    timestamptz       -- every service has forgotten; the log says so
        );
        CREATE INDEX erasures_unfinished ON vault.erasures (requested_at)
          WHERE erased_at IS NULL;
        -- The fence: no key is created for a person whose erasure was asked for.
        CREATE FUNCTION vault.refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF EXISTS (SELECT 1 FROM vault.erasures WHERE person_id = NEW.person_id) THEN
            RAISE EXCEPTION 'person erased' USING ERRCODE = 'AG001';
          END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER refuse_erased BEFORE INSERT ON vault.person_keys
          FOR EACH ROW EXECUTE FUNCTION vault.refuse_erased();
        CREATE TABLE vault.signed_logs (  -- what the log's signer signed last
          origin    text PRIMARY KEY,
          size      bigint NOT NULL CHECK (size >= 0),
          note      bytea NOT NULL,
          signed_at timestamptz NOT NULL
        );
        GRANT SELECT, INSERT, UPDATE ON vault.epochs TO {role_of("vault")};
        GRANT SELECT, INSERT, UPDATE, DELETE ON vault.person_keys TO {role_of("vault")};
        GRANT SELECT, INSERT, UPDATE ON vault.erasures, vault.signed_logs
          TO {role_of("vault")};
        """
    )
