"""The keys of a log: those that sign now, and all that ever did, with from when until when.

The secrets are files in one directory; ``log-keys.json`` beside them says what each is for. It
is read again whenever it changed, so that a key made by one process signs in another.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from infra.base.clock import Clock, rfc3339
from infra.base.files import in_turn, read_or_create_secret, write_whole
from infra.base.repairable import Repairable
from infra.tlog.note import ED25519, ML_DSA_44, Note, VKey
from infra.tlog.signers import NoteSigner, signer

RING = "log-keys.json"
_FILES = {ED25519: "log", ML_DSA_44: "log-ml-dsa"}


class NoKeyError(Repairable):
    """The log has no key that signs: it was never run with these settings."""

    repair = "start the hub once, or give its --data and AIGUILLAGE_LOG_ORIGIN"


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key, the file that holds its secret, and while it signs (``until``: no longer)."""

    vkey: VKey
    file: str
    since: datetime
    until: datetime | None = None

    def signs(self, origin: str, now: datetime) -> bool:
        """Whether checkpoints of this log bear its signature at that moment."""
        ended = self.until is not None and self.until <= now
        return self.vkey.name == origin and not ended


class LogKeys:
    """The key ring of the log ``origin`` in one directory."""

    def __init__(self, directory: Path, origin: str, clock: Clock) -> None:
        self.origin = origin
        self._directory = directory
        self._clock = clock
        self._read: tuple[bytes, list[LogKey]] = (b"", [])

    def ensure(self, *, ml_dsa: bool) -> None:
        """Make the keys that are missing, and end those of other logs or no longer wanted."""
        wanted = (ED25519, ML_DSA_44) if ml_dsa else (ED25519,)
        with in_turn(self._directory / "log-keys.lock"):
            now, keys = self._clock(), list(self.all())
            for at, key in enumerate(keys):
                if key.vkey.name != self.origin or key.vkey.kind not in wanted:
                    keys[at] = _ended(key, now)
            held = {key.vkey.kind for key in keys if key.until is None}
            keys += [self._new(kind, keys, now) for kind in wanted if kind not in held]
            self._write(keys)

    def rotate(self, overlap: timedelta) -> list[LogKey]:
        """A new key for each that signs; both sign until ``overlap`` is over. Returns the new.

        Raises ``NoKeyError`` before the first key.
        """
        with in_turn(self._directory / "log-keys.lock"):
            now, keys = self._clock(), list(self.all())
            old = [key for key in keys if key.until is None and key.signs(self.origin, now)]
            if not old:
                raise NoKeyError(f"the log {self.origin} has no key yet")
            rest = [_ended(key, now + overlap) if key in old else key for key in keys]
            new: list[LogKey] = []
            for key in old:
                new.append(self._new(key.vkey.kind, [*rest, *new], now))
            self._write([*rest, *new])
        return new

    def all(self) -> list[LogKey]:
        """Every key that signs or ever did, oldest first; those of earlier logs included."""
        path = self._directory / RING
        data = path.read_bytes() if path.exists() else b""
        if data != self._read[0]:
            self._read = (data, [_parse(item) for item in orjson.loads(data)["keys"]])
        return self._read[1]

    def vkeys(self) -> list[VKey]:
        """Public keys of this log, those that sign no more included."""
        return [key.vkey for key in self.all() if key.vkey.name == self.origin]

    def newest(self) -> VKey:
        """The Ed25519 key to give to who trusts the log from now on; raises ``NoKeyError``."""
        now = self._clock()
        for key in reversed(self.all()):
            if key.vkey.kind == ED25519 and key.signs(self.origin, now):
                return key.vkey
        raise NoKeyError(f"the log {self.origin} has no key yet")

    def signers(self) -> list[NoteSigner]:
        """The secrets of the keys that sign now."""
        now = self._clock()
        return [
            signer(
                key.vkey.name,
                (self._directory / key.file).read_bytes(),
                key.vkey.kind,
                self._clock,
            )
            for key in self.all()
            if key.signs(self.origin, now)
        ]

    def sign(self, text: str) -> bytes:
        """A note with the signature of every key that signs now; raises ``NoKeyError``."""
        signers = self.signers()
        if not signers:
            raise NoKeyError(f"the log {self.origin} has no key yet")
        return Note(text, tuple(key.signature(text) for key in signers)).format()

    def _new(self, kind: int, keys: Iterable[LogKey], now: datetime) -> LogKey:
        taken, number = {key.file for key in keys}, 1
        file = f"{_FILES[kind]}.key"
        while file in taken:
            number += 1
            file = f"{_FILES[kind]}-{number}.key"
        seed = read_or_create_secret(self._directory / file)
        return LogKey(signer(self.origin, seed, kind, self._clock).vkey, file, now)

    def _write(self, keys: list[LogKey]) -> None:
        items = [
            {
                "vkey": key.vkey.encode(),
                "file": key.file,
                "from": rfc3339(key.since),
                "until": rfc3339(key.until) if key.until else None,
            }
            for key in keys
        ]
        data = orjson.dumps({"keys": items}, option=orjson.OPT_INDENT_2)
        if data != self._read[0]:
            write_whole(self._directory / RING, data)


def _ended(key: LogKey, until: datetime) -> LogKey:
    earlier = key.until if key.until is not None and key.until < until else until
    return replace(key, until=earlier)


def _parse(item: dict[str, str | None]) -> LogKey:
    until = item["until"]
    return LogKey(
        VKey.parse(str(item["vkey"])),
        str(item["file"]),
        datetime.fromisoformat(str(item["from"])),
        datetime.fromisoformat(until) if until else None,
    )
