"""Sources are compared by what they mean, not by how they are spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.sources import covers, normal_source
from infra.web.auth import Principal


@pytest.mark.parametrize(
    ("source", "normal"),
    [
        ("https://a.example/b", "https://a.example/b"),
        ("HTTPS://A.Example:443/b", "https://a.example/b"),
        ("http://a.example:80", "http://a.example/"),
        ("https://a.example:8443/b", "https://a.example:8443/b"),
        ("https://a.example:/b", "https://a.example/b"),
        ("https://[2001:DB8::1]:443/b", "https://[2001:db8::1]/b"),
        ("https://User@A.example/b", "https://User@a.example/b"),
        ("https://a.example/a/../b/./x", "https://a.example/b/x"),
        ("https://a.example/a/%2e%2E/b/x", "https://a.example/b/x"),
        ("https://a.example/../../x", "https://a.example/x"),
        ("https://a.example/a/..", "https://a.example/"),
        ("https://a.example/%7eb/%c3%a9", "https://a.example/~b/%C3%A9"),
        ("https://a.example/é", "https://a.example/%C3%A9"),
        ("https://a.example/e\u0301", "https://a.example/%C3%A9"),
        ("https://a.example/a%2F..%2Fb", "https://a.example/a%2F..%2Fb"),
        ("URN:Library:Desk-1", "urn:library:Desk-1"),
        ("/systems/a/../b", "/systems/b"),
        ("systems/./b?x=%41#F", "systems/b?x=A#F"),
    ],
)
def test_source_has_one_spelling(source: str, normal: str):
    assert normal_source(source) == normal


@given(
    st.text(min_size=1, max_size=40) | st.from_regex(r"[a-z:/.%2eE?#@]{1,40}", fullmatch=True)
)
def test_one_spelling_is_its_own(source: str):
    assert normal_source(normal_source(source)) == normal_source(source)


@pytest.mark.parametrize(
    ("allowed", "source", "covered"),
    [
        ("*", "https://anything", True),
        ("https://a.example/a", "https://A.example/a", True),
        ("https://a.example/a", "https://a.example/a/", False),
        ("https://a.example/a/*", "https://a.example/a/x", True),
        ("https://a.example/a/*", "https://a.example/a/../b/x", False),
        ("https://a.example/a/*", "https://a.example/a/%2e%2e/b/x", False),
        ("https://a.example/a/*", "https://a.example/b/../a/x", True),
        ("https://A.example:443/a/*", "https://a.example/a/x", True),
        ("https://a.example/*", "https://a.example.evil/x", False),
        ("https://a.example/*", "https://a.example@evil/x", False),
        ("https://a.example/*", "https://a.example/", True),
        ("urn:ville/*", "urn:ville/../other", False),
    ],
)
def test_key_speaks_for_what_its_scope_means(allowed: str, source: str, covered: bool):
    assert covers(allowed, source) is covered
    assert Principal("a", "municipal", (allowed,)).may_emit(source) is covered
