"""Replay over HTTP and on the command line: streamed, the same everywhere, ended by leaving."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from contracts.audit import ReplayLine
from services.audit.handlers import replay as handler
from services.audit.handlers.replay import StoredLog
from services.audit.routes.replay import AT_ONCE
from tests.integration.audit.conftest import Run
from tests.integration.audit.test_audit_export import lived
from tests.integration.audit.test_audit_pathway import CASE, PERSON, REFERRAL
from tests.support.audit_log import Hub, client_of


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx2.AsyncClient]:
    await lived(hub)
    async with client_of(hub) as client:
        yield client


async def asked(client: httpx2.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = [orjson.loads(line) for line in answer.content.splitlines()]
    for line in found:
        ReplayLine.model_validate(line)
    return [line for line in found if "next" not in line]


SUBJECTS: list[tuple[dict[str, Any], list[int]]] = [
    ({"person": PERSON}, list(range(10))),
    ({"case": CASE}, list(range(3, 10))),
    ({"referral": REFERRAL}, [4, 5, 6, 7, 8]),
    ({"partner": "ml-1"}, [4, 5, 6, 7, 8]),
]
MOMENTS: list[tuple[dict[str, Any], str | None]] = [
    ({"at": 3}, None),
    ({"at": 4}, "draft"),
    ({"as_of": "2026-01-06T12:00:00+01:00"}, "requested"),
    ({"as_of": "2026-01-08T09:00:00Z"}, "completed"),
]


async def test_one_is_replayed_from_the_log_alone(client: httpx2.AsyncClient) -> None:
    for subject, held in SUBJECTS:
        found = await asked(client, "/v1/replay", **subject)
        assert [line["entry"]["idx"] for line in found[:-1]] == held
        if "partner" not in subject:
            state = found[-1]["state"]["referrals"][str(REFERRAL)]
            assert (state["status"], state["outcome"]) == ("completed", "formation")
        rest = await asked(client, "/v1/replay", **subject, **{"from": 6})
        assert rest == [e for e in found if "state" in e or e["entry"]["idx"] >= 6]


async def test_states_are_those_of_then(client: httpx2.AsyncClient) -> None:
    for then, status in MOMENTS:
        state = (await asked(client, "/v1/replay", person=PERSON, **then))[-1]["state"]
        assert state["referrals"].get(str(REFERRAL), {}).get("status") == status


async def test_numbers_of_the_hub_come_without_its_entries(client: httpx2.AsyncClient) -> None:
    (line,) = await asked(client, "/v1/replay", statistics=True)
    state = line["state"]
    assert (state["entries"], state["cases"]["by_status"]) == (611, {"completed": 1})
    assert state["answers"]["median_days"] == 2.0
    assert len(await asked(client, "/v1/replay")) == 612


async def test_differences_between_two_days_are_named(client: httpx2.AsyncClient) -> None:
    found = await asked(client, "/v1/differences", a="2026-01-06", b="2026-01-07")
    changes = {line["change"]["path"]: line["change"] for line in found}
    assert changes[f"referrals/{REFERRAL}/status"] == {
        "path": f"referrals/{REFERRAL}/status", "before": "requested", "after": "accepted",
    }  # fmt: skip
    assert await asked(client, "/v1/differences", a="6", b="6") == []
    numbers = await asked(client, "/v1/differences", a="0", b="610", statistics=True)
    assert any(line["change"]["path"] == "cases/total" for line in numbers)


NONSENSE: list[tuple[str, int, str | None]] = [
    (f"/v1/replay?case={PERSON}", 404, None),
    (f"/v1/replay?referral={PERSON}", 404, None),
    (f"/v1/replay?person={CASE}", 404, None),
    (f"/v1/replay?person={PERSON}&case={CASE}", 422, "case"),
    ("/v1/replay?at=3&as_of=2026-01-05T09:00:00Z", 422, "as_of"),
    ("/v1/replay?at=611", 422, "at"),
    ("/v1/replay?as_of=2026-01-05T09:00:00", 422, "as_of"),
    ("/v1/differences?a=3&b=soon", 422, "b"),
    ("/v1/differences?a=2026-01-05T09:00:00&b=3", 422, "a"),
    ("/v1/differences?a=3", 422, "b"),
    ("/v1/span?since=2026-01-05&until=2026-01-06T00:00:00Z", 422, "since"),
]


async def test_what_makes_no_sense_is_a_problem_that_names_the_field(
    client: httpx2.AsyncClient,
) -> None:
    for path, status, field in NONSENSE:
        answer = await client.get(path)
        assert answer.headers["content-type"] == "application/problem+json", path
        errors = answer.json().get("errors", [])
        assert (answer.status_code, [e["field"] for e in errors]) == (
            status, [field] if field else [],
        ), path  # fmt: skip


async def test_too_many_replays_at_a_time_are_refused(
    hub: Hub,
    client: httpx2.AsyncClient,
) -> None:
    places: asyncio.Semaphore = hub.service.app.state.replays
    for _ in range(AT_ONCE):
        await places.acquire()
    answer = await client.get("/v1/replay")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    places.release()
    assert (await client.get("/v1/replay")).status_code == 200


async def test_reading_waits_for_the_caller_and_ends_with_them(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Spoken to as a server does, with a caller who takes two messages and then leaves."""
    await hub.fill(1000)
    monkeypatch.setattr(handler, "PAGE", 20)
    pages, page = [], StoredLog._page
    taken, left = asyncio.Event(), asyncio.Event()
    messages: list[Any] = []

    async def counted(self: StoredLog, span: Any) -> Any:
        pages.append(span.start)
        return await page(self, span)

    async def send(message: Any) -> None:
        messages.append(message)
        if len(messages) == 3:
            taken.set()
            await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    monkeypatch.setattr(StoredLog, "_page", counted)
    async with client_of(hub) as client:
        key = client.headers["authorization"]
    answering = asyncio.create_task(hub.service.app(_scope("/v1/replay", key), receive, send))
    await asyncio.wait_for(taken.wait(), 20)
    await asyncio.sleep(0.3)  # time enough to read on, for who would
    held_back = len(pages)
    left.set()
    await asyncio.wait_for(answering, 20)
    assert messages[0]["status"] == 200
    assert len(pages) == held_back <= 5
    assert hub.service.app.state.replays._value == AT_ONCE


def _scope(path: str, key: str) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "GET",
        "http_version": "1.1", "scheme": "http", "path": path, "raw_path": path.encode(),
        "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("a", 1),
        "headers": [(b"authorization", key.encode()), (b"host", b"a")],
    }  # fmt: skip


async def test_the_command_line_says_what_the_service_says(
    client: httpx2.AsyncClient,
    run: Run,
    tmp_path: Path,
) -> None:
    await run("export", tmp_path / "whole")
    await run("export", tmp_path / "person", "--person", PERSON)
    for words, params in (
        (["--person", PERSON], {"person": PERSON}),
        (["--case", CASE, "--at", 7], {"case": CASE, "at": 7}),
        (["--partner", "ml-1", "--from", 6], {"partner": "ml-1", "from": 6}),
        (["--statistics"], {"statistics": True}),
    ):
        there = await asked(client, "/v1/replay", **params)
        here = await run("replay", *words, "--json")
        assert [orjson.loads(line) for line in here.stdout.splitlines()] == there
        offline = await run("replay", *words, "--json", "--export", tmp_path / "whole")
        assert offline.stdout == here.stdout
    alone = await run("replay", "--person", PERSON, "--json", "--export", tmp_path / "person")
    assert alone.stdout == (await run("replay", "--person", PERSON, "--json")).stdout


async def test_words_are_for_people(client: httpx2.AsyncClient, run: Run) -> None:
    said = (await run("replay", "--person", PERSON, "--as-of", "2026-01-06")).stdout
    assert "05/01/2026 10:00  Personne enregistrée" in said
    assert "status: requested" in said
    changed = await run("diff", "2026-01-06", "2026-01-07", "--case", CASE)
    assert changed.exit_code == 1
    assert f"referrals/{REFERRAL}/status: requested → accepted" in changed.stdout
    same = await run("diff", 9, 9, "--case", CASE)
    assert (same.exit_code, same.stdout) == (0, "")


TYPED: list[tuple[list[object], str]] = [
    (["replay", "--person", CASE], "the log has no person"),
    (["replay", "--at", 3, "--as-of", "2026-01-05"], "give --at or --as-of"),
    (["replay", "--at", 700], "the log has 611 entries"),
    (["diff", "3", "soon"], "no index, day or moment"),
    (["replay", "--case", CASE, "--person", PERSON], "give one of"),
]


async def test_what_makes_no_sense_is_refused_in_one_line(
    client: httpx2.AsyncClient,
    run: Run,
) -> None:
    for words, why in TYPED:
        refused = await run(*words)
        assert (refused.exit_code, why in refused.stderr) == (1, True), refused.stderr


async def test_an_export_of_a_period_is_not_replayed(
    client: httpx2.AsyncClient,
    run: Run,
    tmp_path: Path,
) -> None:
    await run("export", tmp_path / "period", "--from", 5)
    refused = await run("replay", "--export", tmp_path / "period")
    assert (refused.exit_code, "what came before it" in refused.stderr) == (1, True)
