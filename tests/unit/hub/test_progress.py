"""Long work says how far it is: off a terminal in plain lines, now and then."""

import pytest

from services.hub import terminal
from services.hub.terminal import PLAIN_SECONDS, ProgressBar


class Time:
    """A clock that is moved by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(terminal, "time", time)
    return time


def test_plain_lines_tell_rate_and_what_is_left(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("checked") as meter:
        meter(1000, 50_000)  # there from an earlier run: no part of the rate
        time.now += PLAIN_SECONDS
        meter(11_000, 50_000)
    assert capsys.readouterr().err == "  checked: 11,000 of 50,000, 2,000/s, 20 s left\n"


def test_nothing_is_said_of_short_work_or_where_it_is_not_wanted(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("checked") as meter:
        meter(0, 5)
        time.now += PLAIN_SECONDS / 2
        meter(5, 5)
    with ProgressBar("checked", shown=False) as meter:
        meter(0, 5)
        time.now += 10 * PLAIN_SECONDS
        meter(5, 5)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with ProgressBar("checked") as meter:
        meter(1, 2)
        assert meter._bar is not None
        (task,) = meter._bar.tasks
        assert (task.completed, task.total, task.description) == (1, 2, "checked")
