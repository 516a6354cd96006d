"""What the system refuses is told with what to do about it, and where."""

import errno

import pytest

from services.hub.terminal import repair_of


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "another --port"),
        (errno.EADDRNOTAVAIL, "another --host"),
        (errno.ENOSPC, "the disk is full (/data/log): free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "a --data that may be written"),
        (errno.EACCES, "the user lacks the right (/data/log)"),
        (errno.EPERM, "run it as the hub's owner"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "aiguillage doctor"),
    ],
)
def test_what_the_system_refuses_names_its_repair(number: int, words: str):
    assert words in repair_of(OSError(number, "no", "/data/log"))
