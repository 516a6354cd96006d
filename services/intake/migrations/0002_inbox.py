"""Events already received, persons and how systems refer to them, refused records.

Nothing of these can be rebuilt from the events: they are not read tables.
"""

from infra.postgres.database import role_of
from infra.postgres.ddl import script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    script(
        f"""
        CREATE TABLE intake.inbox (
          key         bytea PRIMARY KEY,  -- keyed digest of the event's source and id
          person_id   uuid,               -- the rest goes with the person; the key stays, so
          digest      bytea,              -- that nothing comes twice. Of the content, keyed
          created     bytea,              -- what it created: ids only, as JSON
          received_at timestamptz NOT NULL
        );
        CREATE INDEX inbox_person ON intake.inbox (person_id) WHERE person_id IS NOT NULL;
        CREATE TABLE intake.persons (
          person_id     uuid PRIMARY KEY,
          registered_at timestamptz NOT NULL
        );
        CREATE TABLE intake.person_refs (
          ref       bytea PRIMARY KEY,    -- keyed digest of a system's source and own reference
          person_id uuid NOT NULL
        );
        CREATE INDEX person_refs_person ON intake.person_refs (person_id);
        CREATE TABLE intake.person_sources (
          person_id uuid NOT NULL,
          source    bytea NOT NULL,       -- keyed digest of a system that may speak of them
          PRIMARY KEY (person_id, source)
        );
        CREATE TABLE intake.refused_records (
          topic      text NOT NULL,
          partition  int NOT NULL,
          "offset"   bigint NOT NULL,
          reason     text NOT NULL,       -- slug of the problem
          fields     text[] NOT NULL,     -- names that we know, never a stranger's
          raw        bytea NOT NULL,      -- the record, wrapped under a master key
          sender     bytea,               -- keyed digest of the source that it names
          attempts   int NOT NULL DEFAULT 1,
          refused_at timestamptz NOT NULL,
          PRIMARY KEY (topic, partition, "offset")
        );
        CREATE INDEX refused_sender ON intake.refused_records (sender, refused_at);
        CREATE TABLE intake.person_index (
          person_id uuid NOT NULL,
          kind      text NOT NULL,
          digest    bytea NOT NULL,       -- keyed: says nothing without the index key
          PRIMARY KEY (person_id, kind)
        );
        CREATE INDEX person_index_digest ON intake.person_index (kind, digest);
        CREATE TABLE intake.suspicions (
          person_id  uuid NOT NULL,       -- the younger
          other_id   uuid NOT NULL,
          matched_on text[] NOT NULL,
          status     text NOT NULL CHECK (status IN ('open', 'dismissed', 'merged')),
          since      timestamptz NOT NULL,
          PRIMARY KEY (person_id, other_id)
        );
        CREATE TABLE intake.aliases (
          person_id uuid PRIMARY KEY,     -- is the same person as
          into_id   uuid NOT NULL
        );
        CREATE INDEX aliases_into ON intake.aliases (into_id);
        CREATE TABLE intake.stays (
          person_id       uuid PRIMARY KEY,
          last_contact_on date NOT NULL,  -- when the hub recorded it, in France
          site            text,           -- where that was
          archived        boolean NOT NULL DEFAULT false
        );
        CREATE INDEX stays_last ON intake.stays (last_contact_on);
        CREATE TABLE intake.open_work (
          work_id   uuid PRIMARY KEY,     -- a case or a referral
          person_id uuid NOT NULL,
          open      boolean NOT NULL      -- false stays: who hears of the end first knows it
        );
        CREATE INDEX open_work_person ON intake.open_work (person_id) WHERE open;
        GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON intake.stays, intake.open_work
          TO {role_of("intake")};
        GRANT SELECT, INSERT, UPDATE, DELETE ON intake.inbox, intake.persons,
          intake.person_refs, intake.person_sources, intake.refused_records,
          intake.person_index, intake.suspicions, intake.aliases TO {role_of("intake")};
        """
    )
