"""Policies: what a file says, and which checkpoints it accepts."""

import contextlib
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.tlog.note import COSIGNATURE, ML_DSA_44, Signer, VKey
from infra.tlog.policy import MAX_BYTES, MAX_LINES, Party, Policy, PolicyError
from infra.tlog.signers import Cosigner
from tests.support.tlog import LOG, NOW, ORIGIN, checkpoint, note_at, signed, witness_key

W = [witness_key(number) for number in range(6)]
QUANTUM = witness_key(7, ML_DSA_44)
LINES = [f"witness {name} {key.vkey.encode()}" for name, key in zip("abcdef", W, strict=True)]
LOG_LINE = f"log {LOG.vkey.encode()}"


def policy(*lines: str) -> Policy:
    return Policy.parse("".join(f"{line}\n" for line in lines).encode())


def of(quorum: str, *more: str) -> Policy:
    return policy(LOG_LINE, *LINES, *more, f"quorum {quorum}")


TWO_LEVELS = of(
    "x-and-y", "group x 2 a b c", "group y any d e f", "group x-and-y all x y"
)  # fmt: skip


def test_the_two_level_example_of_the_specification_counts_as_it_says() -> None:
    for count in range(7):
        for chosen in combinations(range(6), count):
            enough = sum(n < 3 for n in chosen) >= 2 and any(n >= 3 for n in chosen)
            assessment = TWO_LEVELS.assess(note_at(9, *(W[n] for n in chosen)))
            assert assessment.met is enough, str(assessment)
            assert assessment.cosigned_by == tuple("abcdef"[n] for n in chosen)
            assert assessment.checkpoint == checkpoint(9)


def test_what_is_missing_is_said_name_by_name() -> None:
    assert str(TWO_LEVELS.assess(note_at(9, W[0]))) == (
        "not met: x-and-y has 0 of the 2 it needs (x has 1 of the 2 it needs "
        "(no cosignature of b; no cosignature of c); y has 0 of the 1 it needs "
        "(no cosignature of d; no cosignature of e; no cosignature of f))"
    )
    assert str(TWO_LEVELS.assess(note_at(9, W[0], W[2], W[4]))) == (
        "met: signed by the log, cosigned by a, c, e"
    )


@settings(max_examples=60)
@given(st.integers(1, 6), st.sets(st.integers(0, 5)))
def test_n_of_m_is_met_by_n_and_by_no_less(least: int, chosen: set[int]) -> None:
    found = of("g", f"group g {least} a b c d e f").assess(note_at(9, *(W[n] for n in chosen)))
    assert found.met is (len(chosen) >= least)


def test_one_witness_may_be_the_quorum() -> None:
    assert of("b").assess(note_at(9, W[1])).met
    assert of("b").assess(note_at(9, W[0])).reason == "no cosignature of b"


def test_without_a_quorum_the_log_alone_suffices() -> None:
    assert of("none").assess(note_at(9)).met
    assert Policy.of_logs([LOG.vkey]).assess(note_at(9)).met


def test_a_witness_of_the_post_quantum_kind_counts_alike() -> None:
    mixed = policy(LOG_LINE, LINES[0], f"witness q {QUANTUM.vkey.encode()}",
                   "group both all a q", "quorum both")  # fmt: skip
    assert mixed.assess(note_at(9, W[0], QUANTUM)).met
    assert not mixed.assess(note_at(9, W[0])).met


def test_one_witness_that_cosigned_twice_counts_once() -> None:
    later = Cosigner(W[0].vkey.name, (0).to_bytes(32, "big"), COSIGNATURE, lambda: NOW)
    assert not of("g", "group g 2 a b").assess(note_at(9, W[0], later)).met


def test_a_stranger_s_cosignature_neither_helps_nor_harms() -> None:
    assert not of("a").assess(note_at(9, witness_key(99))).met
    assert of("a").assess(note_at(9, witness_key(99), W[0])).met


def test_one_wrong_cosignature_of_a_known_witness_refuses_the_checkpoint() -> None:
    stolen = W[1].signature(checkpoint(8).body()).line().encode()
    found = of("a").assess(note_at(9, W[0]) + stolen)
    assert (found.met, found.checkpoint) == (False, None)
    assert found.reason == "the signature of town1.example/witness is wrong"


def test_cosignatures_without_the_log_s_own_signature_count_for_nothing() -> None:
    text = checkpoint(9).body()
    assert "no known key of the log" in of("a").assess(signed(text, W[0])).reason
    forged = signed(text, Signer(ORIGIN, bytes(32)), W[0])
    assert "no known key of the log" in of("a").assess(forged).reason


def test_a_log_s_key_vouches_for_its_own_origin_only() -> None:
    text = checkpoint(9, origin="another.example/log").body()
    assert "no log of that origin" in of("none").assess(signed(text, LOG)).reason


def test_any_of_a_log_s_keys_will_do_while_they_change() -> None:
    new = Signer(ORIGIN, bytes(32))
    both = Policy.of_logs([LOG.vkey, new.vkey])
    text = checkpoint(9).body()
    assert all(both.assess(signed(text, *ks)).met for ks in ([LOG], [new], [LOG, new]))
    assert of("none").with_logs([new.vkey, LOG.vkey]).assess(signed(text, new)).met
    assert len(of("none").with_logs([new.vkey, LOG.vkey]).logs) == 2


def test_nonsense_is_not_met_and_says_why() -> None:
    assert "not UTF-8" in of("none").assess(b"\xff").reason
    assert "no signature" in of("none").assess(b"text\n").reason


def test_comments_blanks_tabs_addresses_and_octets_are_read() -> None:
    text = (
        b" \t\n# comment \xff\n\t  # more\n"
        + f"\tlog\t {LOG.vkey.encode()}  https://log.example/ \n".encode()
        + b"witness M\xc3\xa9l\xff " + W[0].vkey.encode().encode() + b" https://w.example\n"
        + b"group g any M\xc3\xa9l\xff\nquorum g\n"
    )  # fmt: skip
    read = Policy.parse(text)
    assert read.logs == [Party(LOG.vkey, "https://log.example/")]
    assert read.witnesses == {b"M\xc3\xa9l\xff": Party(W[0].vkey, "https://w.example")}
    assert read.assess(note_at(9, W[0])).met


def test_names_that_only_look_alike_are_two_names() -> None:
    with pytest.raises(PolicyError, match="not defined"):
        policy(f"witness K {W[0].vkey.encode()}", "quorum \u212a")


def test_thirty_two_of_each_are_read() -> None:
    keys = [witness_key(100 + number).vkey.encode() for number in range(32)]
    logs = [Signer(f"log{n}.example", n.to_bytes(32, "big")).vkey for n in range(32)]
    lines = [f"log {vkey.encode()}" for vkey in logs]
    lines += [f"witness w{n} {key}" for n, key in enumerate(keys)]
    lines += [f"group g{n} any w{n}" for n in range(31)]
    lines += ["group all all " + " ".join(f"g{n}" for n in range(31)), "quorum all"]
    assert len(policy(*lines).groups) == 32


ALIAS = VKey("another-name.example", W[0].vkey.public, COSIGNATURE).encode()
WRONG = [
    (["# nothing"], "there is no quorum line"),
    (["quorum none", "quorum none"], "line 2: there is a second quorum"),
    (["quorum a"], "line 1: a is not defined above"),
    (["quorum a", LINES[0]], "line 1: a is not defined above"),
    (["quorum"], "line 1: a quorum line reads"),
    (["quorum none none"], "line 1: a quorum line reads"),
    (["wittness a x"], "line 1: a line begins with"),
    (["Quorum none"], "line 1: a line begins with"),
    (["log"], "line 1: a log line reads"),
    ([f"{LOG_LINE} url more"], "line 1: a log line reads"),
    (["log nonsense"], "line 1: a verifier key reads"),
    ([f"log {W[0].vkey.encode()}"], "line 1: the key of a log is not of the kind"),
    ([LOG_LINE, LOG_LINE], "line 2: two lines give one log key"),
    (["witness a"], "line 1: a witness line reads"),
    ([f"{LINES[0]} url more"], "line 1: a witness line reads"),
    ([f"witness a {LOG.vkey.encode()}"], "line 1: the key of a witness is not of the kind"),
    ([f"witness none {W[0].vkey.encode()}"], "line 1: the name none is taken"),
    ([LINES[0], f"witness a {W[1].vkey.encode()}"], "line 2: a is defined twice"),
    ([LINES[0], f"witness b {ALIAS}"], "line 2: two lines give one witness key"),
    ([*LINES, "group a any b"], "line 7: a is defined twice"),
    ([*LINES, "group none any b"], "line 7: the name none is taken"),
    ([*LINES, "group g any"], "line 7: a group line reads"),
    ([*LINES, "group g some a"], "line 7: how many is all, any, or a number"),
    ([*LINES, "group g 0 a"], "line 7: how many is"),
    ([*LINES, "group g 01 a"], "line 7: how many is"),
    ([*LINES, "group g -1 a"], "line 7: how many is"),
    ([*LINES, "group g 3 a b"], "line 7: 3 of 2 members cannot be"),
    ([*LINES, "group g any none"], "line 7: none is no member"),
    ([*LINES, "group g any z"], "line 7: z is not defined above"),
    ([*LINES, "group g any g"], "line 7: g is not defined above"),
    ([*LINES, "group g any h", "group h any g"], "line 7: h is not defined above"),
    ([*LINES, "group g 2 a a"], "line 7: a is a member twice"),
    ([*LINES, "group g any a", "group h any a"], "line 8: a is a member twice"),
    (["quorum none\x00"], "control characters"),
    (["quorum none\r"], "control characters"),
    (["quorum none\x7f"], "control characters"),
    (["#"] * (MAX_LINES + 1), "at most"),
    (["#" * MAX_BYTES], "at most"),
]


@pytest.mark.parametrize(("lines", "why"), WRONG, ids=[why for _, why in WRONG])
def test_a_policy_that_cannot_be_followed_is_refused_with_its_line(
    lines: list[str], why: str
) -> None:
    with pytest.raises(PolicyError, match=why):
        policy(*lines)


def test_a_file_cut_off_in_its_last_line_is_refused() -> None:
    whole = f"{LINES[0]}\ngroup ab any a\nquorum ab\n".encode()
    assert Policy.parse(whole).quorum == b"ab"
    for end in (whole[:-1], whole[:-2], b""):
        with pytest.raises(PolicyError, match="no end"):
            Policy.parse(end)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_a_policy_error(data: bytes) -> None:
    with contextlib.suppress(PolicyError):
        Policy.parse(data)
