"""Check that the versions of every stream follow each other, in memory that does not grow.

A log has as many streams as people and cases. Whoever reads a stretch of it keeps, of each
stream in there, the first version, the last, and where it began; these runs go to buckets on
disk by a digest of the stream's name. A bucket is small, and is checked alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from struct import Struct
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple, Self

_RUN = Struct(">16sIIQ")
_ENTRIES_PER_BUCKET = 1 << 18
_MAX_BUCKETS = 256
_IN_MEMORY = 1 << 18


class Gap(NamedTuple):
    """Entry ``at`` has a version that does not follow the ``last`` one of its stream."""

    at: int
    version: int
    last: int


class Runs:
    """The versions seen in a stretch of the log, stream by stream.

    ``from_start``: the log is read from its first entry, so a stream begins with version 1.
    """

    def __init__(self, from_start: bool) -> None:
        self._from_start = from_start
        self._runs: dict[str, list[int]] = {}

    def follow(self, start: int, entries: Iterable[tuple[str, int]]) -> Gap | None:
        """Take in the entries from an index on: of which stream, which version.

        Returns the first gap, if this stretch shows one.
        """
        runs = self._runs
        for at, (stream, version) in enumerate(entries, start):
            run = runs.get(stream)
            if run is None:
                runs[stream] = [version, version, at]
            elif version == run[1] + 1:
                run[1] = version
            else:
                return Gap(at, version, run[1])
        return None

    def packed(self, buckets: int) -> list[bytes]:
        """The runs, for each bucket."""
        packed = [bytearray() for _ in range(buckets)]
        for stream, (first, last, at) in self._runs.items():
            digest = sha256(stream.encode()).digest()[:16]
            packed[digest[0] % buckets] += _RUN.pack(digest, first, last, at)
        return [bytes(bucket) for bucket in packed]


def bucket_count(entries: int) -> int:
    """Into how many buckets the runs of a log go, so that each of them is small."""
    return max(1, min(_MAX_BUCKETS, entries // _ENTRIES_PER_BUCKET))


class Buckets:
    """Runs of consecutive stretches, on disk where they are many."""

    def __init__(self, count: int) -> None:
        self._files = ExitStack()
        self._buckets: list[IO[bytes]] = [
            self._files.enter_context(SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
            for _ in range(count)
        ]

    def __enter__(self) -> Self:
        """The buckets; ``with`` removes them in the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what stands on disk."""
        self._files.close()

    def add(self, packed: Sequence[bytes]) -> None:
        """Take in the next stretch's runs."""
        for bucket, runs in zip(self._buckets, packed, strict=True):
            bucket.write(runs)

    def __iter__(self) -> Iterator[bytes]:
        """The runs of each bucket, in the order of the log."""
        for bucket in self._buckets:
            bucket.seek(0)
            yield bucket.read()


def first_gap(runs: bytes, from_start: bool) -> Gap | None:
    """The first run of a bucket that does not follow the one before it, in log order."""
    last: dict[bytes, int] = {}
    for stream, begins, ends, at in _RUN.iter_unpack(runs):
        before = last.get(stream, 0 if from_start else begins - 1)
        if begins != before + 1:
            return Gap(at, begins, before)
        last[stream] = ends
    return None


def earliest(gaps: Iterable[Gap | None]) -> Gap | None:
    """The gap at the lowest index."""
    return min((gap for gap in gaps if gap), default=None)
