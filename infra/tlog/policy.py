"""Signatures that a checkpoint must have (C2SP tlog-policy): of the log, of "n of m" witnesses.

A policy names logs, witnesses and groups of them, and the one quorum. Names are octets, as the
specification wants: they are compared, never interpreted.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.base.repairable import Repairable
from infra.tlog.note import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    Checkpoint,
    Note,
    NoteError,
    VKey,
    open_checkpoint,
)

MAX_BYTES = 1 << 20
MAX_LINES = 1000
NONE = b"none"
LOG_KINDS = frozenset((ED25519, ML_DSA_44))
WITNESS_KINDS = frozenset((COSIGNATURE, ML_DSA_44))

_CONTROL = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_NUMBER = re.compile(rb"[1-9][0-9]{0,8}")


class PolicyError(Repairable, ValueError):
    """A policy that cannot be read; the message names the line."""

    repair = "correct the file that AIGUILLAGE_LOG_POLICY names"


@dataclass(frozen=True, slots=True)
class Party:
    """A log or a witness: its key, and where to reach it, if the policy says."""

    vkey: VKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Members (witnesses or groups) of which at least ``least`` must have witnessed."""

    least: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a policy says of one checkpoint; ``reason`` is a sentence for people.

    ``cosigned_by`` names the witnesses of the policy whose cosignatures hold.
    """

    met: bool
    reason: str
    checkpoint: Checkpoint | None = None
    cosigned_by: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for people."""
        return f"{'met' if self.met else 'not met'}: {self.reason}"


@dataclass
class Policy:
    """Logs, witnesses, groups and the quorum; groups in the order in which they are defined."""

    quorum: bytes = NONE
    logs: list[Party] = field(default_factory=list)
    witnesses: dict[bytes, Party] = field(default_factory=dict)
    groups: dict[bytes, Group] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> "Policy":
        """Read a policy file; PolicyError names the first line that cannot be followed."""
        return _Reader().read(data)

    @classmethod
    def read(cls, path: Path) -> "Policy":
        """Read a policy file; PolicyError names it, and the line."""
        try:
            return cls.parse(path.read_bytes())
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from error

    @classmethod
    def of_logs(cls, vkeys: Iterable[VKey]) -> "Policy":
        """The policy of who knows only a log's keys: any of them, no witness needed."""
        return cls().with_logs(vkeys)

    def with_logs(self, vkeys: Iterable[VKey]) -> "Policy":
        """The same policy, which takes keys of a log that are known from elsewhere as well.

        Raises PolicyError on a key of a kind that signs no log.
        """
        known = {log.vkey for log in self.logs}
        more = [Party(_of_kind(vkey, LOG_KINDS, "log")) for vkey in vkeys if vkey not in known]
        return Policy(self.quorum, [*self.logs, *more], self.witnesses, self.groups)

    def assess(self, note: bytes) -> Assessment:
        """Say whether a checkpoint is signed by one of the logs and cosigned by the quorum.

        Unknown keys are ignored; one wrong signature by a known key refuses the checkpoint.
        """
        try:
            checkpoint, signed = self._open(note)
        except NoteError as error:
            return Assessment(False, str(error))
        cosigned = {n for n, party in self.witnesses.items() if _signed_by(party.vkey, signed)}
        names = tuple(_text(name) for name in self.witnesses if name in cosigned)

        # every name that counts as having witnessed: a group stands after its members
        held = {NONE, *cosigned}
        for name, group in self.groups.items():
            if len(held.intersection(group.members)) >= group.least:
                held.add(name)

        if self.quorum == NONE:
            reason = "signed by the log; no witness is asked for"
            return Assessment(True, reason, checkpoint, names)
        if self.quorum in held:
            reason = f"signed by the log, cosigned by {', '.join(names)}"
            return Assessment(True, reason, checkpoint, names)
        return Assessment(False, self._missing(self.quorum, held), checkpoint, names)

    def _open(self, note: bytes) -> tuple[Checkpoint, Note]:
        """The checkpoint, every known signature verified, at least one of them by a log."""
        parsed = Note.parse(note)
        origin = Checkpoint.parse(parsed.text).origin
        logs = [log.vkey for log in self.logs if log.vkey.name == origin]
        if not logs:
            raise NoteError("no log of that origin is known")
        if not any(_signed_by(vkey, parsed) for vkey in logs):
            raise NoteError("no known key of the log signed the checkpoint")
        keys = [*logs, *(party.vkey for party in self.witnesses.values())]
        return open_checkpoint(note, keys, origin), parsed

    def _missing(self, name: bytes, held: set[bytes]) -> str:
        group = self.groups.get(name)
        if group is None:
            return f"no cosignature of {_text(name)}"
        lacking = [member for member in group.members if member not in held]
        count = len(group.members) - len(lacking)
        reasons = "; ".join(self._missing(member, held) for member in lacking)
        return f"{_text(name)} has {count} of the {group.least} it needs ({reasons})"


class _Reader:
    """Reads line after line; each may refer only to what stands above it."""

    def __init__(self) -> None:
        self._policy = Policy()
        self._quorum: bytes | None = None
        self._members: set[bytes] = set()
        self._lines: Mapping[bytes, Callable[[list[bytes]], None]] = {
            b"log": self._log,
            b"witness": self._witness,
            b"group": self._group,
            b"quorum": self._set_quorum,
        }

    def read(self, data: bytes) -> Policy:
        for number, line in enumerate(_lines(data), 1):
            try:
                self._read_line(line)
            except (PolicyError, NoteError) as error:
                raise PolicyError(f"line {number}: {error}") from error
        if self._quorum is None:
            raise PolicyError("there is no quorum line")
        self._policy.quorum = self._quorum
        return self._policy

    def _read_line(self, line: bytes) -> None:
        fields = [field for field in re.split(rb"[ \t]+", line) if field]
        if not fields or fields[0].startswith(b"#"):
            return
        if fields[0] not in self._lines:
            raise PolicyError("a line begins with log, witness, group or quorum")
        self._lines[fields[0]](fields[1:])

    def _log(self, values: list[bytes]) -> None:
        _require(1 <= len(values) <= 2, "a log line reads: log vkey [url]")
        log = _party(values[0], values[1:], LOG_KINDS, "log")
        _require_new(log, self._policy.logs, "log")
        self._policy.logs.append(log)

    def _witness(self, values: list[bytes]) -> None:
        _require(2 <= len(values) <= 3, "a witness line reads: witness name vkey [url]")
        witness = _party(values[1], values[2:], WITNESS_KINDS, "witness")
        _require_new(witness, self._policy.witnesses.values(), "witness")
        self._policy.witnesses[self._new_name(values[0])] = witness

    def _group(self, values: list[bytes]) -> None:
        _require(len(values) >= 3, "a group line reads: group name all|any|number member…")
        name, members = self._new_name(values[0]), tuple(values[2:])
        for member in members:
            _require(member != NONE, "none is no member of a group")
            _require(self._is_defined(member), _undefined(member))
            _require(member not in self._members, f"{_text(member)} is a member twice")
            self._members.add(member)
        self._policy.groups[name] = Group(_least(values[1], len(members)), members)

    def _set_quorum(self, values: list[bytes]) -> None:
        _require(len(values) == 1, "a quorum line reads: quorum name")
        _require(self._quorum is None, "there is a second quorum line")
        _require(values[0] == NONE or self._is_defined(values[0]), _undefined(values[0]))
        self._quorum = values[0]

    def _new_name(self, name: bytes) -> bytes:
        _require(name != NONE, "the name none is taken")
        _require(not self._is_defined(name), f"{_text(name)} is defined twice")
        return name

    def _is_defined(self, name: bytes) -> bool:
        return name in self._policy.witnesses or name in self._policy.groups


def _lines(data: bytes) -> list[bytes]:
    _require(len(data) <= MAX_BYTES, f"a policy has at most {MAX_BYTES} bytes")
    _require(
        not _CONTROL.search(data), "a policy has no control characters but tab and newline"
    )
    # A name cut off at the end of a file could be another name: every line has its newline.
    _require(data.endswith(b"\n"), "the last line has no end")
    lines = data[:-1].split(b"\n")
    _require(len(lines) <= MAX_LINES, f"a policy has at most {MAX_LINES} lines")
    return lines


def _party(key: bytes, urls: list[bytes], kinds: frozenset[int], what: str) -> Party:
    vkey = _of_kind(VKey.parse(_text(key)), kinds, what)
    return Party(vkey, _text(urls[0]) if urls else None)


def _of_kind(vkey: VKey, kinds: frozenset[int], what: str) -> VKey:
    _require(vkey.kind in kinds, f"the key of a {what} is not of the kind {vkey.algorithm}")
    return vkey


def _require_new(party: Party, others: Iterable[Party], what: str) -> None:
    known = {other.vkey.public for other in others}
    _require(party.vkey.public not in known, f"two lines give one {what} key")


def _least(word: bytes, count: int) -> int:
    if word in (b"all", b"any"):
        return count if word == b"all" else 1
    _require(bool(_NUMBER.fullmatch(word)), "how many is all, any, or a number")
    _require(int(word) <= count, f"{int(word)} of {count} members cannot be")
    return int(word)


def _signed_by(vkey: VKey, note: Note) -> bool:
    return any(vkey.made(signature) for signature in note.signatures)


def _undefined(name: bytes) -> str:
    return f"{_text(name)} is not defined above"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise PolicyError(otherwise)


def _text(name: bytes) -> str:
    # For people and for keys' names only: names of the policy are compared as octets.
    return name.decode(errors="replace")
