"""Applications built in a fraction of the time: validators are compiled once in a session.

FastAPI compiles one for each parameter and answer of each route, twice, and each test builds
applications anew. Two of the same type, with the same metadata, do the same.
"""

from collections.abc import Iterator
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


@pytest.fixture(scope="session", autouse=True)
def quick_applications() -> Iterator[None]:
    """Have FastAPI ask here: most of a test's time went into compiling the same validators."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v2, "TypeAdapter", compiled)
        yield
