"""Failures are counted by address, in bounded memory, and cost nobody else anything."""

import asyncio

import pytest

from infra.web import throttle
from infra.web.problems import Problem
from infra.web.throttle import Failures


def fail(failures: Failures, address: str, times: int = throttle.BURST) -> None:
    for _ in range(times):
        failures.failed(address)


def test_the_failure_after_the_last_one_is_told_how_long_to_wait():
    failures = Failures()
    fail(failures, "192.0.2.1")
    with pytest.raises(Problem) as refused:
        failures.failed("192.0.2.1")
    assert (refused.value.status, refused.value.slug) == (429, "too-many-failures")
    assert 1 <= int(refused.value.headers["retry-after"]) <= throttle.EVERY_SECONDS
    failures.failed("192.0.2.2")


def test_failures_leak_away(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    failures = Failures()
    fail(failures, "192.0.2.1")
    now += throttle.EVERY_SECONDS
    failures.failed("192.0.2.1")
    with pytest.raises(Problem):
        failures.failed("192.0.2.1")


def test_one_subscriber_of_ipv6_is_one_address():
    failures = Failures()
    fail(failures, "2001:db8:1:2::1")
    with pytest.raises(Problem):
        failures.failed("2001:db8:1:2:ffff::9")
    failures.failed("2001:db8:1:3::1")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(throttle, "ADDRESSES", 3)
    failures = Failures()
    for n in range(10):
        failures.failed(f"192.0.2.{n}")
    assert list(failures._full) == ["192.0.2.7", "192.0.2.8", "192.0.2.9"]


async def test_attempts_of_an_address_that_failed_often_take_turns():
    failures, running, most = Failures(), 0, 0

    async def attempt(address: str) -> None:
        nonlocal running, most
        async with failures.attempt(address):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    fail(failures, "192.0.2.1")
    await asyncio.gather(*(attempt("192.0.2.1") for _ in range(9)))
    assert most == 1
    await asyncio.gather(*(attempt("192.0.2.2") for _ in range(9)))
    assert most == 9
