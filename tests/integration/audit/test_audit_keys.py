"""A log whose keys change while it runs, as an auditor meets it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.tlog.checks import Outcome
from infra.tlog.note import Signer, VKey, open_checkpoint
from infra.tlog.proof import Proof
from services.audit.handlers.signing import vkey
from services.hub.operations import hub as operations
from services.hub.operations import proofs
from services.hub.operations.log import rotate_key
from tests.support.audit_log import Hub, client_of
from tests.support.tlog import ENTRIES, LOG, inclusion, note_at, witness_key


class Calendar:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Calendar:
    return Calendar()


@pytest.fixture
def hub_options(clock: Calendar) -> dict[str, Any]:
    return {"clock": clock, "log_ml_dsa": True}


async def told(hub: Hub) -> tuple[bytes, dict[str, Any]]:
    """The checkpoint, and what the log says of itself, to anybody."""
    async with client_of(hub) as client:
        headers = {"authorization": ""}
        note = (await client.get("/checkpoint", headers=headers)).content
        return note, (await client.get("/v1/log", headers=headers)).json()


def verifying(note: bytes, described: dict[str, Any]) -> list[int]:
    """Which of the published keys, by number, vouch for a checkpoint by themselves."""
    found = []
    for number, key in enumerate(described["keys"]):
        parsed = VKey.parse(key["vkey"])
        if f"\n— {parsed.name} ".encode() in note:
            try:
                open_checkpoint(note, [parsed], described["origin"])
                found.append(number)
            except ValueError:
                continue
    return found


async def test_keys_change_under_a_running_log_and_all_are_published(
    hub: Hub, clock: Calendar
) -> None:
    await hub.fill(10)
    before, described = await told(hub)
    assert [k["algorithm"] for k in described["keys"]] == ["ed25519", "ml-dsa-44"]
    assert described["vkey"] == described["keys"][0]["vkey"] == vkey(hub.platform.settings)
    assert verifying(before, described) == [0, 1]
    clock.now += timedelta(hours=1)
    printed = rotate_key(hub.platform.settings, timedelta(days=30))
    assert not await hub.signer.step()  # the log is idle: the new keys sign what stands
    idle, described = await told(hub)
    assert [line.split(" ")[0] for line in printed] == [k["vkey"] for k in described["keys"]]
    assert verifying(idle, described) == [0, 1, 2, 3]
    assert [k["until"] is None for k in described["keys"]] == [False, False, True, True]
    await hub.fill(5)
    during, _ = await told(hub)
    assert verifying(during, described) == [0, 1, 2, 3]
    clock.now += timedelta(days=31)
    await hub.fill(5)
    after, described = await told(hub)
    assert verifying(after, described) == [2, 3]
    assert verifying(before, described) == [0, 1]
    assert described["vkey"] == described["keys"][2]["vkey"]


async def test_the_signer_goes_on_over_what_retired_keys_signed(
    hub: Hub, clock: Calendar
) -> None:
    await hub.fill(10)
    rotate_key(hub.platform.settings, timedelta(0))
    clock.now += timedelta(hours=1)  # a rotation asks the real clock
    await hub.fill(5)
    note, described = await told(hub)
    assert verifying(note, described) == [2, 3]


async def test_an_unsettled_setting_of_a_command_ends_no_key(hub: Hub) -> None:
    """A shell that lacks the hub's environment only looks."""
    await hub.fill(5)
    settings = hub.platform.settings.model_copy(
        update={
            "database_url": hub.platform.database_url,
            "vault_url": hub.platform.vault_url,
            "log_ml_dsa": False,
        }
    )
    assert any(row["subscription"] == "log-signer" for row in await operations.status(settings))
    _, described = await told(hub)
    assert [key["until"] for key in described["keys"]] == [None, None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A proof file that two witnesses cosigned."""
    note = note_at(9, witness_key(1), witness_key(2))
    path = tmp_path / "event.tlog-proof"
    path.write_bytes(Proof(5, inclusion(5, 9), note, ENTRIES[5]).format())
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    lines = [
        f"log {LOG.vkey.encode()}",
        *(f"witness {n} {witness_key(n).vkey.encode()}" for n in (1, 2, 3)),
        "group g 2 1 2 3",
        "quorum g",
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_proof_is_checked_offline_in_words(file: Path, policy: Path) -> None:
    key = LOG.vkey.encode()
    by_key = proofs.check(file, [key], None, None)
    assert (by_key.outcome, by_key.exit_code) == (Outcome.INTACT, 0)
    assert by_key.lines()[0].startswith("  ✓ entry 5 of 9 in hub.example/log: signed by")
    by_policy = proofs.check(file, [], policy, None)
    assert by_policy.reason.endswith("cosigned by 1, 2")
    assert proofs.check(file, [], Path(policy), None).document()["proven"] is True


def test_what_is_not_proven_and_what_cannot_be_judged_are_told_apart(
    file: Path, policy: Path, tmp_path: Path
) -> None:
    key, other = LOG.vkey.encode(), Signer("other.example", bytes(32)).vkey.encode()
    cosigner = witness_key(9).vkey.encode()
    entry = tmp_path / "entry"
    entry.write_bytes(ENTRIES[6])
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"nonsense")
    policy_of_three = tmp_path / "three"
    policy_of_three.write_text(policy.read_text().replace("g 2 1", "g 3 1"))
    for found, outcome, why in (
        (proofs.check(file, [key], None, entry), Outcome.BROKEN, "lead to the root"),
        (proofs.check(nonsense, [key], None, None), Outcome.INCOMPLETE, "begins with"),
        (proofs.check(tmp_path, [key], None, None), Outcome.INCOMPLETE, "cannot be read"),
        (proofs.check(tmp_path / "none", [key], None), Outcome.INCOMPLETE, "cannot be read"),
        (proofs.check(file, [key], tmp_path / "none"), Outcome.INCOMPLETE, "cannot be read"),
        (proofs.check(file, [key], None, None, nonsense), Outcome.INCOMPLETE, "--opening"),
        (proofs.check(file, [], policy_of_three, None), Outcome.BROKEN, "no cosignature of 3"),
        (proofs.check(file, [other], None, None), Outcome.BROKEN, "no log of that origin"),
        (proofs.check(file, [cosigner], None, None), Outcome.INCOMPLETE, "not of the kind"),
        (proofs.check(file, [], None, None), Outcome.INCOMPLETE, "no public key of the log"),
        (proofs.check(file, ["x"], None, None), Outcome.INCOMPLETE, "verifier key reads"),
        (proofs.check(file, [], nonsense, None), Outcome.INCOMPLETE, "no end"),
    ):
        assert (found.outcome, found.exit_code) == (outcome, int(outcome))
        assert why in found.reason
        assert found.document()["proven"] is False


def test_a_file_without_the_entry_asks_for_it(file: Path, tmp_path: Path) -> None:
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"extra ")))
    key, entry = LOG.vkey.encode(), tmp_path / "entry"
    assert "--entry" in proofs.check(file, [key], None, None).reason
    entry.write_bytes(ENTRIES[5])
    assert proofs.check(file, [key], None, entry).outcome is Outcome.INTACT
