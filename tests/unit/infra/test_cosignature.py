"""Timestamped signatures of checkpoints, by hand after the layout of tlog-cosignature."""

import base64
import struct
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.tlog import cosignature, note
from infra.tlog.note import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    Checkpoint,
    Note,
    NoteError,
    Signature,
    Signer,
    VKey,
)
from infra.tlog.signers import Cosigner, signer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ORIGIN = "hub.example/log"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
TEXT = CHECKPOINT.body()
HUB = Signer(ORIGIN, bytes(range(32)))
SEED = bytes(range(1, 33))
KINDS = [COSIGNATURE, ML_DSA_44]
NAMES = {COSIGNATURE: "ed25519", ML_DSA_44: "ml-dsa"}


def cosigner(kind: int, name: str = "town.example/witness") -> Cosigner:
    return Cosigner(name, SEED, kind, lambda: NOW)


def blob(signature: Signature) -> bytes:
    """What stands in base64 at the end of a signature line."""
    return base64.b64decode(signature.line().split(" ")[2])


def noted(*signatures: Signature, text: str = TEXT) -> bytes:
    return Note(text, (HUB.signature(text), *signatures)).format()


def test_an_ed25519_cosignature_is_over_header_time_and_the_whole_text() -> None:
    made = cosigner(COSIGNATURE)
    raw = blob(made.signature(TEXT + "an extension\n"))
    public = made.vkey.public
    assert raw[:4] == sha256(b"town.example/witness\n\x04" + public).digest()[:4]
    (time,) = struct.unpack(">Q", raw[4:12])
    assert time == SECONDS
    message = f"cosignature/v1\ntime {SECONDS}\n{TEXT}an extension\n".encode()
    Ed25519PublicKey.from_public_bytes(public).verify(raw[12:], message)


def test_an_ml_dsa_cosignature_is_over_names_time_and_tree_alone() -> None:
    made = cosigner(ML_DSA_44)
    raw = blob(made.signature(TEXT + "an extension\n"))
    public = made.vkey.public
    assert (len(public), len(raw)) == (1312, 4 + 8 + 2420)
    assert raw[:4] == sha256(b"town.example/witness\n\x06" + public).digest()[:4]
    message = (
        b"subtree/v1\n\x00" + b"\x14town.example/witness" + struct.pack(">Q", SECONDS)
        + b"\x0fhub.example/log" + struct.pack(">QQ", 0, 7) + bytes(range(32))
    )  # fmt: skip
    MLDSA44PublicKey.from_public_bytes(public).verify(raw[12:], message)


@pytest.mark.parametrize("kind", KINDS, ids=NAMES.get)
def test_a_cosignature_verifies_beside_the_log_s_own(kind: int) -> None:
    made = cosigner(kind)
    whole = noted(made.signature(TEXT))
    assert note.open_checkpoint(whole, [HUB.vkey, made.vkey], ORIGIN) == CHECKPOINT
    assert note.open_checkpoint(whole, [HUB.vkey], ORIGIN) == CHECKPOINT
    assert note.open_checkpoint(whole, [made.vkey], ORIGIN) == CHECKPOINT


def test_a_log_may_sign_twice_with_two_kinds_of_keys() -> None:
    second = Cosigner(ORIGIN, SEED, ML_DSA_44, lambda: NOW)
    whole = noted(second.signature(TEXT))
    for keys in ([HUB.vkey], [second.vkey], [HUB.vkey, second.vkey]):
        assert note.open_checkpoint(whole, keys, ORIGIN) == CHECKPOINT
    wrong = noted(second.signature(Checkpoint(ORIGIN, 8, bytes(32)).body()))
    assert note.open_checkpoint(wrong, [HUB.vkey], ORIGIN) == CHECKPOINT
    with pytest.raises(NoteError, match=r"hub\.example/log is wrong"):
        note.open_checkpoint(wrong, [HUB.vkey, second.vkey], ORIGIN)


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.data())
def test_no_single_bit_of_a_cosignature_can_change(kind: int, data: st.DataObject) -> None:
    made = cosigner(kind)
    value = made.signature(TEXT).value
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    changed = (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")
    with pytest.raises(NoteError, match="is wrong"):
        made.vkey.check(TEXT, Signature(made.vkey.name, made.vkey.key_id, changed))


@pytest.mark.parametrize("kind", KINDS, ids=NAMES.get)
@pytest.mark.parametrize(
    "other",
    [
        Checkpoint("another/log", 7, CHECKPOINT.root),
        Checkpoint(ORIGIN, 8, CHECKPOINT.root),
        Checkpoint(ORIGIN, 7, bytes(32)),
    ],
)
def test_a_cosignature_serves_no_other_checkpoint(kind: int, other: Checkpoint) -> None:
    made = cosigner(kind)
    with pytest.raises(NoteError, match="is wrong"):
        made.vkey.check(other.body(), made.signature(TEXT))


def test_an_extension_line_is_covered_by_ed25519_and_not_by_ml_dsa() -> None:
    longer = TEXT + "said by nobody\n"
    cosigner(ML_DSA_44).vkey.check(longer, cosigner(ML_DSA_44).signature(TEXT))
    with pytest.raises(NoteError):
        cosigner(COSIGNATURE).vkey.check(longer, cosigner(COSIGNATURE).signature(TEXT))


def test_an_ml_dsa_cosignature_names_its_cosigner() -> None:
    one, two = cosigner(ML_DSA_44, "one.example"), cosigner(ML_DSA_44, "two.example")
    stolen = Signature("two.example", two.vkey.key_id, one.signature(TEXT).value)
    assert one.vkey.public == two.vkey.public
    with pytest.raises(NoteError):
        two.vkey.check(TEXT, stolen)


@pytest.mark.parametrize("kind", KINDS, ids=NAMES.get)
@pytest.mark.parametrize("value", [b"", bytes(8), bytes(71), bytes(73), bytes(2427)])
def test_a_value_of_another_length_is_refused(kind: int, value: bytes) -> None:
    key = cosigner(kind).vkey
    with pytest.raises(NoteError, match="is wrong"):
        key.check(TEXT, Signature(key.name, key.key_id, value))


@pytest.mark.parametrize("kind", KINDS, ids=NAMES.get)
def test_only_a_checkpoint_is_cosigned(kind: int) -> None:
    with pytest.raises(NoteError, match="checkpoint"):
        cosigner(kind).signature("any text\n")


def test_a_time_after_the_last_one_is_refused() -> None:
    with pytest.raises(ValueError, match="time"):
        cosignature.pack(2**63, bytes(64))
    with pytest.raises(ValueError, match="time"):
        cosignature.unpack(b"\xff" * 72)
    with pytest.raises(ValueError, match="time"):
        cosignature.note_message(-1, TEXT)


def test_a_name_too_long_for_ml_dsa_is_not_signed() -> None:
    with pytest.raises(ValueError, match="255"):
        cosigner(ML_DSA_44, "n" * 256).signature(TEXT)


@pytest.mark.parametrize("kind", [ED25519, COSIGNATURE, ML_DSA_44])
def test_a_key_of_each_kind_survives_its_text_form(kind: int) -> None:
    key = signer("hub.example/log", SEED, kind, lambda: NOW).vkey
    assert VKey.parse(key.encode()) == key
    assert key.kind == kind


def test_one_key_under_two_kinds_is_two_keys() -> None:
    plain, timed = Signer("w.example", SEED).vkey, cosigner(COSIGNATURE, "w.example").vkey
    assert plain.public == timed.public
    assert plain.key_id != timed.key_id
    with pytest.raises(NoteError, match="no known key"):
        note.verify(noted(cosigner(COSIGNATURE, "w.example").signature(TEXT)), [plain])
