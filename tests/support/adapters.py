"""Applications built in a fraction of the time: validators are compiled once in a session.

FastAPI compiles one for each parameter and answer of each route, twice, and each test builds
applications anew. Two of the same type, with the same metadata, do the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
from fastapi._compat import v2
from pydantic import TypeAdapter

_compiled: dict[Any, tuple[Any, TypeAdapter[Any]]] = {}


def compiled(annotated: Any, *, config: Any = None) -> TypeAdapter[Any]:
    """Return the validator of a type, the one that was made before if there is one."""
    if config is not None:
        return TypeAdapter(annotated, config=config)
    first, *metadata = get_args(annotated)
    # as text: with the arguments of lists and unions, and whatever is no key of a dictionary
    key = (first if isinstance(first, type) else repr(first), repr(metadata))
    if key not in _compiled:
        # with its type, so that an address in a text never becomes that of something else
        _compiled[key] = (annotated, TypeAdapter(annotated))
    return _compiled[key][1]


@contextmanager
def compiled_once() -> Iterator[None]:
    """Have FastAPI ask here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v2, "TypeAdapter", compiled)
        yield
