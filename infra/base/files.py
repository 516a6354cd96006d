"""Files that are there whole or not at all, also after a crash or a power cut."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.base.repairable import Repairable

SECRET_BYTES = 32


class AlreadyRunningError(Repairable):
    """Another process runs on the data directory."""

    repair = "stop it first, or give another --data"


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that readers see what was there before, or all of ``data``.

    When this returns, the data and the name are on disk. Directories are made as needed. Only
    one writer at a time may write to one path (`locked`, `in_turn`).
    """
    make_directory(path.parent)
    draft = path.with_name(f".{path.name}.part")  # one a crash left is written over
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, each durably."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_or_create_secret(path: Path) -> bytes:
    """32 random bytes in a file with mode 0600, the same for whoever comes first or later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # atomic, and keeps the key of whoever came first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        sync_directory(path.parent)  # what is wrapped must not outlive the key's name
    return path.read_bytes()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, or raise ``AlreadyRunningError`` where another process does.

    A killed process leaves no lock behind.
    """
    with _lock_file(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunningError(f"another process runs on {path.parent}") from error
        yield


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for whoever holds it: for changes that take a moment."""
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def using(path: Path) -> Iterator[Callable[[], bool]]:
    """Hold a file with others, until the end or until one asks: was I the last who held it?

    Whoever was the last holds it alone from then on. A killed process lets go of it.
    """
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_SH)

        def last() -> bool:
            fcntl.flock(file, fcntl.LOCK_UN)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        yield last


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # touched by nobody who only asks
    try:
        yield descriptor
    finally:
        os.close(descriptor)
