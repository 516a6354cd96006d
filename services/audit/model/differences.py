"""What differs between two states. Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Change(NamedTuple):
    """One value that differs; None where there is none."""

    path: tuple[str, ...]
    before: Any
    after: Any

    def line(self) -> dict[str, Any]:
        """As JSON."""
        return {"path": "/".join(self.path), "before": self.before, "after": self.after}


def differences(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[Change]:
    """What differs between two JSON values, in the order of their keys."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            yield from differences(before.get(name), after.get(name), (*path, name))
    elif isinstance(before, dict) and after is None:
        yield from differences(before, {}, path)
    elif isinstance(after, dict) and before is None:
        yield from differences({}, after, path)
    elif before != after:
        yield Change(path, before, after)
