"""A log is checked from its bytes alone: whatever was changed is found and named."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from infra.eventstore.events import EventMetadata, StoredEvent
from infra.tlog import merkle
from infra.tlog.checks import LoggedEntry, Outcome, Verdict, verify_log
from infra.tlog.commitment import Opening
from infra.tlog.note import Checkpoint, Signer
from tests.support.exports import opened, salt_of

ORIGIN = "aiguillage.test/log"
SIGNER = Signer(ORIGIN, bytes(32))
VKEY = SIGNER.vkey.encode()
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
SIZE = 40


def logged(index: int, stream: str, version: int, data: str = "{}") -> LoggedEntry:
    event = StoredEvent(
        "intake", index + 1, UUID(int=index + 1), stream, version, "fr.test.v1", uuid4(), NOW,
        NOW, data, b"sealed %d" % index, EventMetadata(), salt_of(index), salt_of(index + SIZE),
    )  # fmt: skip
    whole = opened(event)
    hashed = merkle.leaf_hash(whole.entry)
    return LoggedEntry(index, whole.entry, Opening(*whole[1:]), hashed)


LOG = [logged(n, f"case-{n % 4}", n // 4 + 1) for n in range(SIZE)]


def note_at(size: int, entries: list[LoggedEntry] = LOG, signer: Signer = SIGNER) -> bytes:
    root = merkle.root_of(merkle.leaf_hash(e.entry) for e in entries[:size])
    return signer.sign(Checkpoint(signer.vkey.name, size, root).body())


def verify(entries: list[LoggedEntry], earlier: tuple[int, ...] = ()) -> Verdict:
    return verify_log(entries, note_at(SIZE), [VKEY], [note_at(size) for size in earlier])


def changed(index: int, **changes: object) -> list[LoggedEntry]:
    return [*LOG[:index], replace(LOG[index], **changes), *LOG[index + 1 :]]  # type: ignore[arg-type]


def other(index: int, **parts: bytes) -> list[LoggedEntry]:
    return changed(index, opening=LOG[index].opening._replace(**parts))


def rehashed(entries: list[LoggedEntry]) -> list[LoggedEntry]:
    """What somebody who rewrites the stored hashes too would hand out."""
    return [
        replace(e, index=n, leaf_hash=merkle.leaf_hash(e.entry)) for n, e in enumerate(entries)
    ]


def test_a_whole_log_is_intact() -> None:
    verdict = verify(LOG, earlier=(0, 1, 17, 39))
    assert (verdict.outcome, verdict.exit_code) == (Outcome.INTACT, 0)
    assert (verdict.checked, verdict.size, verdict.erased) == (SIZE, SIZE, 0)


def test_an_empty_log_is_intact() -> None:
    assert verify_log([], note_at(0), [VKEY]).outcome is Outcome.INTACT


def test_entries_that_are_not_signed_yet_are_passed_over() -> None:
    verdict = verify_log(LOG, note_at(30), [VKEY])
    assert (verdict.outcome, verdict.checked) == (Outcome.INTACT, 30)


def test_a_sealed_part_that_was_erased_breaks_nothing_and_is_counted() -> None:
    verdict = verify(other(7, sealed=b"", salts=salt_of(7)))
    assert (verdict.outcome, verdict.erased) == (Outcome.INTACT, 1)


@pytest.mark.parametrize(
    ("entries", "at", "why"),
    [
        (changed(9, entry=LOG[10].entry), 9, "was hashed"),
        (other(9, data=b'{"x":1}'), 9, "its data differs"),
        (other(9, sealed=b"other"), 9, "its sealed differs"),
        (other(9, header=LOG[9].opening.header.replace(b"case-1", b"case-9")), 9, "header"),
        (other(9, salts=salt_of(9)), 9, "its salt differs"),
        (changed(9, entry=b"no json", leaf_hash=merkle.leaf_hash(b"no json")), 9, "read"),
        (changed(9, entry=b"{}", leaf_hash=merkle.leaf_hash(b"{}")), 9, "read"),
        ([*LOG[:9], *LOG[10:]], 9, "missing"),
        ([*LOG[:10], *LOG[9:]], 9, "second time"),
        ([*LOG[:9], LOG[10], LOG[9], *LOG[11:]], 9, "missing"),
        (rehashed([*LOG[:9], *LOG[10:]]), 12, "version 4 of case-1 follows version 2"),
        (rehashed([*LOG[:9], LOG[13], *LOG[10:13], LOG[9], *LOG[14:]]), 9, "version 4"),
    ],
)  # fmt: skip
def test_what_was_changed_is_found_and_named(
    entries: list[LoggedEntry], at: int, why: str
) -> None:
    verdict = verify(entries)
    assert (verdict.outcome, verdict.exit_code, verdict.at) == (Outcome.BROKEN, 1, at)
    assert why in verdict.reason


def test_a_rewritten_log_is_narrowed_down_by_earlier_checkpoints() -> None:
    swapped = rehashed([*LOG[:9], LOG[10], LOG[9], *LOG[11:]])
    verdict = verify(swapped, earlier=(4, 8, 12, 20))
    assert (verdict.outcome, verdict.at) == (Outcome.BROKEN, 8)
    assert "entries 8 to 11 are not those that were signed" in verdict.reason
    assert verify(swapped).at == 0


@pytest.mark.parametrize("earlier", [(12, 4), (12, 12), (20, 8, 39), (40, 40)])
def test_earlier_checkpoints_out_of_order_do_not_hide_a_change(
    earlier: tuple[int, ...],
) -> None:
    swapped = rehashed([*LOG[:37], LOG[38], LOG[37], *LOG[39:]])
    assert verify(swapped, earlier).outcome is Outcome.BROKEN
    assert verify(LOG, earlier).outcome is Outcome.INTACT


def test_a_log_that_stops_early_is_incomplete() -> None:
    verdict = verify(LOG[:33])
    assert (verdict.outcome, verdict.exit_code) == (Outcome.INCOMPLETE, 2)
    assert "33 of 40" in verdict.reason


@pytest.mark.parametrize(
    "note",
    [
        note_at(SIZE, signer=Signer(ORIGIN, bytes([1] * 32))),
        note_at(SIZE, signer=Signer("another/log", bytes(32))),
        note_at(SIZE).replace(b"\n40\n", b"\n41\n"),
        b"no note",
    ],
)
def test_a_checkpoint_that_the_key_did_not_sign_breaks_the_log(note: bytes) -> None:
    verdict = verify_log(LOG, note, [VKEY])
    assert (verdict.outcome, verdict.at) == (Outcome.BROKEN, None)
    assert "checkpoint" in verdict.reason


def test_without_a_usable_public_key_nothing_can_be_said() -> None:
    assert verify_log(LOG, note_at(SIZE), ["nonsense"]).outcome is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: verify(LOG), "intact: 40 entries lead to the signed root"),
        (lambda: verify([*LOG[:9], *LOG[10:]]), "broken at entry 9: the entry is missing"),
    ],
)
def test_a_verdict_reads_as_one_line(change: Callable[[], Verdict], words: str) -> None:
    assert str(change()) == words
