"""A witness cosigns what extends all it has seen of a log, and remembers before it answers."""

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.tlog import merkle
from infra.tlog.merkle import EMPTY_ROOT
from infra.tlog.note import ML_DSA_44, Checkpoint, Signer, open_checkpoint
from infra.tlog.witness import (
    MAX_EVIDENCE,
    Answer,
    Submission,
    Witness,
    WitnessStateError,
)
from tests.support.tlog import (
    LEAVES,
    LOG,
    ORIGIN,
    checkpoint,
    consistency,
    note_at,
    signed,
    witness_key,
)

KEY = witness_key(1)
HOME = sha256(ORIGIN.encode()).hexdigest()
OTHER = [*LEAVES[:10], *(merkle.leaf_hash(b"another %d" % n) for n in range(390))]


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path, [KEY], [LOG.vkey])


def submission(old: int, new: int, leaves: list[bytes] = LEAVES) -> bytes:
    return Submission(old, consistency(old, new, leaves), note_at(new, leaves=leaves)).format()


def cosigned(answer: Answer, size: int) -> None:
    """The answer is this witness's line, and it verifies."""
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    whole = f"{checkpoint(size).body()}\n{answer.body}".encode()
    assert open_checkpoint(whole, [KEY.vkey], ORIGIN) == checkpoint(size)


def test_a_body_has_the_layout_of_the_specification() -> None:
    body = submission(5, 9)
    head, _, note = body.partition(b"\n\n")
    assert head.decode().split("\n")[0] == "old 5"
    assert len(head.split(b"\n")) == 1 + len(consistency(5, 9))
    assert note == note_at(9)
    assert Submission.parse(body) == Submission(5, consistency(5, 9), note_at(9))
    assert Submission(0, [], note_at(1)).format() == b"old 0\n\n" + note_at(1)


def test_a_log_is_cosigned_as_it_grows(witness: Witness) -> None:
    for old, new in ((0, 1), (1, 1), (1, 8), (8, 300), (300, 400)):
        cosigned(witness.add_checkpoint(submission(old, new)), new)


def test_an_empty_log_is_cosigned(witness: Witness) -> None:
    cosigned(witness.add_checkpoint(submission(0, 0)), 0)
    cosigned(witness.add_checkpoint(submission(0, 7)), 7)


def test_who_does_not_know_where_the_witness_stands_is_told(witness: Witness) -> None:
    witness.add_checkpoint(submission(0, 8))
    for old, new in ((0, 9), (5, 9), (9, 9), (0, 0)):
        answer = witness.add_checkpoint(submission(old, new))
        assert answer == Answer(409, "8\n", "text/x.tlog.size")
    cosigned(witness.add_checkpoint(submission(8, 9)), 9)


def test_a_log_that_went_back_is_told_how_far_it_was(witness: Witness) -> None:
    witness.add_checkpoint(submission(0, 300))
    for old in (0, 200):
        assert witness.add_checkpoint(submission(old, 200)).body == "300\n"


@pytest.mark.parametrize("size", [10, 11, 40, 300])
def test_a_fork_is_refused_whatever_its_proof(witness: Witness, size: int) -> None:
    witness.add_checkpoint(submission(0, 40))
    proofs = [consistency(40, max(size, 40)), consistency(min(40, size), size, OTHER), []]
    for proof in proofs:
        body = Submission(40, proof, note_at(size, leaves=OTHER)).format()
        assert witness.add_checkpoint(body).status in (422, 400)
    assert witness.add_checkpoint(submission(41, 41)).body == "40\n"


def test_two_roots_of_one_size_are_kept_as_evidence(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(submission(0, 40))
    fork = note_at(40, leaves=OTHER)
    for _ in range(2):
        answer = witness.add_checkpoint(Submission(40, [], fork).format())
        assert (answer.status, answer.body) == (
            422, "two trees of the same size have different roots\n"
        )  # fmt: skip
    (kept,) = (tmp_path / HOME).glob("fork-40-*")
    assert kept.read_bytes() == fork


def test_evidence_does_not_fill_the_disk(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(submission(0, 1))
    for number in range(MAX_EVIDENCE + 5):
        root = number.to_bytes(32, "big")
        fork = signed(Checkpoint(ORIGIN, 1, root).body(), LOG)
        assert witness.add_checkpoint(Submission(1, [], fork).format()).status == 422
    assert len(list((tmp_path / HOME).glob("fork-*"))) == MAX_EVIDENCE


def test_an_inconsistent_growth_alone_is_no_evidence(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(submission(0, 40))
    wrong = Submission(40, consistency(40, 50, OTHER), note_at(50)).format()
    assert witness.add_checkpoint(wrong).status == 422
    assert list((tmp_path / HOME).glob("fork-*")) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 0", 400),
        (b"old 0\n\n", 400),
        (b"old 00\n\n" + note_at(1), 400),
        (b"old -1\n\n" + note_at(1), 400),
        (b"0\n\n" + note_at(1), 400),
        (b"old 0\nAAAA\n\n" + note_at(1), 400),
        (b"old 0\nnonsense\n\n" + note_at(1), 400),
        (b"old 0\n\xff\n\n" + note_at(1), 400),
        (Submission(0, [EMPTY_ROOT] * 64, note_at(1)).format(), 400),
        (b"old 0\n\n" + note_at(1).replace(b"\n1\n", b"\n01\n"), 400),
        (b"old 0\n\n" + checkpoint(1).body().encode(), 400),
        (b"old 2\n\n" + note_at(1), 400),
        (b"old 0\n\n" + signed(checkpoint(1, origin="else/log").body(), LOG), 404),
        (b"old 0\n\n" + signed(checkpoint(1).body(), KEY), 403),
        (b"old 0\n\n" + signed(checkpoint(1).body(), Signer(ORIGIN, bytes(32))), 403),
        (b"old 0\n\n" + note_at(1).replace(b"\n1\n", b"\n2\n"), 403),
        (b"old 0\n\n" + note_at(1) + LOG.signature("else\n").line().encode(), 403),
        (b"old 2\n\n" + signed(checkpoint(1).body(), KEY), 403),
        (b"old 7\n\n" + note_at(8), 409),
        (Submission(0, [EMPTY_ROOT], note_at(1)).format(), 422),
        (Submission(0, [EMPTY_ROOT] * 63, note_at(1)).format(), 422),
        (b"old 0\n\n" + signed(Checkpoint(ORIGIN, 0, bytes(32)).body(), LOG), 422),
    ],
)
def test_what_cannot_be_cosigned_has_the_status_of_the_specification(
    witness: Witness, body: bytes, status: int
) -> None:
    assert witness.add_checkpoint(body).status == status
    assert witness.latest(HOME) is None


def test_foreign_signatures_are_ignored_and_not_kept(witness: Witness) -> None:
    body = b"old 0\n\n" + note_at(3, witness_key(2))
    cosigned(witness.add_checkpoint(body), 3)
    kept = witness.latest(HOME) or b""
    assert kept.startswith(note_at(3))
    assert kept.count("\n—".encode()) == 2
    assert open_checkpoint(kept, [LOG.vkey, KEY.vkey], ORIGIN) == checkpoint(3)


def test_what_was_never_cosigned_is_not_known(witness: Witness) -> None:
    witness.add_checkpoint(submission(0, 3))
    for name in (HOME.upper(), HOME[1:], f"../{HOME}", sha256(b"else").hexdigest(), ""):
        assert witness.latest(name) is None


def test_what_was_cosigned_is_known_after_a_crash(tmp_path: Path) -> None:
    for old, new in ((0, 8), (8, 20), (20, 20)):
        witness = Witness(tmp_path, [KEY], [LOG.vkey])
        cosigned(witness.add_checkpoint(submission(old, new)), new)
        assert witness.add_checkpoint(submission(0, new)).body == f"{new}\n"


def test_nothing_is_answered_before_it_is_on_disk(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness.add_checkpoint(submission(0, 8))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            witness.add_checkpoint(submission(8, 9))
    assert witness.add_checkpoint(submission(0, 9)).body == "8\n"


@pytest.mark.parametrize("damage", [b"", b"nonsense", note_at(3)])
def test_a_witness_whose_memory_is_damaged_or_another_s_says_nothing(
    witness: Witness, tmp_path: Path, damage: bytes
) -> None:
    witness.add_checkpoint(submission(0, 8))
    (tmp_path / HOME / "checkpoint").write_bytes(damage)
    with pytest.raises(WitnessStateError):
        witness.add_checkpoint(submission(8, 9))


def test_each_log_has_a_memory_of_its_own(tmp_path: Path) -> None:
    second = Signer("second.example/log", bytes(32))
    witness = Witness(tmp_path, [KEY], [LOG.vkey, second.vkey])
    witness.add_checkpoint(submission(0, 8))
    text = checkpoint(5, OTHER, "second.example/log").body()
    assert witness.add_checkpoint(b"old 0\n\n" + signed(text, second)).status == 200
    assert witness.add_checkpoint(b"old 0\n\n" + signed(text, LOG)).status == 403
    assert witness.add_checkpoint(submission(0, 9)).body == "8\n"


def test_a_log_that_changes_its_key_is_followed(tmp_path: Path) -> None:
    new = Signer(ORIGIN, bytes(32))
    witness = Witness(tmp_path, [KEY], [LOG.vkey, new.vkey])
    cosigned(witness.add_checkpoint(submission(0, 5)), 5)
    for old, size, keys in ((5, 6, [LOG, new]), (6, 7, [new])):
        note = signed(checkpoint(size).body(), *keys)
        body = Submission(old, consistency(old, size), note).format()
        cosigned(witness.add_checkpoint(body), size)


def test_a_witness_may_cosign_with_both_kinds_of_keys(tmp_path: Path) -> None:
    quantum = witness_key(1, ML_DSA_44)
    witness = Witness(tmp_path, [KEY, quantum], [LOG.vkey])
    answer = witness.add_checkpoint(submission(0, 4))
    assert answer.body.count("\n") == 2
    whole = f"{checkpoint(4).body()}\n{answer.body}".encode()
    for vkey in (KEY.vkey, quantum.vkey):
        assert open_checkpoint(whole, [vkey], ORIGIN) == checkpoint(4)


def test_of_submissions_at_once_no_older_one_comes_last(witness: Witness) -> None:
    sizes = list(range(1, 60))

    def climb(size: int) -> int:
        answer = witness.add_checkpoint(submission(0, size))
        while answer.status == 409 and int(answer.body) <= size:
            answer = witness.add_checkpoint(submission(int(answer.body), size))
        return answer.status

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(climb, sizes))
    assert statuses <= {200, 409}
    assert witness.add_checkpoint(submission(0, 0)).body == "59\n"


Move = tuple[bool, int, int]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60)), max_size=12))
def test_whatever_is_submitted_no_two_cosigned_trees_contradict_each_other(
    tmp_path_factory: pytest.TempPathFactory, moves: list[Move]
) -> None:
    witness = Witness(tmp_path_factory.mktemp("w"), [KEY], [LOG.vkey])
    seen: list[tuple[list[bytes], int]] = []
    for forked, one, two in moves:
        leaves, (old, new) = OTHER if forked else LEAVES, sorted((one, two))
        if witness.add_checkpoint(submission(old, new, leaves)).status == 200:
            seen.append((leaves, new))
    sizes = [size for _, size in seen]
    assert sizes == sorted(sizes)
    for (leaves, size), (later, _) in pairwise(seen):
        assert leaves[:size] == later[:size]
