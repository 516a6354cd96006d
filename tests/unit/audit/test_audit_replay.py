"""Replay of anything as of any position or date, from a table or from an export alike."""

import asyncio
import statistics
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.intake import PersonRegistered
from contracts.persons import PersonMerged, PersonUnmerged
from infra.tlog.export.reader import Exported
from services.audit.handlers.export import indices_of
from services.audit.handlers.replay import (
    AsOf,
    ExportedLog,
    Log,
    UnknownSubjectError,
    changes,
    lines,
)
from services.audit.model.differences import differences
from services.audit.model.replay import Of, Subject
from services.audit.model.statistics import median
from tests.support.exports import Logged, MemoryLog, exported
from tests.support.replays import MONDAY, PARTNERS, MemoryRows, ids, said, story, told

COUNT = 9
STORY = story(COUNT)
EVERYBODY, NUMBERS = Subject(Of.ALL), Subject(Of.STATISTICS)
PERSON, CASE, REFERRAL = map(str, ids(3))
SUBJECTS = [
    EVERYBODY, NUMBERS, Subject(Of.PERSON, PERSON), Subject(Of.CASE, CASE),
    Subject(Of.REFERRAL, REFERRAL), Subject(Of.PARTNER, PARTNERS[1]),
]  # fmt: skip


async def state(log: Log, subject: Subject, as_of: AsOf | None = None) -> dict[str, Any]:
    found: dict[str, Any] = (await told(log, subject, as_of))[-1]["state"]
    return found


def at(day: int, entries: list[Logged] = STORY) -> AsOf:
    """As of the end of a day after Monday."""
    return AsOf.parse(f"2026-01-{5 + day:02}", len(entries))


async def test_what_a_hub_amounts_to_in_numbers() -> None:
    found = await state(MemoryRows(STORY), NUMBERS)
    assert (found["entries"], found["erased"], found["unread"]) == (9 * COUNT, 0, 0)
    assert found["persons"] == {"registered": COUNT, "merged": 0, "unmerged": 0}
    assert found["cases"]["by_status"] == {"completed": COUNT}
    assert found["referrals"]["by_status"] == {"accepted": COUNT}
    assert found["answers"] == {
        "received": 0, "late": 0, "refused": 0, "first": COUNT, "median_days": 2.0,
    }  # fmt: skip
    assert found["deliveries"]["succeeded"] == COUNT
    assert found["disclosures"] == {"made": COUNT, "fields": 2 * COUNT}
    assert found["silences"]["remind"] == COUNT
    assert set(found["by_partner"]) == set(PARTNERS)
    parts = [found["by_partner"][name]["deliveries"]["succeeded"] for name in PARTNERS]
    assert sum(parts) == COUNT


async def test_a_partner_is_shown_with_its_own_numbers() -> None:
    whole = await state(MemoryRows(STORY), NUMBERS)
    found = await state(MemoryRows(STORY), Subject(Of.PARTNER, PARTNERS[0]))
    assert found["partner_id"] == PARTNERS[0]
    for name, value in whole["by_partner"][PARTNERS[0]].items():
        assert found[name] == value, name


@pytest.mark.parametrize(
    ("day", "cases", "referrals"),
    [
        (0, {"active": 9}, {"requested": 8, "accepted": 1}),
        (1, {"active": 8, "completed": 1}, {"requested": 6, "accepted": 3}),
        (5, {"completed": 9}, {"accepted": 9}),
    ],
)
async def test_states_are_those_of_the_day(
    day: int, cases: dict[str, int], referrals: dict[str, int]
) -> None:
    found = await state(MemoryRows(STORY), NUMBERS, at(day))
    assert found["cases"]["by_status"] == cases
    assert found["referrals"]["by_status"] == referrals


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_the_same_bytes_come_twice_and_from_an_export(
    subject: Subject, tmp_path: Path
) -> None:
    async def bytes_of(log: Log) -> bytes:
        found = await told(log, subject, at(2))
        return b"\n".join(orjson.dumps(line, option=orjson.OPT_SORT_KEYS) for line in found)

    once = await bytes_of(MemoryRows(STORY))
    assert once == await bytes_of(MemoryRows(STORY, page=100))
    await _exported(tmp_path, STORY)
    assert once == await bytes_of(ExportedLog(Exported.open(tmp_path)))


async def _exported(folder: Path, entries: list[Logged], **selected: Any) -> None:
    """An export, made in a thread of its own: the exporter's helper runs a loop."""
    await asyncio.to_thread(exported, folder, MemoryLog(entries), **selected)


@pytest.mark.parametrize("subject", SUBJECTS[2:4])
async def test_an_export_of_one_person_or_case_replays_as_the_whole_does(
    subject: Subject, tmp_path: Path
) -> None:
    indices = await indices_of(MemoryRows(STORY), subject, len(STORY))
    await _exported(tmp_path, STORY, indices=indices)
    alone = await told(ExportedLog(Exported.open(tmp_path)), subject)
    assert alone == await told(MemoryRows(STORY), subject)


@given(st.integers(0, len(STORY)), st.sampled_from(SUBJECTS))
async def test_a_replay_goes_on_from_where_it_was_cut(start: int, subject: Subject) -> None:
    log = MemoryRows(STORY)
    whole, rest = await told(log, subject), await told(log, subject, start=start)
    assert rest == [e for e in whole if "state" in e or e["entry"]["idx"] >= start]


@given(st.integers(1, len(STORY)))
async def test_one_by_one_they_are_what_they_are_together(before: int) -> None:
    log = MemoryRows(STORY)
    whole = await state(log, EVERYBODY, AsOf(before))
    for n in range(1, COUNT + 1):
        person, case, referral = map(str, ids(n))
        for subject in (Subject(Of.PERSON, person), Subject(Of.CASE, case)):
            try:
                one = await state(log, subject, AsOf(before))
            except UnknownSubjectError:
                continue
            assert one["cases"].get(case) == whole["cases"].get(case)
            assert one["referrals"].get(referral) == whole["referrals"].get(referral)


async def test_each_page_says_from_where_to_go_on() -> None:
    found = [line async for line in lines(MemoryRows(STORY, page=30), NUMBERS, AsOf(70))]
    assert [line["next"] for line in found if "next" in line] == [30, 60, 70]
    assert {line["size"] for line in found if "next" in line} == {70}


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_what_was_erased_folds_all_the_same(subject: Subject) -> None:
    gone = [each._replace(sealed=b"") for each in STORY]
    before, after = (
        await told(MemoryRows(STORY), subject),
        await told(MemoryRows(gone), subject),
    )
    assert after[-1]["state"].pop("erased") == after[-1]["state"]["entries"]
    assert before[-1]["state"].pop("erased") == 0
    assert before[-1] == after[-1]
    assert all(line["entry"]["erased"] and not line["entry"]["sealed"] for line in after[:-1])


async def test_merged_records_are_one_person_until_it_is_undone() -> None:
    one, other = UUID(int=71), UUID(int=72)
    merged = PersonMerged(person_id=one, into=other, merged_by="cle")
    undone = PersonUnmerged(person_id=one, from_id=other, unmerged_by="cle")
    log = [
        *(said(n, "intake", PersonRegistered(person_id=p, anonymous=False), person=p)
          for n, p in enumerate((one, other))),
        said(2, "intake", merged, person=one, version=2, day=1),
        said(3, "intake", undone, person=one, version=3, day=2),
    ]  # fmt: skip
    persons = [
        (await state(MemoryRows(log), Subject(Of.PERSON, str(one)), at(day, log)))["persons"]
        for day in (0, 1, 2)
    ]
    assert persons == [[str(one)], [str(one), str(other)], [str(one)]]


async def test_what_changed_between_two_days_is_named() -> None:
    log = MemoryRows(STORY)
    found = [c["change"] async for c in changes(log, EVERYBODY, at(0), at(1)) if "change" in c]
    case, referral = map(str, ids(5)[1:])
    assert {"path": f"cases/{case}/status", "before": "active", "after": "completed"} in found
    paths = [change["path"] for change in found]
    assert paths == sorted(paths)
    assert f"referrals/{referral}/status" not in paths  # it was accepted on the first day
    assert not [c async for c in changes(log, EVERYBODY, at(1), at(1)) if "change" in c]


async def test_differences_lead_from_one_state_to_the_other() -> None:
    before, after = {"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"b": 2, "c": [1]}, "e": {"f": 0}}
    found = [change.line() for change in differences(before, after)]
    assert found == [
        {"path": "a/b", "before": 1, "after": 2},
        {"path": "d", "before": 1, "after": None},
        {"path": "e/f", "before": None, "after": 0},
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("81", "the log has 81 entries"),
        ("yesterday", "no index, day or moment"),
        ("2026-01-05T09:00:00", "with its offset"),
        ("0001-01-01", "must lie between"),
        ("9999-12-31T23:59:59.999999Z", "must lie between"),
        ("0001-01-01T00:00:00+09:00", "exists"),
        ("2026-01-05\0", "no index, day or moment"),
    ],
)
def test_a_position_that_makes_no_sense_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        AsOf.parse(text, len(STORY))


def test_a_day_ends_at_midnight_in_france() -> None:
    assert AsOf.parse("2026-07-01", 5).text == "2026-07-01T21:59:59.999999Z"
    assert AsOf.parse("3", 5) == AsOf(4)
    assert AsOf.parse(MONDAY.isoformat(), 5) == AsOf(5, MONDAY)


@given(st.lists(st.integers(0, 90), min_size=1))
def test_median_is_that_of_the_days(days: list[int]) -> None:
    assert median(Counter(days)) == statistics.median(days)


def test_median_of_nothing_is_none() -> None:
    assert median(Counter()) is None
