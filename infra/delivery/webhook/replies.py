"""Reading an answer's body where its status alone would mislead. None of it is kept."""

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
    """Return whether a JSON object says that the message was not taken, whatever the status.

    ``success`` or ``ok`` is false, ``error`` or ``errors`` holds anything, or ``status`` is one
    of error, fail, failed, failure, ko.
    """
    fields = _object(body)
    if fields.get("success") is False or fields.get("ok") is False:
        return True
    if fields.get("error") or fields.get("errors"):
        return True
    status = fields.get("status")
    return isinstance(status, str) and status.strip().lower() in _FAILED


def says_gone_already(status: int, body: bytes) -> bool:
    """Return whether a refusal says that what the message ends has ended there already."""
    return status in MAY_SAY_GONE and GONE_ALREADY.search(plain(body)) is not None


def plain(body: bytes) -> str:
    """Return a body in lower case without accents; JSON may write them as escapes."""
    fields = _object(body)
    text = orjson.dumps(fields) if fields else body
    return ascii_of(text.decode("utf-8", "replace").lower())


def ascii_of(text: str) -> str:
    """Return a text without its accents, and without what is no letter of ASCII."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _object(body: bytes) -> dict[str, Any]:
    if not body.lstrip().startswith(b"{"):
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
