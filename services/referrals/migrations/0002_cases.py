"""Read tables of the referral service: disposable, rebuilt from events."""

from infra.database import role_of
from infra.ddl import script

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
        CREATE TABLE referrals.services (
          service_id  text PRIMARY KEY,
          partner_id  text NOT NULL,
          kind        text NOT NULL,
          name        text NOT NULL,
          thematiques text[] NOT NULL,
          zone        text[] NOT NULL,
          minimum_age int,
          maximum_age int,
          policy      text NOT NULL
        );
        CREATE TABLE referrals.cases (
          case_id        uuid PRIMARY KEY,
          person_id      uuid NOT NULL,
          need_id        uuid NOT NULL,
          thematique     text NOT NULL,
          urgent         boolean NOT NULL,
          do_not_contact boolean NOT NULL,
          status         text NOT NULL,
          proposal_id    uuid,
          exhausted      text,
          opened_at      timestamptz NOT NULL
        );
        CREATE INDEX cases_person ON referrals.cases (person_id);
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
          updated_at      timestamptz NOT NULL
        );
        CREATE INDEX referrals_case ON referrals.referrals (case_id, attempt);
        CREATE INDEX referrals_person ON referrals.referrals (person_id);
        GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON referrals.person_events,
          referrals.services, referrals.cases, referrals.referrals TO {role_of("referrals")};
        """
    )
