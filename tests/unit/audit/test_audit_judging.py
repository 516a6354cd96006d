"""What cannot be judged is not called broken: an auditor's own files, what is too large.

Both verifiers say so alike; broken is said only of evidence that was read and differs.
"""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from infra.eventstore.events import MAX_EVENT_BYTES
from infra.tlog.checks import Outcome
from infra.tlog.export.layout import MAX_FILE_BYTES, MAX_ITEM_BYTES
from infra.tlog.export.reader import Exported
from infra.tlog.export.writer import ExportRefusedError
from infra.tlog.note import Signer
from infra.tlog.verify.offline import verify_export
from tests.support.exports import (
    ORIGIN,
    VKEY,
    MemoryLog,
    both,
    exported,
    log_of,
    opened,
    recorded,
)

SIZE = 600


def memory_log(size: int = SIZE) -> MemoryLog:
    log = MemoryLog(log_of(size))
    log.signed = [log.sign(at) for at in (7, 256, 300) if at < size]
    return log


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of everything."""
    folder = tmp_path_factory.mktemp("whole")
    exported(folder, memory_log())
    return folder


def kept(folder: Path, note: bytes) -> Path:
    path = folder / "kept"
    path.write_bytes(note)
    return path


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"<!doctype html><title>404</title>",
        memory_log().sign(300).replace(b"\n", b"\r\n"),
        memory_log().sign(300).replace(b"\n300\n", b"\n301\n"),
        memory_log().sign(300)[:-20],
        replace(memory_log(), signer=Signer(ORIGIN, bytes([1] * 32))).sign(300),
        replace(memory_log(), signer=Signer("another/log", bytes(32))).sign(300),
        b"x" * (MAX_FILE_BYTES + 1),
    ],
    ids=["empty", "page", "crlf", "changed", "cut", "key", "log", "large"],
)
def test_a_kept_file_that_is_no_checkpoint_of_the_log_says_nothing_of_it(
    given: bytes, whole: Path, tmp_path: Path
) -> None:
    verdict = both(whole, last=kept(tmp_path, given))
    assert verdict.outcome is Outcome.INCOMPLETE


def test_a_kept_file_that_is_not_there_says_nothing_of_the_log(
    whole: Path, tmp_path: Path
) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert both(whole, last=path).outcome is Outcome.INCOMPLETE


@pytest.mark.parametrize("key", ["", "nonsense", f"{VKEY}\n", "a+00000000+"])
def test_a_key_that_cannot_be_read_says_nothing_of_the_log(key: str, whole: Path) -> None:
    assert both(whole, key).outcome is Outcome.INCOMPLETE


def test_a_policy_that_cannot_be_read_says_nothing_of_the_log(
    whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "page").write_bytes(b"<html>")
    (tmp_path / "large").write_bytes(b"x" * (2 << 20))
    for policy in (tmp_path / "page", tmp_path / "large", tmp_path / "none", tmp_path):
        verdict = verify_export(whole, [VKEY], policy=policy, workers=1)
        assert verdict.outcome is Outcome.INCOMPLETE, policy


@pytest.mark.slow
def test_a_bundle_with_more_than_256_mib_beside_it_is_intact_and_checked_in_flat_memory(
    tmp_path: Path,
) -> None:
    """More than a writer would make: nothing depends on that."""
    sealed = b"x" * (MAX_EVENT_BYTES + MAX_EVENT_BYTES // 4)
    events = [
        recorded(n=n, stream=f"case-{n}", data=f'{{"n":{n}}}', sealed=sealed)
        for n in range(280)
    ]
    log = MemoryLog([opened(event) for event in events])
    exported(tmp_path, log)
    assert (tmp_path / "payload/000").stat().st_size > 256 << 20
    tracemalloc.start()
    verdict = both(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (verdict.outcome, verdict.checked) == (Outcome.INTACT, 280)
    assert peak < 48 << 20
    assert sum(1 for _ in Exported.open(tmp_path).rows()) == 280


@pytest.mark.parametrize("path", ["payload/000", "checkpoints/0", "tile/entries/000"])
def test_what_is_too_large_to_be_read_is_not_called_broken(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    exported(folder, memory_log())
    with (folder / path).open("r+b") as file:
        if path.startswith("tile"):
            file.truncate(MAX_FILE_BYTES + 1)  # a hole: nothing is written
        else:
            file.write((MAX_ITEM_BYTES + 1).to_bytes(4, "big"))
            file.truncate(MAX_ITEM_BYTES + 1000)
    verdict = both(folder)
    assert verdict.outcome is Outcome.INCOMPLETE
    assert "too large to be read" in verdict.reason


def test_an_export_is_not_made_of_what_its_verifiers_would_not_read(tmp_path: Path) -> None:
    log = memory_log(20)
    log.entries[7] = log.entries[7]._replace(sealed=bytes(MAX_ITEM_BYTES + 1))
    with pytest.raises(ExportRefusedError, match="too large to be read"):
        exported(tmp_path, log)
    assert not (tmp_path / "manifest.json").exists()
