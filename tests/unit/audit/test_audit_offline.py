"""An export is checked from its files alone, by two verifiers that say the same.

Whatever is changed in a file that is evidence is found by both; what is not evidence may be
changed at will.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.tlog import merkle, tiles
from infra.tlog.checks import Outcome
from infra.tlog.export.layout import (
    FRAMES,
    NOT_EVIDENCE,
    encode_frames,
    read_frames,
)
from infra.tlog.note import COSIGNATURE, ML_DSA_44, Note, Signer
from infra.tlog.signers import signer
from infra.tlog.verify.offline import verify_export
from tests.support.exports import (
    NOW,
    ORIGIN,
    VKEY,
    Logged,
    MemoryLog,
    alone,
    both,
    exported,
    log_of,
    logged,
    salt_of,
)

SIZE = 600
SIGNED = (7, 256, 300, 599)
KINDS: dict[str, dict[str, Any]] = {
    "whole": {},
    "period": {"start": 270, "stop": 520},
    "case": {"indices": tuple(range(2, SIZE, 4))},
    "one": {"indices": (599,)},
}


def memory_log(entries: list[Logged] | None = None) -> MemoryLog:
    log = MemoryLog(log_of(SIZE, erased=(4, 301)) if entries is None else entries)
    log.signed = [log.sign(size) for size in SIGNED if size < len(log.entries)]
    return log


@lru_cache
def made(kind: str) -> Path:
    """An export of each kind; made once, in a directory that pytest's process leaves."""
    folder = Path(mkdtemp(prefix="aiguillage-export-"))
    exported(folder, memory_log(), **KINDS[kind])
    return folder


@pytest.fixture(autouse=True, scope="module")
def _cleaned() -> Iterator[None]:
    yield
    for kind in KINDS:
        shutil.rmtree(made(kind))
    made.cache_clear()


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(made(kind), tmp_path / kind))


@pytest.mark.parametrize(
    ("kind", "held", "erased"), [("whole", 600, 2), ("period", 250, 1), ("case", 150, 0)]
)
def test_what_was_exported_is_intact(kind: str, held: int, erased: int) -> None:
    verdict = both(made(kind))
    assert (verdict.outcome, verdict.checked, verdict.size) == (Outcome.INTACT, held, SIZE)
    assert verdict.erased == erased


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512])
def test_a_log_of_any_size_is_intact(size: int, tmp_path: Path) -> None:
    exported(tmp_path, memory_log(log_of(size)))
    assert both(tmp_path).outcome is Outcome.INTACT


@pytest.mark.slow
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_every_change_to_a_file_is_found_by_both(data: st.DataObject, kind: str) -> None:
    with TemporaryDirectory() as place:
        folder = Path(shutil.copytree(made(kind), Path(place) / "export"))
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        name = data.draw(st.sampled_from(files))
        before = (folder / name).read_bytes()
        after = data.draw(_mutations(before))
        if after is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(after)
        verdict = both(folder)
        changed = after != before and name not in NOT_EVIDENCE
        assert (verdict.exit_code != 0) == changed, f"{name}: {verdict}"


def _mutations(before: bytes) -> st.SearchStrategy[bytes | None]:
    """One bit, or a piece cut out, doubled, inserted or put elsewhere; or no file at all."""
    at = st.integers(0, max(len(before) - 1, 0))
    bit = st.builds(lambda n, b: _flipped(before, n, b), at, st.integers(0, 7))
    cut = st.builds(lambda n, m: before[: min(n, m)] + before[max(n, m) :], at, at)
    double = st.builds(
        lambda n, m: before[: max(n, m)] + before[min(n, m) :], at, st.integers(0, len(before))
    )
    extra = st.builds(
        lambda n, more: before[:n] + more + before[n:], at, st.binary(min_size=1, max_size=40)
    )
    turned = st.builds(lambda n: before[n:] + before[:n], at)
    return st.one_of(bit, bit, bit, cut, double, extra, turned, st.none())


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    if not data:
        return b"x"
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_the_small_files_counts(kind: str, copy: Callable[[str], Path]) -> None:
    folder = copy(kind)
    for name in ("checkpoint", "manifest.json"):
        before = (folder / name).read_bytes()
        for at in range(0, len(before), 3):
            (folder / name).write_bytes(_flipped(before, at, at % 8))
            assert both(folder).exit_code != 0, f"{name}: byte {at}"
        (folder / name).write_bytes(before)


def _dropped(items: list[Any]) -> list[Any]:
    return [*items[:20], *items[21:]]


def _swapped(items: list[Any]) -> list[Any]:
    return [*items[:20], items[21], items[20], *items[22:]]


def _doubled(items: list[Any]) -> list[Any]:
    return [*items[:21], *items[20:]]


def _inserted(items: list[Any]) -> list[Any]:
    new = logged(999, "case-0", 6, 0)
    kind = type(items[0])
    return [*items[:20], new if kind is Logged else new.entry, *items[20:]]


@pytest.mark.parametrize(
    ("change", "at"),
    [(_dropped, 512), (_swapped, 512 + 20), (_doubled, 512), (_inserted, 512)],
)
def test_entries_dropped_swapped_doubled_or_inserted_are_found(
    change: Callable[[list[Any]], list[Any]], at: int, copy: Callable[[str], Path]
) -> None:
    """Where a file has too many or too few, its first entry is named, and the file."""
    folder = copy("whole")
    _rewrite(folder, "002.p/88", change)
    verdict = both(folder)
    assert (verdict.outcome, verdict.at) == (Outcome.BROKEN, at)


@pytest.mark.parametrize("change", [_dropped, _swapped, _doubled, _inserted])
def test_hashes_made_anew_do_not_hide_other_entries(
    change: Callable[[list[Any]], list[Any]], tmp_path: Path
) -> None:
    true, false = memory_log(), memory_log(change(log_of(SIZE)))
    false.signed = true.signed
    exported(tmp_path, false)
    (tmp_path / "checkpoint").write_bytes(true.sign(SIZE))
    verdict = both(tmp_path)
    assert verdict.exit_code != 0
    if len(false.entries) == SIZE:
        assert verdict.reason == "entries 7 to 255 are not those that were signed"


def _rewrite(folder: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change the entries of a bundle and what stands beside them; its hashes stay."""
    path, beside = folder / "tile/entries" / name, folder / "payload" / name
    entries = tiles.decode_bundle(path.read_bytes())
    with beside.open("rb") as file:
        frames = list(read_frames(file))
    openings = [frames[n : n + FRAMES] for n in range(0, len(frames), FRAMES)]
    changed = change([Logged(e, *o) for e, o in zip(entries, openings, strict=True)])
    path.write_bytes(tiles.encode_bundle([each.entry for each in changed]))
    beside.write_bytes(encode_frames(part for each in changed for part in each[1:]))


def _of(at: int, **changes: bytes) -> Callable[[list[Logged]], list[Logged]]:
    return lambda log: [*log[:at], log[at]._replace(**changes), *log[at + 1 :]]


@pytest.mark.parametrize(
    ("change", "code", "at", "why"),
    [
        (_of(10, header=log_of(20)[14].header), 1, 10, "its header differs"),
        (_of(10, data=b'{"x":1}'), 1, 10, "its data differs"),
        (_of(10, sealed=b"other"), 1, 10, "its sealed differs"),
        (_of(10, salts=salt_of(10)), 1, 10, "its salt differs"),
        (_of(10, salts=salt_of(11) + salt_of(10 + 10**9)), 1, 10, "its header differs"),
        (_of(10, salts=salt_of(10) + salt_of(10)), 1, 10, "its sealed differs"),
        (_of(9, salts=salt_of(9) + salt_of(9)), 1, 9, "its salt differs"),
        (_of(9, entry=log_of(20)[13].entry), 1, 9, "another was signed"),
        (_of(9, salts=b"", header=b"", data=b"", sealed=b""), 2, 9, "were not handed out"),
        (_of(9, entry=b""), 1, 9, "read"),
        (_of(10, sealed=b"", salts=salt_of(10)), 1, None, "manifest.json does not hold"),
    ],
)
def test_what_does_not_hold_is_named(
    change: Callable[[list[Logged]], list[Logged]],
    code: int,
    at: int | None,
    why: str,
    copy: Callable[[str], Path],
) -> None:
    folder = copy("whole")
    _rewrite(folder, "000", change)
    verdict = both(folder)
    assert (verdict.exit_code, verdict.at) == (code, at), str(verdict)
    assert why in verdict.reason


def test_a_version_that_is_missing_in_a_signed_log_is_named(tmp_path: Path) -> None:
    gap = [*log_of(40), logged(40, "case-0", 12, 0)]
    exported(tmp_path, MemoryLog(gap))
    verdict = both(tmp_path)
    assert str(verdict) == "broken at entry 40: version 12 of case-0 follows version 10"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("checkpoint", 2),
        ("manifest.json", 2),
        ("tile/0/001", 2),
        ("tile/entries/001", 2),
        ("tile/entries/002.p/88", 2),
        ("payload/002.p/88", 2),
        ("tile/1/000.p/2", 2),
        ("checkpoints/0", 2),
    ],
)
def test_a_file_that_is_missing_makes_the_export_incomplete(
    path: str, code: int, copy: Callable[[str], Path]
) -> None:
    folder = copy("whole")
    (folder / path).unlink()
    verdict = both(folder)
    assert verdict.exit_code == code
    assert path in verdict.reason or "checkpoint" in path


@pytest.mark.parametrize("path", ["tile/0/009", "tile/x", "payload/000.p/5", "checkpoints/7"])
def test_a_file_that_is_not_of_the_export_is_refused(
    path: str, copy: Callable[[str], Path]
) -> None:
    folder = copy("whole")
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(b"x" * 32)
    verdict = both(folder)
    assert verdict.exit_code == 1
    assert path in verdict.reason


@pytest.mark.parametrize("name", NOT_EVIDENCE)
def test_what_is_for_people_is_not_checked(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy("whole")
    (folder / name).write_text("anything")
    assert both(folder).outcome is Outcome.INTACT
    (folder / name).unlink()
    assert both(folder).outcome is Outcome.INTACT


def kept(folder: Path, note: bytes) -> Path:
    path = folder.with_name("kept")
    path.write_bytes(note)
    return path


def test_a_log_that_extends_what_was_seen_before_is_intact(tmp_path: Path) -> None:
    for size in (1, 256, 300, SIZE):
        last = kept(tmp_path / "x", memory_log().sign(size))
        assert both(made("whole"), last=last).outcome is Outcome.INTACT, size


def test_a_log_that_was_rolled_back_is_refused(tmp_path: Path) -> None:
    longer = memory_log(log_of(SIZE + 40))
    verdict = both(made("whole"), last=kept(tmp_path / "x", longer.sign(SIZE + 40)))
    assert str(verdict) == "broken: it had 640 entries before, and now 600"


@pytest.mark.parametrize("size", [300, SIZE])
def test_a_forked_log_is_refused(size: int, tmp_path: Path) -> None:
    forked = memory_log(log_of(SIZE, streams=5))
    verdict = both(made("whole"), last=kept(tmp_path / "x", forked.sign(size)))
    assert str(verdict) == f"broken: another history of {size} entries was signed"


def test_earlier_checkpoints_of_another_history_are_refused(tmp_path: Path) -> None:
    log = memory_log()
    log.signed[2] = memory_log(log_of(SIZE, streams=5)).sign(300)
    exported(tmp_path, log)
    assert str(both(tmp_path)) == "broken: another history of 300 entries was signed"


def test_another_key_is_refused() -> None:
    other = Signer(ORIGIN, bytes([1] * 32)).vkey.encode()
    verdict = both(made("whole"), other)
    assert verdict.outcome is Outcome.BROKEN
    assert "checkpoint is not signed by the key" in verdict.reason


def test_what_a_policy_asks_besides_is_asked_of_the_checkpoint(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    witness = signer("a.test/witness", bytes([2] * 32), COSIGNATURE, lambda: NOW)
    policy = tmp_path / "policy"
    policy.write_text(f"log {VKEY}\nwitness a {witness.vkey.encode()}\nquorum a\n")
    folder = copy("whole")
    verdict = verify_export(folder, [], policy=policy, workers=1)
    assert str(verdict) == "incomplete: checkpoint is not cosigned: no cosignature of a"
    note = (folder / "checkpoint").read_bytes()
    line = witness.signature(Note.parse(note).text).line().encode()
    (folder / "checkpoint").write_bytes(note + line)
    assert verify_export(folder, [], policy=policy, workers=1).outcome is Outcome.INTACT
    assert both(folder).outcome is Outcome.INTACT  # who knows no witness passes it over
    broken = line[:-8] + (b"AAAA" if line[-8:-4] != b"AAAA" else b"BBBB") + line[-4:]
    (folder / "checkpoint").write_bytes(note + broken)
    verdict = verify_export(folder, [], policy=policy, workers=1)
    assert (verdict.outcome, "a.test/witness" in verdict.reason) == (Outcome.BROKEN, True)


@pytest.mark.parametrize("policy", ["quorum none\n", "quorum nobody\n", "log x\n"])
def test_without_anybody_to_trust_nothing_can_be_said(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text(policy)
    verdict = verify_export(made("whole"), [], policy=path, workers=1)
    assert verdict.outcome is Outcome.INCOMPLETE


def test_checkpoints_signed_by_an_older_key_hold_with_that_key(tmp_path: Path) -> None:
    older = Signer(ORIGIN, bytes([3] * 32))
    log = memory_log()
    log.signed = [replace(log, signer=older).sign(7), *log.signed[1:]]
    exported(tmp_path, log)
    assert both(tmp_path).outcome is Outcome.BROKEN
    verdict = verify_export(tmp_path, [VKEY, older.vkey.encode()], workers=1)
    assert verdict.outcome is Outcome.INTACT
    assert alone(tmp_path, VKEY, older.vkey.encode())[0] == 0


def test_keys_of_a_kind_that_the_short_verifier_does_not_know_are_passed_over() -> None:
    key = signer(ORIGIN, bytes(32), ML_DSA_44, lambda: NOW).vkey.encode()
    assert alone(made("whole"), VKEY, key)[0] == 0
    assert alone(made("whole"), key)[0] == 1


@pytest.mark.slow
def test_processes_say_what_one_process_says(tmp_path: Path) -> None:
    """More than one tile of level 1, so that there are parts to share out."""
    size = 65_536 + 300
    log = MemoryLog([logged(n, f"s-{n}", 1, n % 7) for n in range(size)])
    hashes = log.leaves(size)
    log.leaves = lambda _: hashes  # type: ignore[method-assign]
    note = log.sign(size)
    log.sign = lambda _: note  # type: ignore[method-assign]
    exported(tmp_path, log)
    seen: list[tuple[int, int]] = []
    verdict = verify_export(tmp_path, [VKEY], workers=2, progress=lambda *n: seen.append(n))
    assert (verdict.outcome, verdict.checked) == (Outcome.INTACT, size)
    assert seen == [(65_536, size), (65_792, size), (size, size)]
    _rewrite(tmp_path, "100", _of(7, data=b"{}"))
    verdicts = [verify_export(tmp_path, [VKEY], workers=n) for n in (1, 2)]
    assert verdicts[0] == verdicts[1]
    assert str(verdicts[0]) == "broken at entry 25607: its data differs"


def test_verifier_in_one_file_is_short_and_stands_alone() -> None:
    text = (Path(merkle.__file__).parent / "verify" / "standalone.py").read_text()
    assert len([line for line in text.splitlines() if line]) < 150
    modules = {line.split()[1] for line in text.splitlines() if line[:5] in ("from ", "impor")}
    assert {m for m in modules if m.startswith(("infra", "services", "contracts"))} == set()
