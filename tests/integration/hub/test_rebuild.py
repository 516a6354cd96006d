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

from contracts.public import PublicContact
from contracts.tools.examples import envelope
from infra.messaging.subscription import set_paused
from infra.postgres.database import Database
from services.hub.operations.hub import REBUILD
from services.partners.handlers.references import open_reference
from tests.support.whole import JOB, Whole, until

SEED = int(os.environ.get("SEED", Random().randrange(10**6)))
DAYS, STEPS = 2, 14
COMMISSION = {"business_status": "commission-scheduled", "commission_on": "2027-01-05"}


ASKED = "SELECT FROM partners.referral_states WHERE asked_status IS NOT NULL"


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
                 self.adviser, self.adviser, self.answered, self.partner,
                 self.erase, self.capacity]
            )  # fmt: skip
            await done()
        await self.whole.quiet()

    async def comes(self, born: str | None = None) -> None:
        self.number += 1
        born = born or self.random.choice(["2006-05-17", "1985-05-17"])
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
        return (datetime.now(UTC) + ahead).isoformat(timespec="seconds")

    async def answered(self) -> None:
        for referral in await self._referrals(2):
            answer = self.random.choice(
                [
                    {"status": "accepted", "appointment_at": self.moment()},
                    {"status": "rejected", "reason": "no-capacity"},
                    {"status": "requested", "business_status": "under-study"},
                    {
                        "status": "requested",
                        "business_status": "under-study",
                        "partner_reference": self.file_number(),
                    },
                    {"status": "requested"} | COMMISSION,
                    {"status": "completed", "outcome": "enrolled"},
                ]
            )
            await self._on(referral, "answer", answer)

    async def partner(self) -> None:
        """A partner answers by itself, with or without its number of the file."""
        for referral in await self._referrals(2):
            if referral["partner_id"] in self.whole.secrets:
                number = {"partner_reference": self.file_number()}
                status, given = self.random.choice(
                    [
                        ("requested", {"business_status": "under-study"} | number),
                        ("requested", COMMISSION),
                        ("accepted", number),
                        ("accepted", {}),
                        ("in-progress", {}),
                        ("rejected", {"reason": "no-capacity"}),
                    ]
                )
                answer = await self.whole.answer(referral, status, **given)
                assert answer.status_code in (202, 401, 409, 410, 503), answer.text

    async def unsettled(self) -> None:
        """Partners answer, advisers type in; the referral service hears partners tomorrow."""
        await self.deaf(True)
        await self.partner()
        await self.answered()
        await self.capacity("capacity")
        await self.whole.quiet()
        await self.comes("2006-05-17")  # goes to the Mission locale by itself
        referral = await self.whole.referral(self.persons[-1])
        await self.whole.quiet()
        asked = COMMISSION | {"partner_reference": self.file_number()}
        for status, given in (("requested", asked), ("accepted", {})):
            answer = await self.whole.answer(referral, status, **given)
            assert answer.status_code == 202, answer.text
        await self.whole.quiet()

    async def deaf(self, paused: bool) -> None:
        """Whether the referral service hears what partners answer."""
        database = Database(self.whole.databases.url, "referrals")
        async with database.transaction() as tx:
            await set_paused(tx, "answers", paused)
        await database.close()

    def file_number(self) -> str:
        return f"D-{self.random.randint(1, 9999)}"

    async def capacity(self, status: str | None = None) -> None:
        service = "petite-foret--mission-locale--accompagnement"
        status = status or self.random.choice(["capacity", "no-capacity", "waitlist"])
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
    """Every row of every read table, as text; what is sealed anew, opened."""
    found = {"partners' numbers": await file_numbers(whole)}
    for schema, tables in REBUILD.items():
        anew = {resealed.table: f"- '{resealed.column}'" for resealed in tables.resealed}
        for table in tables.names:
            row = f"(to_jsonb(t) {anew[table]})::text" if table in anew else "t::text"
            rows = await whole.rows(f"SELECT {row} AS row FROM {schema}.{table} t")
            found[f"{schema}.{table}"] = sorted(row["row"] for row in rows)
    return found


async def file_numbers(whole: Whole) -> list[str]:
    rows = await whole.rows(
        "SELECT referral_id, person_id, partner_reference FROM partners.referral_states "
        "WHERE partner_reference IS NOT NULL ORDER BY 1"
    )
    keys = await whole.running.platform.vault.keys({row["person_id"] for row in rows})
    return [
        f"{referral} {open_reference(keys[person], referral, sealed)}"
        for referral, person, sealed in rows
    ]


@pytest.mark.timeout(300)
async def test_every_read_table_rebuilt_from_events_is_the_live_one(whole: Whole):
    days, vault = Days(whole, Random(SEED)), whole.running.platform.vault
    for _ in range(DAYS):
        await days.day()

        async def no_erasure_under_way() -> bool:
            query = "SELECT FROM vault.erasures WHERE erased_at IS NULL"
            return not await whole.rows(query, vault=True)

        await until(no_erasure_under_way)
        await whole.quiet()
        await days.unsettled()
        live = await read_tables(whole)
        assert await whole.rows(ASKED)
        assert live["partners' numbers"]
        for service, tables in REBUILD.items():
            database = Database(whole.databases.url, service)
            compared = await tables.compare(database, vault)
            assert [f for report in compared for f in report.findings] == [], f"SEED={SEED}"
            async with database.transaction() as tx:
                await tables.rebuild(tx, vault)
            await database.close()
        rebuilt = await read_tables(whole)
        for table, rows in live.items():
            assert rebuilt[table] == rows, f"{table} differs; SEED={SEED}"
        await days.deaf(False)
    assert any(live.values())


async def test_every_table_is_known_as_one_that_is_rebuilt_or_as_one_that_is_kept(whole: Whole):
    """A new table is put on one of the two lists."""
    kept = {
        "intake": {"inbox", "persons", "person_refs", "person_sources", "person_index",
                   "suspicions", "aliases", "refused_records"},
        "referrals": set(),
        "partners": {"endpoints", "endpoint_secrets", "deliveries", "delivery_attempts",
                     "withdrawals", "answer_links", "answers", "capacity_links"},
        "audit": {"entries", "streams", "nodes", "tree", "checkpoints", "signatures"},
    }  # fmt: skip
    everywhere = {"events", "offsets", "subscriptions", "dead_letters", "alarms", "api_keys",
                  "forgotten", "alembic_version", "migrations", "publication"}  # fmt: skip
    for schema, rebuilt in REBUILD.items():
        rows = await whole.rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = $1", schema
        )
        found = {row["table_name"] for row in rows} - everywhere
        assert found == set(rebuilt.names) | kept[schema], schema
