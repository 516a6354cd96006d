"""The NIR is found wherever it hides, and what is no NIR is left alone."""

import tracemalloc
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.checks.nir import MAX_NAME, MAX_PATH, find_nir, is_nir, may_hold_nir
from contracts.public import PUBLIC_TYPES
from contracts.tools.examples import example as public_example

GAPS = ["", " ", ".", "-", "\u00a0", "\u202f", "  ", "\u2011", " - "[:2]]


@st.composite
def nirs(draw: st.DrawFn) -> str:
    """A NIR as INSEE forms it, with its key or without."""
    months = [*range(1, 13), *range(20, 43), *range(50, 100)]
    departement = draw(
        st.integers(1, 99).map("{:02d}".format) | st.sampled_from(["2A", "2B", "2a", "2b"])
    )
    body = (
        draw(st.sampled_from("123478"))
        + f"{draw(st.integers(0, 99)):02d}{draw(st.sampled_from(months)):02d}{departement}"
        + f"{draw(st.integers(0, 999)):03d}{draw(st.integers(0, 999)):03d}"
    )
    return body + draw(st.just("") | st.just(key_of(body)))


def key_of(body: str) -> str:
    upper = body.upper()
    number = int(upper.replace("2A", "19").replace("2B", "18"))
    return f"{97 - number % 97:02d}"


@st.composite
def spaced(draw: st.DrawFn) -> str:
    """A NIR with gaps between any two digits (Corsica's letter stays with its 2)."""
    nir, gap = draw(nirs()), draw(st.sampled_from(GAPS))
    cuts = draw(st.sets(st.integers(1, len(nir) - 1)))
    letters = "ABab"
    return "".join(
        (gap if n in cuts and char not in letters else "") + char for n, char in enumerate(nir)
    )


words = st.text(st.characters(categories=["L", "P", "Zs"]), max_size=12).filter(
    lambda t: not t.endswith("+") and t[-1:].lower() not in "abcdef"
)


@given(spaced())
@example("2 69 05 49 588 157 80")
@example("1 85 03 2A 606 123 45")
@example("185.03.2b.606.123")
def test_nir_is_found_alone(nir: str):
    assert is_nir(nir)


@given(words, spaced(), words.filter(lambda t: t[:1].lower() not in "abcdef"))
@example("né le 12.03.1985, ", "1850359606123", " merci")
@example("NIR", "185035960612345", "")
def test_nir_is_found_inside_a_text(before: str, nir: str, after: str):
    assert is_nir(f"{before} {nir} {after}")


@given(nirs().filter(str.isdigit))
def test_nir_is_found_as_a_number(nir: str):
    assert is_nir(int(nir))
    assert is_nir(float(nir))
    assert is_nir(-int(nir))


json_values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(json_values, spaced(), st.lists(st.sampled_from("abc") | st.integers(0, 2), max_size=6))
def test_nir_is_found_at_any_depth_and_named_by_its_place(
    beside: Any, nir: str, path: list[str | int]
):
    value: Any = nir
    for step in reversed(path):
        value = {step: value, "z": beside} if isinstance(step, str) else [None] * step + [value]
    assert find_nir(value) == ".".join(map(str, path))


@given(spaced())
def test_nir_as_a_name_is_not_repeated(nir: str):
    assert find_nir({"a": [{nir: 1}]}) == "a.0.*"


@given(json_values, spaced() | nirs().filter(str.isdigit).map(int), st.booleans())
@example({}, 2.69054958815780e14, True)
def test_quick_look_never_misses_what_the_long_look_finds(beside: Any, nir: Any, ascii: bool):
    import json

    for value in ([beside, nir], {"a": beside, "b": {"c": nir}}, {str(nir): beside}):
        assert find_nir(value) is not None
        assert may_hold_nir(json.dumps(value, ensure_ascii=ascii).encode())
        assert may_hold_nir(orjson.dumps(value))


def test_quick_look_sees_exponents_escapes_and_other_digits():
    for body in (
        b'{"a":2.69054958815780E14}',
        b"[26905495881578e1]",
        b'{"a":"269\\u003054958815780"}',
        '{"a":"٢٦٩٠٥٤٩٥٨٨١٥٧"}'.encode(),
        '{"a":"２６９０５４９５８８１５７"}'.encode(),
    ):
        assert may_hold_nir(body)
        assert find_nir(orjson.loads(body)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "06 12 34 56 78", "+33 6 12 34 56 78", "+33612345678", "0033612345678",
        "06 12 34 56 78 / 07 11 22 33 44", "06.12.34.56.78, 03.27.11.22.33",
        "552 100 554 00013", "55210055400013", "552100554", "1234567890A", "12345678901",
        "2026-11-23T12:30:45.123456Z", "2026-11-23", "59459", "usager-000000000123",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "12345678-1234-1234-1234-123456789012", "urn:uuid:3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "65a1f2e4b7c8d90123456789", "269 rue du 12 avril 1985", "FR76 3000 6000 0112",
    ],
)  # fmt: skip
def test_phones_companies_dates_and_identifiers_are_left_alone(text: str):
    assert not is_nir(text)
    assert find_nir({"a": [text]}) is None


@given(st.sampled_from(["0", "+33", "+33 ", "0033"]), st.integers(10**8, 10**9 - 1))
def test_phone_numbers_are_left_alone(prefix: str, number: int):
    digits = str(number)
    grouped = " ".join([digits[0], *(digits[n : n + 2] for n in range(1, 9, 2))])
    assert not is_nir(prefix + digits)
    assert not is_nir(prefix + grouped)


@given(st.integers(10**13, 10**14 - 1))
def test_siret_is_left_alone(number: int):
    assert not is_nir(number)
    assert not is_nir(str(number))


def test_random_uuids_are_left_alone():
    for _ in range(2000):
        unique = uuid4()
        assert not is_nir(str(unique))
        assert not is_nir(unique.hex)
        assert not is_nir(f"urn:uuid:{unique}")


@pytest.mark.parametrize("value", [None, True, 0, 1.5, 1e300, float("1e15"), 10**40, ""])
def test_other_values_are_left_alone(value: Any):
    assert not is_nir(value)


def test_examples_hold_none():
    for event_type in PUBLIC_TYPES:
        for _ in range(50):
            assert find_nir(public_example(event_type)) is None


def test_very_deep_json_is_walked():
    value: Any = "1850359606123"
    for _ in range(1000):
        value = [value]
    assert find_nir(value) == ".".join(["0"] * 1000)[:MAX_PATH] + "…"


def test_name_that_a_stranger_chose_is_cut_in_the_answer():
    assert find_nir({"n" * 100_000: "1850359606123"}) == "n" * MAX_NAME + "…"


def test_long_names_with_many_values_cost_no_more_than_their_bytes():
    """130 KB of JSON once took 1.4 GiB: the whole path was written for every child."""
    value: Any = {f"{n}": 0 for n in range(8000)}
    for _ in range(20):
        value = {"n" * 3000: value}
    tracemalloc.start()
    try:
        assert find_nir(value) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(orjson.dumps(value))


@given(
    st.integers(10**12, 10**13 - 1),  # 2001 to 2286
    st.sampled_from(["{}", "u-{}", "{}.contact", "urn:uuid:{}"]),
)
@example(1_769_900_400_000, "{}")
def test_clock_of_milliseconds_is_an_id(clock: int, form: str):
    assert find_nir({"id": form.format(clock), "data": {"person": {"ref": f"{clock}"}}}) is None


@given(st.integers(0, 2**128 - 1), st.text("abcdefghijklmnopqrstuvwxyz", max_size=4))
@example(0x663F7F4FDBD841969920027605AAA043, "r")
def test_hexadecimal_with_letters_before_it_is_an_id(number: int, letters: str):
    text = f"{letters}{number:032x}"
    assert find_nir({"id": text, "source": text, "data": {"person": {"ref": text}}}) is None


def test_hexadecimal_with_a_letter_before_it_is_left_alone_in_any_text():
    assert not is_nir("r663f7f4fdbd841969920027605aaa043")
    assert is_nir("NIRC269054958815780")
    assert is_nir("NIR269052A588157")


@given(nirs().filter(lambda nir: len(nir) == 15), st.sampled_from(["{}", "usager {}", "u-{}"]))
def test_nir_with_its_key_is_found_in_a_reference(nir: str, form: str):
    assert find_nir({"data": {"person": {"ref": form.format(nir)}}}) == "data.person.ref"


@given(nirs().filter(lambda nir: len(nir) == 15))
def test_reference_whose_key_is_wrong_is_no_nir(nir: str):
    wrong = f"{nir[:-2]}{(int(nir[-2:]) % 97) + 1:02d}"
    assert find_nir({"id": wrong}) is None
    assert find_nir({"note": wrong}) == "note"
