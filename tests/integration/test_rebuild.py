"""Every read table, emptied and filled again from the events, is the live one.

After random days at the desk: people come, come again, are corrected, merged, taken apart,
restricted, erased; advisers confirm, stop and close; partners answer. ``SEED`` repeats a run.
"""

import os
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from contracts.examples import envelope
from contracts.intake import PublicContact
from infra.database import Database
from services.operations import REBUILD
from tests.support.whole import JOB, Whole, until

SEED = int(os.environ.get("SEED", Random().randrange(10**6)))
DAYS, STEPS = 3, 14


class Days:
    """Whatever may happen at the desk, at random."""

    def __init__(self, whole: Whole, random: Random) -> None:
        self.whole = whole
        self.random = random
        self.persons: list[UUID] = []
        self.number = 0

    async def day(self) -> None:
        for _ in range(STEPS):
            done = self.random.choice(
                [self.comes, self.comes, self.comes, self.again, self.right, self.merged,
                 self.adviser, self.adviser, self.answered, self.erase, self.capacity]
            )  # fmt: skip
            await done()
        await self.whole.quiet()

    async def comes(self) -> None:
        self.number += 1
        born = self.random.choice(["2006-05-17", "1985-05-17"])
        name = self.random.choice(["Dubrulle", "Lefèvre"])  # some share a name and a birth date
        ref = f"u-{self.number}"
        self.persons.append(await self.whole.comes(ref, name, born))

    async def again(self) -> None:
        """Somebody whom the desk knows: the same person, unless they are being erased."""
        if self.number:
            ref = f"u-{self.random.randint(1, self.number)}"
            data = {"mode": "phone", "person": {"ref": ref}, "needs": [{"thematique": JOB}]}
            answer = await self.whole.send(envelope(PublicContact.TYPE, data, self.random))
            assert answer.status_code in (202, 410), answer.text

    async def right(self) -> None:
        right = self.random.choice(["restriction", "objection", "rectification", "lift"])
        body: Any = {"identity": {"phone": "+33611111111"}} if right == "rectification" else {}
        method = "DELETE" if right == "lift" else "POST"
        name = "restriction" if right == "lift" else right
        await self._privacy(method, name, None if method == "DELETE" else body)

    async def erase(self) -> None:
        await self._privacy("POST", "erasure", {})

    async def _privacy(self, method: str, right: str, body: Any) -> None:
        if self.persons:
            person = self.random.choice(self.persons)
            path = f"/intake/v1/persons/{person}/{right}"
            answer = await self.whole.call("privacy", method, path, body)
            assert answer.status_code in (202, 204, 410), answer.text

    async def merged(self) -> None:
        if len(self.persons) > 1:
            one, other = self.random.sample(self.persons, 2)
            verb = self.random.choice(["merge", "merge", "unmerge"])
            path = f"/intake/v1/persons/{one}/{verb}"
            body = {"into": str(other)} if verb == "merge" else None
            answer = await self.whole.call("adviser", "POST", path, body)
            assert answer.status_code in (200, 404, 409, 410), answer.text

    async def adviser(self) -> None:
        for referral in await self._referrals(1):
            verb, body = self.random.choice(
                [
                    ("confirm", None),
                    ("confirm", {"appointment_at": self.moment()}),
                    ("appointment", {"appointment_at": self.moment()}),
                    ("appointment/outcome", {"outcome": "excused"}),
                    ("cancel", {"reason": "client-declined"}),
                    ("correct", {"comment": "erreur"}),
                ]
            )
            await self._on(referral, verb, body)

    def moment(self) -> str:
        ahead = timedelta(hours=self.random.randint(1, 999))
        return (datetime.now(UTC) + ahead).isoformat(timespec="minutes")

    async def answered(self) -> None:
        for referral in await self._referrals(2):
            answer = self.random.choice(
                [
                    {"status": "accepted", "appointment_at": "2027-01-04T09:00:00+01:00"},
                    {"status": "rejected", "reason": "no-capacity"},
                    {"status": "requested", "business_status": "under-study"},
                    {
                        "status": "requested",
                        "business_status": "commission-scheduled",
                        "commission_on": "2027-01-05",
                    },
                    {"status": "completed", "outcome": "enrolled"},
                ]
            )
            await self._on(referral, "answer", answer)

    async def capacity(self) -> None:
        service = "petite-foret--mission-locale--accompagnement"
        status = self.random.choice(["capacity", "no-capacity", "waitlist"])
        path = f"/partners/v1/services/{service}/capacity"
        answer = await self.whole.call("partner_admin", "POST", path, {"status": status})
        assert answer.status_code == 201, answer.text

    async def _referrals(self, count: int) -> list[dict[str, Any]]:
        await self.whole.quiet()
        cases = (await self.whole.call("adviser", "GET", "/referrals/v1/cases")).json()["cases"]
        found = [referral for case in cases for referral in case["referrals"]]
        return self.random.sample(found, min(count, len(found)))

    async def _on(self, referral: dict[str, Any], verb: str, body: Any) -> None:
        path = f"/referrals/v1/referrals/{referral['referral_id']}/{verb}"
        answer = await self.whole.call("adviser", "POST", path, body)
        assert answer.status_code in (200, 404, 409, 410), answer.text


async def read_tables(whole: Whole) -> dict[str, list[str]]:
    """Every row of every read table, as text."""
    found = {}
    for schema, tables in REBUILD.items():
        for table in tables.names:
            rows = await whole.rows(f"SELECT t::text AS row FROM {schema}.{table} t")
            found[f"{schema}.{table}"] = sorted(row["row"] for row in rows)
    return found


@pytest.mark.timeout(300)
async def test_every_read_table_rebuilt_from_events_is_the_live_one(whole: Whole):
    days = Days(whole, Random(SEED))
    for _ in range(DAYS):
        await days.day()

        async def no_erasure_under_way() -> bool:
            query = "SELECT FROM vault.erasures WHERE erased_at IS NULL"
            return not await whole.rows(query, vault=True)

        await until(no_erasure_under_way)
        await whole.quiet()
        live = await read_tables(whole)
        for service, tables in REBUILD.items():
            database = Database(whole.databases.url, service)
            compared = await tables.compare(database)
            assert [f for report in compared for f in report.findings] == [], f"SEED={SEED}"
            async with database.transaction() as tx:
                await tables.rebuild(tx)
            await database.close()
        rebuilt = await read_tables(whole)
        for table, rows in live.items():
            assert rebuilt[table] == rows, f"{table} differs; SEED={SEED}"
    assert any(live.values())


async def test_every_table_is_known_as_one_that_is_rebuilt_or_as_one_that_is_kept(whole: Whole):
    """A new table is put on one of the two lists."""
    kept = {
        "intake": {"inbox", "persons", "person_refs", "person_index", "suspicions", "aliases",
                   "refused_records"},
        "referrals": set(),
        "partners": {"endpoints", "endpoint_secrets", "deliveries", "delivery_attempts",
                     "withdrawals", "answer_links", "answers", "capacity_links"},
        "audit": {"entries", "streams", "nodes", "tree", "checkpoints", "signatures"},
    }  # fmt: skip
    everywhere = {"events", "offsets", "subscriptions", "dead_letters", "api_keys",
                  "forgotten", "alembic_version"}  # fmt: skip
    for schema, rebuilt in REBUILD.items():
        rows = await whole.rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = $1", schema
        )
        found = {row["table_name"] for row in rows} - everywhere
        assert found == set(rebuilt.names) | kept[schema], schema
