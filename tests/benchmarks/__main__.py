"""``make bench [ONLY=name]``."""

import asyncio
import sys

from infra.workers.event_loop import run_sending
from tests.benchmarks import (
    append,
    append_cost,
    crowd,
    deliveries,
    intake,
    proof,
    replay,
    routing,
    sequence,
    verify,
    whole_way,
)

MEASURES = {
    "append": append.main,
    "intake": intake.main,
    "whole_way.embedded": whole_way.embedded,
    "whole_way.kafka": whole_way.kafka,
    "deliveries.drain": deliveries.drained,
    "deliveries.hung": deliveries.hung,
    "routing": routing.main,
    "replay": replay.main,
    "verify": verify.main,
    "proof": proof.main,
    "sequence": sequence.main,
    "append_cost": append_cost.main,
    "crowd": crowd.main,
}


def main(only: str) -> None:
    """Run every measure whose name starts with ``only``, or the family it belongs to."""
    chosen = [name for name in MEASURES if _wanted(name, only)]
    if not chosen:
        raise SystemExit(f"no measure {only}: one of {', '.join(MEASURES)}")
    for name in chosen:
        on_its_loop = run_sending if name.startswith("deliveries") else asyncio.run
        on_its_loop(MEASURES[name]())


def _wanted(name: str, only: str) -> bool:
    return name.startswith(only) or only.startswith(f"{name}.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
