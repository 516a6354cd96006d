"""What the body of an answer says where its status alone would mislead. None of it is kept."""

import re
import unicodedata
from typing import Any

import orjson

GONE_ALREADY = re.compile(
    r"deja (?:ete )?(?:annul|supprim|clos|clotur|termin|ferm|retir)"
    r"|already (?:been )?(?:closed|cancel|deleted|ended|withdrawn)"
)
"""That nothing is left to do, in plain lower case (``plain``)."""
MAY_SAY_GONE = frozenset({400, 404, 409, 422})
"""Statuses in which that is looked for; 410 is about the address, not the referral."""
_FAILED = frozenset({"error", "fail", "failed", "failure", "ko"})


def says_failed(body: bytes) -> bool:
    """Whether a JSON object says that the message was not taken, whatever the status.

    ``success`` or ``ok`` is false, ``error`` or ``errors`` holds anything, or ``status`` is one
    of error, fail, failed, failure, ko.
    """
    said = _object(body)
    if said.get("success") is False or said.get("ok") is False:
        return True
    if said.get("error") or said.get("errors"):
        return True
    status = said.get("status")
    return isinstance(status, str) and status.strip().lower() in _FAILED


def says_gone_already(status: int, body: bytes) -> bool:
    """Whether a refusal says that what the message ends has ended there already."""
    return status in MAY_SAY_GONE and GONE_ALREADY.search(plain(body)) is not None


def plain(body: bytes) -> str:
    """A body in lower case, without accents: in JSON an accent may be written as an escape."""
    said = _object(body)
    text = orjson.dumps(said) if said else body
    return ascii_of(text.decode("utf-8", "replace").lower())


def ascii_of(text: str) -> str:
    """A text without its accents, and without what is no letter of ASCII."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _object(body: bytes) -> dict[str, Any]:
    if not body.lstrip().startswith(b"{"):
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
