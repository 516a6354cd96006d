"""Tables of steps: what an event of each type does to a state."""

from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")
E = TypeVar("E")
Step = Callable[[S, E], None]


class Steps(dict[str, Callable[[S, E], None]], Generic[S, E]):
    """Step by type of event."""

    def on(self, *types: str) -> Callable[[Step[S, E]], Step[S, E]]:
        """Register the decorated step for these types."""

        def register(step: Step[S, E]) -> Step[S, E]:
            self.update(dict.fromkeys(types, step))
            return step

        return register
