"""Read tables of the referral service: disposable, rebuilt from events."""

from infra.postgres.database import role_of
from infra.postgres.ddl import script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    script(
        f"""
        CREATE TABLE referrals.person_events (   -- what intake said, still sealed
          event_id    uuid PRIMARY KEY,
          person_id   uuid NOT NULL,
          position    bigint NOT NULL,
          type        text NOT NULL,
          occurred_at timestamptz NOT NULL,
          data        json NOT NULL,
          sealed      bytea
        );
        CREATE INDEX person_events_person ON referrals.person_events (person_id, position);
        CREATE TABLE referrals.aliases (         -- who was merged into whom
          person_id uuid PRIMARY KEY,
          into_id   uuid NOT NULL
        );
        CREATE INDEX aliases_into ON referrals.aliases (into_id);
        CREATE TABLE referrals.duplicates (      -- open suspicions, for the worklist
          person_id uuid NOT NULL,
          other_id  uuid NOT NULL,
          since     date NOT NULL,
          PRIMARY KEY (person_id, other_id)
        );
        CREATE TABLE referrals.services (        -- the directory, as its partners publish it
          service_id     text PRIMARY KEY,
          published      json,
          position       bigint NOT NULL DEFAULT 0,  -- of the event that published it
          capacity       text,
          capacity_until date,
          capacity_at    timestamptz
        );
        CREATE TABLE referrals.undelivered (     -- what partners have not been told
          referral_id uuid NOT NULL,
          message     text NOT NULL,
          trouble     text NOT NULL,             -- manual: by hand; dead: given up
          error       text NOT NULL,
          since       date NOT NULL,
          PRIMARY KEY (referral_id, message)
        );
        CREATE TABLE referrals.rules (
          version      int PRIMARY KEY,
          rules        text NOT NULL,
          digest       text NOT NULL,
          content      json NOT NULL,
          published_at timestamptz NOT NULL
        );
        CREATE TABLE referrals.cases (
          case_id        uuid PRIMARY KEY,
          person_id      uuid NOT NULL,
          need_id        uuid NOT NULL,
          thematique     text NOT NULL,
          urgent         boolean NOT NULL,
          do_not_contact boolean NOT NULL,
          parallel       boolean NOT NULL,
          status         text NOT NULL,
          outcome        text,
          proposal_id    uuid,
          questions      int NOT NULL DEFAULT 0,
          exhausted      text,
          exhausted_due  date,
          opened_at      timestamptz NOT NULL
        );
        CREATE INDEX cases_person ON referrals.cases (person_id);
        CREATE INDEX cases_active ON referrals.cases (case_id) WHERE status = 'active';
        CREATE TABLE referrals.proposals (
          proposal_id  uuid PRIMARY KEY,
          case_id      uuid NOT NULL,
          rules_digest text NOT NULL,
          evaluated_on date NOT NULL
        );
        CREATE TABLE referrals.referrals (
          referral_id     uuid PRIMARY KEY,
          case_id         uuid NOT NULL,
          person_id       uuid NOT NULL,
          proposal_id     uuid NOT NULL,
          partner_id      text NOT NULL,
          partner_kind    text NOT NULL,
          service_id      text NOT NULL,
          attempt         int NOT NULL,
          replaces        uuid,
          status          text NOT NULL,
          business_status text,
          reason          text,
          outcome         text,
          agreement_id    uuid,
          appointment_at  timestamptz,
          commission_on   date,
          suggested_service_id text,
          requested_on    date,
          answered_at     timestamptz,           -- the partner's first sign
          refused_answer  text,                  -- what it asked for, too late or otherwise
          awaits          text,                  -- whose turn it is
          remind_on       date,
          escalate_on     date,
          expire_on       date,
          passed          text,                  -- the last of these steps that was taken
          next_on         date GENERATED ALWAYS AS (
            CASE WHEN awaits IS DISTINCT FROM 'partner' THEN NULL
                 WHEN passed IS NULL THEN coalesce(remind_on, escalate_on, expire_on)
                 WHEN passed = 'remind' THEN coalesce(escalate_on, expire_on)
                 WHEN passed = 'escalate' THEN expire_on
            END) STORED,
          updated_at      timestamptz NOT NULL
        );
        CREATE INDEX referrals_case ON referrals.referrals (case_id, attempt);
        CREATE INDEX referrals_person ON referrals.referrals (person_id);
        CREATE INDEX referrals_due ON referrals.referrals (next_on) WHERE next_on IS NOT NULL;
        CREATE INDEX referrals_open ON referrals.referrals (service_id)
          WHERE status IN ('requested', 'accepted', 'in-progress', 'on-hold');
        GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON referrals.person_events,
          referrals.aliases, referrals.duplicates, referrals.services, referrals.undelivered,
          referrals.rules, referrals.cases, referrals.proposals, referrals.referrals
          TO {role_of("referrals")};
        """
    )
