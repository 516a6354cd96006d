"""Check an export of an Aiguillage log with nothing but its public key (docs/adr/0016)."""
# Needs Python 3.10 and ``cryptography``. The exit code is 0 intact, 1 broken, 2 incomplete.

import argparse
import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NOTE = re.compile(r"([^\0-\x09\x0b-\x1f]+\n)\n((?:— [^\s+\0-\x1f]+ [\w+/=]+\n){1,128})")
VKEY = re.compile(r"[^+\s]+\+[0-9a-f]{8}\+[\w+/=]+")
FIELDS = ("format", "start", "stop", "entries", "checkpoints", "erased")
PARTS, DOMAIN = ("header", "data", "sealed"), "aiguillage-commitment-1"
MAX_FILE, MAX_ITEM = 1 << 25, 1 << 24  # bytes that are read at once: a file, or an item in one


def _need(holds: object, reason: str, at: int | None = None, code: int = 1) -> None:
    if not holds:
        raise LookupError(reason, at, code)


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1" + _root(hashes[:half]) + _root(hashes[half:])).digest()


class _Export:
    def __init__(self, directory: Path, vkey: list[str], last_checkpoint: list[Path]) -> None:
        self.folder, self.keys, self.last = directory, vkey, last_checkpoint
        self.used, self.versions, self.held, self.erased = set[str](), dict[object, int](), 0, 0

    def verdict(self) -> int:
        try:
            reason, at, code = self._check(), None, 0
        except Exception as error:  # nonsense in a file is found like any other fault
            reason, at, code = error.args if len(error.args) == 3 else self.wrong
            code = 2 if isinstance(error, OSError) else code
        place = "" if at is None else f" at entry {at}"
        sys.stdout.write(f"{('intact', 'broken', 'incomplete')[code]}{place}: {reason}\n")
        return code

    def _check(self) -> str:
        _need(all(map(VKEY.fullmatch, self.keys)), "a key cannot be read", None, 2)
        self.size, root = self._note("checkpoint", self._read("checkpoint"))
        stated = json.loads(manifest := self._read("manifest.json"))
        self.start, self.stop, held = (int(stated[name]) for name in FIELDS[1:4])
        _need(0 <= self.start <= self.stop <= self.size >= held, *self.wrong)
        _need(held == self.stop - self.start or self.stop == 0, *self.wrong)
        _need(self._top(self.size) == root, "the tiles do not lead to the signed root")
        for level in (n for n in range(8, -1, -1) if self.size >> 8 * n & 255):
            self._walk(level, self.size >> 8 * level + 8)  # along the tree's right edge
        _need(self.held == held, f"{self.held} of {held} entries are here", None, 2)
        names = [f"checkpoints/{n}" for n in range(self.start >> 16, self.stop + 0xFFFF >> 16)]
        signed = sum(self._extends(name, note) for name in names for note in self._items(name))
        for name in (str(path.resolve()) for path in self.last):
            self._extends(name, self._read(name, None, 2))
        true = ("aiguillage-export/1", self.start, self.stop, held, signed, self.erased)
        same = json.dumps(dict(zip(FIELDS, true, strict=True)), indent=1).encode() == manifest
        _need(same, "manifest.json does not hold")
        odd = {str(p) for p in self.folder.glob("[cpt]*/**/[!.]*") if p.is_file()} - self.used
        _need(not odd, f"{min(odd, default='')} is not part of the export")
        return f"{held} of {self.size} entries are as signed, {self.erased} sealed parts erased"

    def _file(self, path: str, at: int | None, code: int = 1, most: int = MAX_FILE) -> Path:
        self.wrong: tuple[str, int | None, int] = f"{path} does not hold", at, code
        self.used.add(str(file := self.folder / path))
        _need(file.is_file(), f"{path} is missing", at, 2)
        _need(not most or file.stat().st_size <= most, f"{path} is too large to be read", at, 2)
        return file

    def _read(self, path: str, at: int | None = None, code: int = 1) -> bytes:
        return self._file(path, at, code).read_bytes()

    def _items(self, path: str, at: int | None = None, prefix: int = 4) -> Iterator[bytes]:
        with self._file(path, at, 1, MAX_FILE * (prefix < 4)).open("rb") as file:
            while head := file.read(prefix):  # each after its length, which is 0 for nothing
                size = int.from_bytes(head, "big")
                _need(size <= MAX_ITEM, f"{path} has an item too large to be read", at, 2)
                item, self.wrong = file.read(size), (f"{path} does not hold", at, 1)
                _need(len(head) == prefix and len(item) == size, *self.wrong)
                yield item

    def _note(self, path: str, data: bytes) -> tuple[int, bytes]:
        text, lines = NOTE.fullmatch(data.decode()).groups()  # type: ignore[union-attr]
        (origin, size, root), signed = text.split("\n")[:3], False
        for _, name, code in map(str.split, lines.splitlines()):
            _need(b64encode(raw := b64decode(code)).decode() == code, *self.wrong)
            for key in (k for k in self.keys if k.startswith(f"{name}+{raw[:4].hex()}+A")):
                public = Ed25519PublicKey.from_public_bytes(b64decode(key.split("+", 2)[2])[1:])
                public.verify(raw[4:], text.encode())
                signed = signed or name == origin  # "A…" is the code of Ed25519 keys
        _need(signed, f"{path} is not signed by the key", *self.wrong[1:])
        return int(size), b64decode(root)

    def _extends(self, path: str, note: bytes) -> int:
        size, root = self._note(path, note)
        _need(size <= self.size, f"it had {size} entries before, and now {self.size}")
        _need(self._top(size) == root, f"another history of {size} entries was signed")
        return 1

    def _name(self, folder: str, index: int, level: int = 0) -> str:
        width = (self.size >> 8 * level) - (index << 8)
        *high, low = f"{index:,}".split(",")
        name = "/".join([folder, *(f"x{int(group):03}" for group in high), f"{int(low):03}"])
        return name if width >= 256 else f"{name}.p/{width}"

    def _there(self, folder: str, index: int, level: int = 0) -> bool:  # or has to be
        asked = index << 8 * level + 8 < self.stop and index + 1 << 8 * level + 8 > self.start
        return asked or (self.folder / self._name(folder, index, level)).exists()

    def _tile(self, level: int, index: int) -> list[bytes]:
        data = self._read(self._name(f"tile/{level}", index, level), index << 8 * level + 8)
        _need(len(data) == 32 * min((self.size >> 8 * level) - (index << 8), 256), *self.wrong)
        return [data[n : n + 32] for n in range(0, len(data), 32)]

    def _top(self, size: int) -> bytes:
        hashes = list[bytes]()
        for level in range(size.bit_length() // 8 + 1):
            if width := size >> 8 * level & 255:
                hashes = self._tile(level, size >> 8 * level + 8)[:width] + hashes
            hashes = [_root(hashes)] if hashes else []
        return _root(hashes)

    def _walk(self, level: int, index: int, above: bytes | None = None) -> None:
        hashes, at = self._tile(level, index), index << 8 * level + 8
        _need(above in (None, _root(hashes)), *self.wrong)
        for child, value in enumerate(hashes if level else (), index << 8):
            if self._there(f"tile/{level - 1}", child, level - 1):
                self._walk(level - 1, child, value)
        if level == 0 and self._there("tile/entries", index):
            entries = list(self._items(self._name("tile/entries", index), at, 2))
            _need(len(entries) == len(hashes), *self.wrong)
            items = self._items(name := self._name("payload", index), at)
            for n, leaf in enumerate(hashes):
                self._entry(at + n, leaf, entries[n], *islice(items, 4))
            _need(next(items, None) is None, f"{name} does not hold", at)

    def _entry(self, at: int, leaf: bytes, entry: bytes, salts: bytes, *parts: bytes) -> None:
        _need(not entry or sha256(b"\0" + entry).digest() == leaf, "another was signed", at)
        if not parts[1] and not self.start <= at < self.stop:
            return _need(not any((salts, *parts)), "it is only left out in part", at)
        _need(parts[1], "its data were not handed out", at, 2)
        self.wrong, stated = ("the entry cannot be read", at, 1), json.loads(entry)
        _need(len(salts) == (64 if parts[2] else 32), "its salt differs", at)
        for n, part in enumerate(parts if parts[2] else parts[:2]):
            salt, size = salts[n // 2 * 32 :][:32], len(part).to_bytes(8, "big")
            framed = f"{DOMAIN}\0{PARTS[n]}\0".encode() + salt + size + part
            _need(sha256(framed).hexdigest() == stated[PARTS[n]], f"its {PARTS[n]} differs", at)
        head = json.loads(parts[0])
        stream, now = head["service"] + "\n" + head["stream"], head["version"]
        last = self.versions.get(stream, 0 if self.start == 0 < self.stop else now - 1)
        follows = type(now) is int and now == last + 1
        _need(follows, f"version {now} of {head['stream']} follows version {last}", at)
        self.versions[stream], self.held = now, self.held + 1
        self.erased += not parts[2] and stated["sealed"] is not None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check an export of an Aiguillage log.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--vkey", action="append", required=True)
    parser.add_argument("--last-checkpoint", type=Path, action="append", default=[])
    sys.exit(_Export(**vars(parser.parse_args())).verdict())
