"""Batches as a broker hands them out: unpacked with a bound, and none stops a reader."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from infra.messaging.sources.batches import MAX_ANSWER_BYTES, MAX_BATCH_BYTES, safe_records

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HEAD = 61
MIB = 1024 * 1024


def batch(codec: int, *values: bytes, base: int = 0, name: str = "h") -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 1 << 30)
    for offset, value in enumerate(values):
        builder.append(offset, 1, key=b"k", value=value, headers=[(name, b"v"), ("n", None)])
    return base.to_bytes(8) + bytes(builder.build())[8:]


def changed(given: bytes, at: int, new: bytes, *, checked: bool = True) -> bytes:
    """A batch with other bytes somewhere, and (unless told otherwise) the right checksum."""
    made = bytearray(given)
    made[at : at + len(new)] = new
    if checked:
        made[17:21] = calc_crc32c(bytes(made[21:])).to_bytes(4)
    return bytes(made)


def records(safe: bytes) -> Iterator[tuple[int, bytes | None]]:
    position = 0
    while position < len(safe):
        end = position + 12 + int.from_bytes(safe[position + 8 : position + 12])
        for record in DefaultRecordBatch(safe[position:end]):
            yield record.offset, record.value
        position = end


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_is_unpacked(codec: int):
    given = batch(codec, b"one" * 1000, b"two", base=7)
    safe, unreadable = safe_records(given)
    assert list(records(safe)) == [(7, b"one" * 1000), (8, b"two")]
    assert unreadable == []


def test_snappy_without_javas_frames_and_gzip_in_two_parts_are_unpacked_too():
    plain = batch(0, b"one" * 100, b"two" * 100)
    inner = plain[HEAD:]
    raw = bytes(cramjam.snappy.compress_raw(inner))
    parts = bytes(cramjam.gzip.compress(inner[:50])) + bytes(cramjam.gzip.compress(inner[50:]))
    for codec, packed in ((2, raw), (1, parts)):
        head = changed(plain[:HEAD], 8, (HEAD - 12 + len(packed)).to_bytes(4), checked=False)
        given = changed(head + packed, 21, codec.to_bytes(2))
        safe, unreadable = safe_records(given)
        assert [value for _, value in records(safe)] == [b"one" * 100, b"two" * 100]
        assert unreadable == []


@pytest.mark.parametrize("codec", [n for n in CODECS.values() if n], ids=list(CODECS)[1:])
def test_what_unpacks_to_more_than_the_bound_is_stepped_over(codec: int):
    largest = MAX_BATCH_BYTES - 100
    fits, does_not = batch(codec, b"a" * largest), batch(codec, b"a" * (largest + 200))
    assert safe_records(fits)[1] == []
    safe, (found,) = safe_records(does_not)
    assert list(records(safe)) == [(0, None)]
    assert found.why == f"unpacks to more than {MAX_BATCH_BYTES} bytes"
    assert (found.first, found.last, found.size) == (0, 0, len(does_not))


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_200_mib_in_200_kib_take_no_memory(codec: str, tmp_path: Path):
    (tmp_path / "bomb").write_bytes(batch(CODECS[codec], bytes(200 * MIB)))
    script = (
        "import resource, sys\n"
        "from infra.messaging.sources.batches import safe_records\n"
        "bomb = open(sys.argv[1], 'rb').read()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "safe, (found,) = safe_records(bomb)\n"
        "print(peak() - before, found.why)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "bomb"],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3],
    ).stdout.split(" ", 1)  # fmt: skip
    assert int(said[0]) < 48 * 1024  # KiB
    assert said[1].startswith("unpacks to more than")


def test_batches_that_cannot_be_read_say_why_and_stop_no_other():
    sound = batch(4, b"x" * 100, b"y")
    bad = {
        "checksum does not match": changed(sound, HEAD + 3, b"\xff", checked=False),
        "unknown codec 6": changed(sound, 21, b"\x00\x06"),
        "cannot be unpacked": changed(sound, HEAD, b"\xff" * 8),
        "not records": changed(batch(0, b"x" * 100, b"y"), HEAD, b"\x7f" * 8),
        "message format 1": changed(sound, 16, b"\x01", checked=False),
    }
    given = b"".join(
        base.to_bytes(8) + made[8:]
        for base, made in zip(range(2, 20, 2), [sound, *bad.values(), sound], strict=False)
    )
    safe, unreadable = safe_records(given + sound[:70])
    assert [(found.first, found.last, found.why) for found in unreadable] == [
        (base, base + 1, why) for base, why in zip(range(4, 20, 2), bad, strict=False)
    ]
    values = dict(records(safe))
    assert values[2] == values[14] == b"x" * 100
    assert [offset for offset, value in values.items() if value is None] == [5, 7, 9, 11, 13]


def test_header_whose_name_is_no_text_costs_the_name_and_not_the_record():
    given = batch(0, b"one", b"two", name="zz")
    for at in (i for i in range(HEAD, len(given)) if given[i : i + 2] == b"zz"):
        given = changed(given, at, b"\xffz")
    safe, unreadable = safe_records(given)
    assert unreadable == []
    found = list(DefaultRecordBatch(safe))
    assert [record.value for record in found] == [b"one", b"two"]
    assert found[0].headers == [("?z", b"v"), ("n", None)]


def test_answer_is_cut_where_it_unpacks_to_more_than_a_reader_holds():
    large = [batch(4, b"a" * (3 * MIB), base=n) for n in range(5)]
    safe, unreadable = safe_records(b"".join(large))
    assert [offset for offset, _ in records(safe)] == [0, 1]
    assert len(safe) <= MAX_ANSWER_BYTES
    assert unreadable == []


@given(st.binary(max_size=300), st.integers(0, 7), st.integers(-5, 5))
@example(b"", 0, -1)
@example(b"\x02\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", 0, 1)  # a key of 2^62 bytes
def test_no_bytes_at_all_make_it_fail(inner: bytes, codec: int, count: int):
    given = batch(0, b"x")[:HEAD] + inner
    given = changed(given, 8, (HEAD - 12 + len(inner)).to_bytes(4), checked=False)
    given = changed(given, 57, count.to_bytes(4, signed=True), checked=False)
    safe, unreadable = safe_records(changed(given, 21, codec.to_bytes(2)))
    assert len(list(records(safe))) == max(1, len(unreadable)) or count == 0
