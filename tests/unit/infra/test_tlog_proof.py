"""Proof files: written, read back, believed only where everything holds."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.tlog.merkle import ProofError
from infra.tlog.policy import Policy
from infra.tlog.proof import MAX_BYTES, Proof
from tests.support.tlog import ENTRIES, LOG, ORIGIN, inclusion, note_at, witness_key

W = witness_key(1)
LOG_ONLY = Policy.of_logs([LOG.vkey])
WITNESSED = Policy.parse(
    f"log {LOG.vkey.encode()}\nwitness w {W.vkey.encode()}\nquorum w\n".encode()
)


def proof(index: int = 5, size: int = 8) -> Proof:
    return Proof(index, inclusion(index, size), note_at(size, W), ENTRIES[index])


def test_the_file_is_laid_out_as_the_specification_says() -> None:
    hashes = "".join(f"{base64.b64encode(value).decode()}\n" for value in inclusion(5, 8))
    extra = base64.b64encode(ENTRIES[5]).decode()
    assert proof().format() == (
        f"c2sp.org/tlog-proof@v1\nextra {extra}\nindex 5\n{hashes}\n".encode() + note_at(8, W)
    )
    assert Proof(0, [], note_at(1)).format() == (
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note_at(1)
    )


@settings(max_examples=40)
@given(st.integers(1, 400), st.data())
def test_any_entry_of_any_size_comes_back_and_is_believed(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    made = proof(index, size)
    read = Proof.parse(made.format())
    assert read == made
    assert read.check(ENTRIES[index], WITNESSED) == (
        f"entry {index} of {size} in {ORIGIN}: signed by the log, cosigned by w"
    )


def test_another_entry_is_not_believed() -> None:
    with pytest.raises(ProofError, match="lead to the root"):
        proof().check(ENTRIES[6], LOG_ONLY)


def test_a_checkpoint_that_the_policy_refuses_proves_nothing() -> None:
    bare = Proof(5, inclusion(5, 8), note_at(8))
    assert bare.check(ENTRIES[5], LOG_ONLY)
    with pytest.raises(ProofError, match="does not count: no cosignature of w"):
        bare.check(ENTRIES[5], WITNESSED)
    with pytest.raises(ProofError, match="no log of that origin"):
        bare.check(ENTRIES[5], Policy.of_logs([]))


@settings(max_examples=300)
@given(st.integers(0, 8 * len(proof().format()) - 1))
def test_no_single_bit_of_the_evidence_can_change(bit: int) -> None:
    whole = proof().format()
    changed = (int.from_bytes(whole, "little") ^ 1 << bit).to_bytes(len(whole), "little")
    line = whole[: bit // 8].count(b"\n")
    try:
        read = Proof.parse(changed)
        read.check(ENTRIES[5], WITNESSED)
    except ProofError:
        return
    # The extra line is no evidence: whoever uses it as the entry is refused by its hash.
    assert line == 1
    assert read.extra != ENTRIES[5]
    with pytest.raises(ProofError):
        read.check(read.extra or b"", WITNESSED)


NOTE = note_at(8).decode()
HASH = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1",
        f"c2sp.org/tlog-proof@v1\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v2\nindex 5\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 05\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex -5\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex \u0665\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 5\nextra AAAA\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nextra A\nindex 5\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nextra AAAA\nextra AAAA\nindex 5\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 5\nAAAA\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 5\n{HASH} \n\n{NOTE}",
        "c2sp.org/tlog-proof@v1\nindex 5\n" + f"{HASH}\n" * 64 + f"\n{NOTE}",
        "x" * (MAX_BYTES + 1),
        "c2sp.org/tlog-proof@v1\nindex 5\n\udcff\n",
    ],
)
def test_a_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        Proof.parse(text.encode(errors="surrogateescape"))
