"""Old events in today's words: pure functions on JSON, applied when reading.

Stored bytes are never rewritten. An upcaster turns one retired type into its successor;
several may chain (v1 → v2 → v3).
"""

from collections.abc import Callable
from typing import Any

import orjson

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
_upcasters: dict[str, tuple[str, Upcaster]] = {}


def register_upcaster(old_type: str, new_type: str, change: Upcaster) -> None:
    """From now on, events of ``old_type`` are read as ``new_type``.

    Raises ``ValueError`` if the old type already has one.
    """
    if old_type in _upcasters:
        raise ValueError(f"{old_type} already has an upcaster")
    _upcasters[old_type] = (new_type, change)


def forget_upcaster(old_type: str) -> None:
    """Undo ``register_upcaster``."""
    _upcasters.pop(old_type, None)


def upcast(event_type: str, data: str) -> tuple[str, str]:
    """The type and JSON of an event in today's words; unchanged if nothing retired it."""
    while event_type in _upcasters:
        event_type, change = _upcasters[event_type]
        data = orjson.dumps(change(orjson.loads(data))).decode()
    return event_type, data
