"""An export holds what was asked for, goes on after it was interrupted, and is whole or not."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.tlog.checks import Outcome
from infra.tlog.export.layout import (
    MANIFEST,
    UNFINISHED,
    LayoutError,
    Manifest,
    Selection,
    encode_frames,
    read_frames,
)
from infra.tlog.export.reader import Exported
from infra.tlog.export.writer import ExportRefusedError
from infra.tlog.tiles import Tile
from tests.support.exports import VKEY, MemoryLog, alone, both, exported, log_of

SIZE = 600


def memory_log(size: int = SIZE) -> MemoryLog:
    log = MemoryLog(log_of(size))
    log.signed = [log.sign(at) for at in (7, 256, 300) if at < size]
    return log


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def indices(folder: Path) -> list[int]:
    return [row.at for row in Exported.open(folder).rows()]


def test_everything_is_there_in_the_layout_of_tiles(tmp_path: Path) -> None:
    said = exported(tmp_path, memory_log())
    assert said == Manifest(0, SIZE, SIZE, checkpoints=3, erased=0)
    assert set(files(tmp_path)) == {
        "LISEZMOI.md", "README.md", "verify.py", "vkey.txt", "checkpoint", "manifest.json",
        "checkpoints/0", "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2",
        "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88",
        "payload/000", "payload/001", "payload/002.p/88",
    }  # fmt: skip
    assert (tmp_path / "vkey.txt").read_text() == f"{VKEY}\n"


def test_a_period_holds_its_bundles_and_the_hashes_beside_it(tmp_path: Path) -> None:
    exported(tmp_path, memory_log(), start=270, stop=520)
    assert indices(tmp_path) == list(range(270, 520))
    there = set(files(tmp_path))
    assert {"tile/entries/001", "tile/entries/002.p/88", "tile/1/000.p/2"} <= there
    assert not {"tile/entries/000", "tile/0/000", "payload/000"} & there


def test_a_pathway_holds_nothing_of_others(tmp_path: Path) -> None:
    wanted = tuple(range(2, SIZE, 4))
    log = memory_log()
    exported(tmp_path, log, indices=wanted)
    assert indices(tmp_path) == list(wanted)
    everything = b"".join(files(tmp_path).values())
    for n, each in enumerate(log.entries):
        held = n in wanted
        assert (each.entry in everything) is held
        assert (each.data in everything) is held
        assert bool(each.sealed and each.sealed + b"\0" in everything) <= held


class _InterruptedError(Exception):
    pass


class Interrupted(MemoryLog):
    """A source that fails after some answers."""

    left = 0

    async def tile(self, tile: Tile) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise _InterruptedError
        return await super().tile(tile)


@pytest.mark.slow
@pytest.mark.parametrize("after", range(7))
def test_an_interrupted_export_is_incomplete_and_goes_on_where_it_stopped(
    after: int, tmp_path: Path
) -> None:
    log = Interrupted(log_of(SIZE))
    log.signed = memory_log().signed
    log.left = after
    folder, whole = tmp_path / "one", tmp_path / "other"
    with pytest.raises(_InterruptedError):
        exported(folder, log)
    code, line = alone(folder)
    assert (code, line.startswith("incomplete")) == (2, True)
    assert both(folder).outcome is Outcome.INCOMPLETE
    assert (folder / UNFINISHED).exists()
    log.entries += log_of(SIZE + 50)[SIZE:]  # the log grows in the meantime
    fetched = log.asked.copy()
    log.left = 1000
    exported(folder, log)
    exported(whole, memory_log())
    assert files(folder) == files(whole)
    assert not set(fetched) & set(log.asked[len(fetched) :])


def test_a_directory_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ExportRefusedError, match="is not empty"):
        exported(tmp_path, memory_log())
    assert files(tmp_path) == {"thesis.txt": b"mine"}


def test_an_export_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    exported(tmp_path, memory_log())
    with pytest.raises(ExportRefusedError, match="is not empty"):
        exported(tmp_path, memory_log())


def test_another_export_does_not_go_on_with_an_unfinished_one(tmp_path: Path) -> None:
    log = Interrupted(log_of(SIZE))
    log.left = 3
    with pytest.raises(_InterruptedError):
        exported(tmp_path, log)
    with pytest.raises(ExportRefusedError, match="holds another export, unfinished"):
        exported(tmp_path, memory_log(), start=3, stop=9)


def test_a_smaller_size_that_was_seen_before_can_be_checked_too(tmp_path: Path) -> None:
    log = memory_log()
    last = tmp_path / "last"
    last.write_bytes(log.sign(300))
    exported(tmp_path / "export", log, indices=(599,), also=300)
    assert both(tmp_path / "export", last=last).outcome is Outcome.INTACT
    exported(tmp_path / "without", log, indices=(599,))
    assert both(tmp_path / "without", last=last).outcome is Outcome.INCOMPLETE


@given(
    size=st.integers(1, 200_000), ends=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))
)
def test_tiles_of_a_period_lead_from_its_entries_to_the_root(
    size: int, ends: tuple[int, int]
) -> None:
    start, stop = sorted((ends[0] % size, ends[1] % size + 1))
    if start == stop:
        return
    chosen = Selection(size, start, stop)
    found = list(chosen.tiles())
    assert len(found) == len(set(found))
    for bundle in chosen.bundles():
        level, index = 0, bundle.index
        while (size >> 8 * level) > index << 8:
            assert any(t.level == level and t.index == index for t in found)
            level, index = level + 1, index >> 8
    for level in range(3):
        if size >> 8 * level & 255:
            assert any(t.level == level and t.width < 256 for t in found)


@given(st.lists(st.binary(max_size=300), max_size=40))
def test_frames_come_back_as_they_were(items: list[bytes]) -> None:
    assert list(read_frames(BytesIO(encode_frames(items)))) == items


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=9), st.integers(1, 9))
def test_frames_that_are_cut_short_are_refused(items: list[bytes], cut: int) -> None:
    whole = encode_frames(items)
    cut = min(cut, len(items[-1]) + 3)
    with pytest.raises(LayoutError):
        list(read_frames(BytesIO(whole[:-cut])))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "aiguillage-export/2"}, {"start": -1}, {"start": 1}, {"stop": 601},
        {"entries": 599}, {"entries": True}, {"erased": "0"}, {"more": 1}, {"start": 0.0},
    ],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    said = json.loads(Manifest(0, 600, 600, 3, 0).format())
    with pytest.raises(LayoutError):
        Manifest.parse(json.dumps({**said, **changes}, indent=1).encode())


@pytest.mark.parametrize("changes", [{"start": -1}, {"entries": True}, {"start": False}])
def test_verifiers_agree_on_odd_manifests(changes: dict[str, Any], tmp_path: Path) -> None:
    exported(tmp_path, memory_log(1))
    said = json.loads((tmp_path / MANIFEST).read_bytes())
    (tmp_path / MANIFEST).write_text(json.dumps({**said, **changes}, indent=1))
    assert both(tmp_path).outcome is Outcome.BROKEN
