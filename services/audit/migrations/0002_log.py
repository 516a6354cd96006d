"""The log: entries in a dense order, the tree over them, and its signed checkpoints."""

from infra.postgres.database import role_of
from infra.postgres.ddl import script
from infra.tlog.merkle import Frontier

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    script(
        f"""
        CREATE TABLE audit.entries (
          idx         bigint PRIMARY KEY CHECK (idx >= 0),
          event_id    uuid NOT NULL UNIQUE,
          service     text NOT NULL,
          position    bigint NOT NULL,
          stream      text NOT NULL,
          version     int NOT NULL,
          type        text NOT NULL,
          person_id   uuid,
          occurred_at timestamptz NOT NULL,
          recorded_at timestamptz NOT NULL,
          actor       text NOT NULL,
          header      bytea NOT NULL,  -- the bytes that entry commits to
          data        json NOT NULL,   -- json keeps the text as it was hashed; jsonb would not
          sealed      bytea,
          salt        bytea NOT NULL CHECK (length(salt) = 32),
          sealed_salt bytea,
          meta        json NOT NULL,
          entry       bytea NOT NULL,
          leaf_hash   bytea NOT NULL CHECK (length(leaf_hash) = 32)
        );
        CREATE INDEX entries_merges ON audit.entries (idx) WHERE type IN
          ('fr.aiguillage.intake.person.merged.v1', 'fr.aiguillage.intake.person.unmerged.v1');
        CREATE INDEX entries_cases ON audit.entries ((data->>'case_id'))
          WHERE type = 'fr.aiguillage.referrals.case.opened.v1';
        CREATE INDEX entries_referrals ON audit.entries ((data->>'referral_id'))
          WHERE type = 'fr.aiguillage.referrals.referral.proposed.v1';
        CREATE INDEX entries_partners ON audit.entries (idx)
          WHERE type = 'fr.aiguillage.partners.partner.registered.v1';
        CREATE INDEX entries_person ON audit.entries (person_id, idx)
          WHERE person_id IS NOT NULL;
        CREATE TABLE audit.streams (
          service text NOT NULL,
          stream  text NOT NULL,
          version int NOT NULL,        -- of the last event that is in the log
          PRIMARY KEY (service, stream)
        );
        CREATE TABLE audit.nodes (     -- hashes of full tiles, by tile level (1 = 256 entries)
          level int NOT NULL CHECK (level > 0),
          idx   bigint NOT NULL,
          hash  bytea NOT NULL CHECK (length(hash) = 32),
          PRIMARY KEY (level, idx)
        );
        CREATE TABLE audit.tree (
          one      boolean PRIMARY KEY DEFAULT true CHECK (one),   -- one row
          size     bigint NOT NULL,
          frontier bytea NOT NULL
        );
        INSERT INTO audit.tree (size, frontier)
          VALUES (0, decode('{Frontier().dump().hex()}', 'hex'));
        CREATE TABLE audit.checkpoints (
          origin    text NOT NULL,
          size      bigint NOT NULL,
          root      bytea NOT NULL,
          note      bytea NOT NULL,
          signed_at timestamptz NOT NULL,
          PRIMARY KEY (origin, size)
        );
        CREATE TABLE audit.signatures ( -- added to a checkpoint: by witnesses, by a new key
          origin    text NOT NULL,
          size      bigint NOT NULL,
          name      text NOT NULL,
          key_id    bytea NOT NULL CHECK (length(key_id) = 4),
          line      text NOT NULL,
          added_at  timestamptz NOT NULL,
          PRIMARY KEY (origin, size, name, key_id),
          FOREIGN KEY (origin, size) REFERENCES audit.checkpoints
        );
        CREATE INDEX signatures_by ON audit.signatures (origin, name, key_id, size);
        -- the only change to what the log holds: ciphertext of erased persons and its salt go
        CREATE FUNCTION audit.forget_entries(persons uuid[]) RETURNS void
        LANGUAGE sql SECURITY DEFINER SET search_path = audit AS $$
          UPDATE audit.entries SET sealed = NULL, sealed_salt = NULL
          WHERE person_id = ANY(persons) AND sealed IS NOT NULL
        $$;
        REVOKE ALL ON FUNCTION audit.forget_entries(uuid[]) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION audit.forget_entries(uuid[]) TO {role_of("audit")};
        GRANT SELECT, INSERT ON audit.entries, audit.nodes, audit.checkpoints,
          audit.signatures TO {role_of("audit")};
        GRANT SELECT, INSERT, UPDATE ON audit.streams TO {role_of("audit")};
        GRANT SELECT, UPDATE ON audit.tree TO {role_of("audit")};
        """
    )
