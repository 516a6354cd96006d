"""Signed notes and checkpoints: published examples, and what a verifier must refuse."""

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from infra.tlog import note
from infra.tlog.merkle import EMPTY_ROOT
from infra.tlog.note import Checkpoint, Note, NoteError, Signature, Signer, VKey

# The key pair and note that implementations of the format share as their test vector.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_NOTE = (
    f"{PETER_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    "\n"
).encode()
# The example of C2SP tlog-checkpoint; its key is not published.
BEHIND_THE_SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
).encode()

HUB = Signer("hub.example/log", bytes(range(32)))
WITNESS = Signer("partner.example/witness", bytes(range(1, 33)))
TEXT = "hub.example/log\n3\n" + base64.b64encode(bytes(32)).decode() + "\n"


def line(name: str, blob: bytes) -> bytes:
    return f"— {name} {base64.b64encode(blob).decode()}\n".encode()


printable = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), max_size=40)
texts = st.lists(printable, min_size=1, max_size=6).map(lambda parts: "\n".join(parts) + "\n")


def test_the_shared_test_note_verifies() -> None:
    assert note.verify(PETER_NOTE, [VKey.parse(PETER)]) == PETER_TEXT


def test_signing_the_shared_test_text_gives_the_same_bytes() -> None:
    signer = Signer("PeterNeumann", PETER_SEED)
    assert signer.vkey.encode() == PETER
    assert signer.sign(PETER_TEXT) == PETER_NOTE


def test_the_checkpoint_example_of_the_specification_is_read() -> None:
    parsed = Note.parse(BEHIND_THE_SOFA)
    checkpoint = Checkpoint.parse(parsed.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.body() == parsed.text
    assert parsed.format() == BEHIND_THE_SOFA
    assert parsed.signatures[0].key_id.hex() == "033de0ae"


def test_a_note_is_plain_ed25519_over_its_text() -> None:
    text, _, tail = HUB.sign(TEXT).decode().rpartition("\n\n")
    blob = base64.b64decode(tail.split(" ")[2])
    public = base64.b64decode(HUB.vkey.encode().split("+", 2)[2])
    assert public[0] == 1
    assert blob[:4] == sha256(b"hub.example/log\n" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(blob[4:], (text + "\n").encode())


@given(texts)
def test_every_signed_text_comes_back(text: str) -> None:
    assert note.verify(HUB.sign(text), [HUB.vkey]) == text


@given(st.integers(0, 8 * len(HUB.sign(TEXT)) - 1))
def test_no_single_bit_of_a_note_can_change(bit: int) -> None:
    data = HUB.sign(TEXT)
    tampered = (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")
    with pytest.raises(NoteError):
        note.verify(tampered, [HUB.vkey])


def test_a_tampered_text_is_refused_with_a_reason() -> None:
    with pytest.raises(NoteError, match=r"signature of hub\.example/log is wrong"):
        note.verify(HUB.sign(TEXT).replace(b"\n3\n", b"\n4\n"), [HUB.vkey])


def test_unknown_keys_are_ignored_even_when_their_signature_is_nonsense() -> None:
    data = line("stranger", b"1234nonsense") + line(HUB.vkey.name, b"1234" + bytes(64))
    data += line("other.name", HUB.vkey.key_id + bytes(64))
    assert note.verify(HUB.sign(TEXT) + data, [HUB.vkey]) == TEXT


def test_a_note_signed_only_by_unknown_keys_is_refused() -> None:
    with pytest.raises(NoteError, match="no known key"):
        note.verify(HUB.sign(TEXT), [WITNESS.vkey])
    with pytest.raises(NoteError, match="no known key"):
        note.verify(HUB.sign(TEXT), [])


def test_one_wrong_signature_by_a_known_key_refuses_the_note() -> None:
    wrong = WITNESS.signature("another text\n").line().encode()
    with pytest.raises(NoteError, match=r"partner\.example/witness is wrong"):
        note.verify(HUB.sign(TEXT) + wrong, [HUB.vkey, WITNESS.vkey])
    assert note.verify(HUB.sign(TEXT) + wrong, [HUB.vkey]) == TEXT


@pytest.mark.parametrize("blob", [b"", bytes(63), bytes(65)])
def test_a_known_key_with_a_signature_of_another_length_refuses(blob: bytes) -> None:
    odd = line(HUB.vkey.name, HUB.vkey.key_id + blob)
    with pytest.raises(NoteError):
        note.verify(HUB.sign(TEXT) + odd, [HUB.vkey])


def test_several_keys_may_sign_one_text() -> None:
    both = Note(TEXT, (HUB.signature(TEXT), WITNESS.signature(TEXT)))
    assert note.verify(both.format(), [WITNESS.vkey]) == TEXT
    assert note.verify(both.format(), [HUB.vkey, WITNESS.vkey]) == TEXT
    assert Note.parse(both.format()) == both


def test_sixteen_signatures_are_accepted_and_a_flood_is_not() -> None:
    stranger = line("stranger", bytes(68))
    assert note.verify(HUB.sign(TEXT) + stranger * 15, [HUB.vkey]) == TEXT
    with pytest.raises(NoteError, match="more than"):
        note.verify(HUB.sign(TEXT) + stranger * note.MAX_SIGNATURES, [HUB.vkey])


def test_a_text_may_hold_empty_lines() -> None:
    for text in ("\n", "a\n\n", "a\n\nb\n", "\n\n\n"):
        assert note.verify(HUB.sign(text), [HUB.vkey]) == text


def test_a_text_that_looks_signed_is_still_only_text() -> None:
    text = HUB.sign("inner\n").decode()
    assert note.verify(WITNESS.sign(text), [WITNESS.vkey]) == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAAA",
        b"text\n\n- name AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name\n",
        b"text\n\n\xe2\x80\x94 name AAAAAA==\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAB=\n",
        b"text\n\n\xe2\x80\x94 name AAAA AAAA\n",
        b"text\n\n\xe2\x80\x94 na+me AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94  AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name !!!!!!!!\n",
        b"te\txt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"text\r\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAAA\n",
    ],
)
def test_a_malformed_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        Note.parse(data)


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "null\x00\n", "\ud800\n"])
def test_a_text_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        HUB.sign(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\nb", "a\x00b"])
def test_a_forbidden_key_name_is_refused(name: str) -> None:
    with pytest.raises(NoteError, match="key name"):
        Signer(name, bytes(32))
    with pytest.raises(NoteError):
        Signature.parse(f"— {name} AAAAAAAA")


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        Signer("name", bytes(31))


def test_a_signer_does_not_show_its_key() -> None:
    assert HUB._private.private_bytes_raw().hex() not in repr(HUB)


@given(st.binary(min_size=32, max_size=32))
def test_a_verifier_key_survives_its_text_form(public: bytes) -> None:
    key = VKey("hub.example/log", public)
    assert VKey.parse(key.encode()) == key


def rekeyed(raw: bytes) -> str:
    identifier = sha256(b"PeterNeumann\n" + raw).digest()[:4].hex()
    return f"PeterNeumann+{identifier}+{base64.b64encode(raw).decode()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        PETER.removeprefix("P"),
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("Peter", "Peter "),
        PETER + "\n",
        PETER[:-1],
        PETER[:-1] + "X",
        rekeyed(b"\x01" + bytes(31)),
        rekeyed(b"\x01" + bytes(33)),
        rekeyed(b"\x02" + bytes(32)),
        rekeyed(b""),
    ],
)
def test_a_mangled_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VKey.parse(text)


def test_two_keys_with_one_name_and_id_are_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(note, "key_id", lambda name, kind, public: b"same")
    with pytest.raises(NoteError, match="two verifier keys"):
        note.verify(b"", [VKey("name", bytes(32)), VKey("name", b"\x01" * 32)])


checkpoints = st.builds(
    Checkpoint,
    printable.filter(bool),
    st.integers(0, note.MAX_SIZE),
    st.binary(min_size=32, max_size=32),
)


@given(checkpoints)
def test_a_signed_checkpoint_comes_back(checkpoint: Checkpoint) -> None:
    data = HUB.sign(checkpoint.body())
    assert note.open_checkpoint(data, [HUB.vkey], checkpoint.origin) == checkpoint


def test_the_body_of_a_checkpoint_is_three_lines() -> None:
    body = Checkpoint("hub.example/log", 0, EMPTY_ROOT).body()
    assert body == "hub.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(NoteError, match="another log"):
        note.open_checkpoint(HUB.sign(TEXT), [HUB.vkey], "other.example/log")


def test_extension_lines_are_tolerated_but_not_kept() -> None:
    checkpoint = Checkpoint.parse(TEXT + "extra one\nextra two\n")
    assert checkpoint.body() == TEXT


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"origin\n1\n{ROOT}",
        "origin\n1\n",
        f"\n1\n{ROOT}\n",
        f"origin\n1\n{ROOT}\n\n",
        f"origin\n1\n{ROOT}\n\nextra\n",
        f"origin\n01\n{ROOT}\n",
        f"origin\n+1\n{ROOT}\n",
        f"origin\n-1\n{ROOT}\n",
        f"origin\n1_0\n{ROOT}\n",
        f"origin\n 1\n{ROOT}\n",
        f"origin\n0x1\n{ROOT}\n",
        f"origin\n\u0661\n{ROOT}\n",
        f"origin\n{2**63}\n{ROOT}\n",
        f"origin\n{'9' * 5000}\n{ROOT}\n",
        f"origin\n1\n{ROOT[:-1]}\n",
        f"origin\n1\n{ROOT[:-2]}B=\n",
        f"origin\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"origin\n1\n{base64.b64encode(bytes(33)).decode()}\n",
        f"ori\tgin\n1\n{ROOT}\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize("origin", ["", "two\nlines", "tab\t"])
def test_an_origin_that_is_not_one_line_is_refused(origin: str) -> None:
    with pytest.raises(NoteError, match="origin"):
        Checkpoint(origin, 0, EMPTY_ROOT)
