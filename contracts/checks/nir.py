"""The NIR (social security number) is refused in every field: a commune may not hold it.

Décret n° 2019-341 lists who may process it, and for what; a front desk is not among them.
Form (INSEE): sex, year, month, département, commune, order, and a key that may be absent: 13
digits or 15, Corsica as 2A and 2B, with separators anywhere in between.

- **In any field** what merely looks like one is refused too: it cannot be told apart, and the
  refusal names the field. Identifiers in hexadecimal, UUIDs among them, are left alone, also
  with letters before them.
- **In references and ids** (the fields of ``REFERENCES``) only the 15 digits with their right
  key count: 97 less the 13 digits modulo 97, Corsica's 2A and 2B as 19 and 18. A clock of 13
  digits looks like a NIR most of the time, and systems make their ids of such clocks.
"""

import re
from collections.abc import Callable
from typing import Any

_GAP = r"\s.\-_/\u00ad\u2010-\u2015\u2212"
_FORM = re.compile(
    r"[1-478]\d\d"
    r"(?:0[1-9]|1[0-2]|[235-9]\d|4[0-2])"  # month; 20-42 and 50-99 where it is not known
    r"(?!00)(?:\d\d|2[AB])"
    r"\d{6}(?:\d\d)?",
    flags=re.IGNORECASE | re.ASCII,
)
_RUN = re.compile(rf"(?<![\d+])\d(?:[{_GAP}]{{0,2}}\d|(?<=2)[ABab]){{12,}}")
_HEXADECIMAL = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
    r"|(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{16,}"  # no NIR is so long
    r"|[A-Za-z]{1,12}(?=[0-9]+[A-Fa-f])[0-9A-Fa-f]{16,}"  # nor has one letters inside
    r")(?![0-9A-Za-z])"
)
# The quick look, on UTF-8 bytes: gaps deleted, each digit a 0, Corsica's letters an A.
_GAP_BYTES = b" \t.-_/\xc2\xe2" + bytes(range(0x80, 0xC0))
_CLASSES = bytes.maketrans(b"0123456789aABbE,[", b"0000000000AAAAe::")
_PLAIN = bytes(n for n in range(0xC6) if n != ord("\\")) + b"\xe2"
_EXPONENT = re.compile(rb":0+e")
MAX_WHOLE_FLOAT = 1e15
REFERENCES = frozenset(
    {
        "id",
        "source",
        "subject",
        "ref",
        "structure_id",
        "service_id",
        "suggested_service_id",
        "partner_id",
        "partner_reference",
        "reference",
        "reference_partenaire",
    }
)
"""Names of the fields that hold a reference or an id, at whatever door (two are headings of
partners' files)."""
MAX_NAME, MAX_PATH = 64, 512
"""Characters of a field's name, and of a path, that are given back: a stranger chose them."""
_Place = tuple[Any, str]
"""A field: the place of what holds it, and its name; the path is only written once one is
found, or as many paths would be written as there are values."""


def may_hold_nir(body: bytes) -> bool:
    """Look at a JSON text quickly: False if it holds no NIR, True if ``find_nir`` must say.

    The long look is for an escape, which may stand for a digit or a gap; for a script with
    digits of its own; for numbers with an exponent; for whatever has enough digits in a row.
    """
    if body.translate(None, _PLAIN):
        return True
    seen = body.translate(_CLASSES, _GAP_BYTES)
    return b"0" * 13 in seen or b"000000A000000" in seen or _EXPONENT.search(seen) is not None


def find_nir(value: Any, path: str = "") -> str | None:
    """Return the path of the first field of parsed JSON that holds a NIR, or None.

    A NIR in the *name* of a field is reported as ``*`` below its parent. Long names and deep
    paths are cut.
    """
    waiting: list[tuple[_Place | None, Any]] = [((None, path) if path else None, value)]
    while waiting:
        where, item = waiting.pop()
        if isinstance(item, dict):
            if any(is_nir(name) for name in item):
                return _path((where, "*"))
            waiting += [((where, name), child) for name, child in item.items()]
        elif isinstance(item, list):
            waiting += [((where, str(n)), child) for n, child in enumerate(item)]
        elif is_nir(item, reference=where is not None and where[1] in REFERENCES):
            return _path(where)
    return None


def is_nir(value: Any, *, reference: bool = False) -> bool:
    """Return whether a text holds a NIR, or a number is one; ``reference``: with key only."""
    if isinstance(value, str):
        if len(value) <= 12 or _RUN.search(value) is None:
            return False
        judge = _keyed if reference else _formed
        runs = _RUN.finditer(_HEXADECIMAL.sub("x", value))
        return any(_in_run(run[0], judge) for run in runs)
    if isinstance(value, float):
        return abs(value) < MAX_WHOLE_FLOAT and value == int(value) and is_nir(int(value))
    return isinstance(value, int) and _FORM.fullmatch(str(abs(value))) is not None


def _in_run(run: str, judge: Callable[[str], bool]) -> bool:
    """Whether whole groups of a run of digits make a NIR: in a list of numbers, any of them."""
    plain = "".join(str(int(c)) if c.isdecimal() else c for c in run)
    groups = re.split(f"[{_GAP}]+", plain)
    for first in range(len(groups)):
        joined = ""
        for group in groups[first:]:
            joined += group
            if len(joined) > 15:
                break
            if judge(joined):
                return True
    return False


def _formed(digits: str) -> bool:
    return _FORM.fullmatch(digits) is not None


def _keyed(digits: str) -> bool:
    if len(digits) != 15 or not _formed(digits):
        return False
    number = digits[:13].upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(number) % 97 == int(digits[13:])


def _path(place: _Place | None) -> str:
    names = []
    while place is not None:
        place, name = place
        names.append(name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…")
    path = ".".join(reversed(names))
    return path if len(path) <= MAX_PATH else f"{path[:MAX_PATH]}…"
